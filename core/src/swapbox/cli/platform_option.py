"""The option ``--platform``, which many verbs have: checked as Docker's client does, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_FORM = "OS/ARCH[/VARIANT]"


def platform_option(
    help: str, *, words: str | None = None, multiple: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option; an empty value is none.

    :param words: before what is wrong with a value; None leaves it to the verb to find that.
    :param multiple: it takes several, repeated or with commas between: a tuple.
    """

    def given(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        texts = [part for text in value for part in text.split(",")] if multiple else [value or ""]
        texts = list(filter(None, texts))
        if words is not None:
            for text in texts:
                _check(text, words)
        return tuple(texts) if multiple else next(iter(texts), None)

    return click.option(
        "--platform",
        "platforms" if multiple else "platform",
        metavar=_FORM,
        help=help,
        multiple=multiple,
        callback=given,
    )


def _check(text: str, words: str) -> None:
    from swapbox.cli.app import ClientError
    from swapbox.errors import InvalidInput
    from swapbox.images.platforms import NOT_PARSED, Platform

    try:
        Platform.parse(text)
    except InvalidInput as error:
        raise ClientError(words + error.message.removeprefix(NOT_PARSED), hint=error.hint) from None
