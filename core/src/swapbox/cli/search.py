"""``search``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import click

from swapbox.cli.app import driver_options, engine_of, warn
from swapbox.cli.filters import Filters, filter_option
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.tables import shorten
from swapbox.errors import InvalidInput, Unavailable, Unsupported
from swapbox.matching import check_names, truth
from swapbox.references import DEFAULT_HOST, is_host

if TYPE_CHECKING:
    from swapbox.drivers.registry import Repository, SearchDriver
    from swapbox.engine import Engine

_DEFAULT_LIMIT = 25
_MOST = 100
_DESCRIPTION_WIDTH = 45
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")


def _description(found: Repository, view: View) -> str:
    return shorten(found.description, _DESCRIPTION_WIDTH) if view.truncate else found.description


def _official(found: Repository, view: View) -> str:
    if view.format in ("json", "{{json .}}"):
        return str(found.official).lower()
    return "[OK]" if found.official else ""


SEARCH = Listing["Repository"](
    name="registry.searchContext",
    fields={
        "Name": Field("NAME", lambda found, _view: found.name),
        "Description": Field("DESCRIPTION", _description),
        "StarCount": Field("STARS", lambda found, _view: str(found.stars)),
        "IsOfficial": Field("OFFICIAL", _official),
    },
    table=("Name", "Description", "StarCount", "IsOfficial"),
)


@click.command(epilog="Example: swapbox search -f is-official=true alpine; or: swapbox search quay.io/fedora")
@filter_option("Only those that fit: stars=NUMBER, is-official=true.")
@click.option("--format", default="", metavar="string", help="A Go template, or table or json.")
@click.option("--limit", type=int, default=0, metavar="int", help="Max number of search results.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten anything.")
@driver_options("registry")
@click.argument("term", metavar="TERM")
@click.pass_context
def search(
    ctx: click.Context,
    term: str,
    *,
    filters: Filters,
    format: str,
    limit: int,
    no_trunc: bool,
    registry: str | None,
) -> None:
    """Search Docker Hub for images"""
    keep = _keep(filters)
    host, words = _split(term)
    if limit > _MOST:
        raise InvalidInput(f"limit {limit} is outside the range of [1, {_MOST}]")
    driver = _driver(engine_of(ctx), registry, host)
    found = driver.search(host, words, limit=limit if limit > 0 else _DEFAULT_LIMIT)
    click.echo(SEARCH.render(filter(keep, found), View(format=format, truncate=not no_trunc)), nl=False)


def _keep(filters: Filters) -> Any:
    """Return a function that says of a repository whether it passes the filters."""
    check_names(filters, {"is-automated", "is-official", "stars"})
    if truth(filters, "is-automated", default=False):
        warn(
            'the "is-automated" filter is deprecated, and searching for "is-automated=true" will not yield any '
            "results in future."
        )
        return lambda _found: False
    least = max([0, *(_stars(text) for text in filters.get("stars", ()))])
    official = truth(filters, "is-official", default=False) if "is-official" in filters else None
    return lambda found: found.stars >= least and official in (None, found.official)


def _stars(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f"invalid filter 'stars={text}'")
    return int(text)


def _split(term: str) -> tuple[str, str]:
    """Split a registry's host off; as in references it is what has a dot, a colon, or is localhost."""
    if "://" in term:
        raise InvalidInput(f"invalid repository name: repository name ({term}) should not have a scheme")
    host, slash, rest = term.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = DEFAULT_HOST, term
    if host in ("index.docker.io", DEFAULT_HOST):
        return DEFAULT_HOST, rest.removeprefix("library/")
    if not is_host(host):
        raise InvalidInput(f"invalid registry {host!r} in {term!r}")
    return host, rest


def _driver(engine: Engine, name: str | None, host: str) -> SearchDriver:
    from swapbox.images.registries import is_offline, rule_for
    from swapbox.references import Reference

    choice = engine.selector.choose("registry", name=name)
    if "search" not in choice.offer.spec.capabilities:
        raise Unsupported(f"registry driver {choice.name!r} has no search", hint="choose another: --registry")
    if is_offline(engine):
        raise Unavailable(f"cannot search {host}: swapbox is offline")
    rule_for(engine.config.registries, Reference(host, "search"))
    return cast("SearchDriver", engine.selector.open_choice(choice))
