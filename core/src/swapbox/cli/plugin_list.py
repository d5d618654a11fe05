"""``plugins``: the drivers on offer, and what is wrong with plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from swapbox.cli.app import engine_of
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.groups import Group
from swapbox.drivers.common import KINDS

if TYPE_CHECKING:
    from swapbox.plugins.manager import Plugins


class Row(NamedTuple):
    """One driver."""

    kind: str
    name: str
    distribution: str
    summary: str


DRIVERS = Listing[Row](
    name="pluginContext",
    fields={
        "Kind": Field("KIND", lambda row, _view: row.kind),
        "Name": Field("NAME", lambda row, _view: row.name),
        "Distribution": Field("DISTRIBUTION", lambda row, _view: row.distribution),
        "Summary": Field("SUMMARY", lambda row, _view: row.summary),
    },
    table=("Kind", "Name", "Distribution", "Summary"),
    quiet="Name",
)


@click.group(cls=Group)
def plugins() -> None:
    """Manage plugins."""


@plugins.command("ls", epilog="Example: swapbox plugins ls --format '{{.Kind}}/{{.Name}}'")
@click.option("--format", default="", metavar="TEMPLATE", help="A Go template, or table or json.")
@click.option("-q", "--quiet", is_flag=True, help="Show names only.")
@click.pass_context
def plugins_ls(ctx: click.Context, *, format: str, quiet: bool) -> None:
    """List drivers on offer, and plugins in quarantine."""
    found = engine_of(ctx).plugins
    found.check()
    rows = (
        Row(kind, offer.spec.name, offer.distribution, offer.spec.summary)
        for kind in KINDS
        for offer in sorted(found.offers(kind), key=lambda offer: offer.spec.name)
    )
    click.echo(DRIVERS.render(rows, View(format=format, quiet=quiet)), nl=False)
    _warn_of(found)


def _warn_of(found: Plugins) -> None:
    for bad in found.quarantined:
        click.echo(f"quarantined: plugin {bad.name!r} of {bad.distribution} {bad.version}: {bad.error}", err=True)
    for entry in found.left_out:
        click.echo(f"left out: plugin {entry.name!r} of {entry.distribution}", err=True)
