"""``--filter NAME=VALUE``, which may be given several times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from swapbox.cli.groups import BadValue

Filters = Mapping[str, Sequence[str]]
"""The values of each name."""


class _Filter(click.ParamType[tuple[str, str]]):
    name = "filter"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if not value:
            return "", ""
        name, equals, text = value.partition("=")
        if not equals:
            assert isinstance(param, click.Option)
            raise BadValue("bad format of filter (expected name=value)", value, param)
        return name.strip().lower(), text.strip()


def filter_option(help: str, *, short: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--filter``; the command gets ``filters``, a :data:`Filters`.

    :param short: ``-f`` means it, too.
    """

    def collect(_ctx: click.Context, _param: click.Parameter, pairs: Sequence[tuple[str, str]]) -> Filters:
        filters: dict[str, list[str]] = {}
        for name, value in pairs:
            if name or value:
                filters.setdefault(name, []).append(value)
        return filters

    names = ("-f", "--filter") if short else ("--filter",)
    return click.option(
        *names, "filters", type=_Filter(), multiple=True, callback=collect, metavar="filter", help=help
    )
