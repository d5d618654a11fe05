"""``swapbox volume``: create, inspect, ls, prune and rm."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import ClientError, engine_of, print_error
from swapbox.cli.filters import Filters, filter_option
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.groups import BadValue
from swapbox.errors import InvalidInput, NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.volumes.records import Volume


def read_labels(_ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Read ``--label``."""
    from swapbox.containers.options import parse_labels

    assert isinstance(param, click.Option)
    for value in values:
        try:
            parse_labels([value])
        except InvalidInput as error:
            raise BadValue(error.message, value, param) from None
    return parse_labels(values)


@click.command(epilog="Example: swapbox volume create -o type=tmpfs -o device=tmpfs -o o=size=64m scratch")
@click.option("-d", "--driver", default="", metavar="NAME", help="Volume driver.")
@click.option("--label", "labels", multiple=True, callback=read_labels, metavar="KEY[=VALUE]", help="Set a label.")
@click.option("-o", "--opt", multiple=True, metavar="NAME=VALUE", help="Set an option of the driver.")
@click.option("--name", "old_name", default="", hidden=True)
@click.argument("volume", required=False)
@click.pass_context
def create(
    ctx: click.Context,
    volume: str | None,
    *,
    driver: str,
    labels: dict[str, str],
    opt: tuple[str, ...],
    old_name: str,
) -> None:
    """Create a volume."""
    from swapbox.containers.options import parse_map

    if volume and old_name:
        reason = "cannot specify a volume-name through both --name and as a positional arg"
        raise ClientError(f"conflicting options: {reason}")
    name = volume or old_name
    made = engine_of(ctx).volumes.create(name, driver=driver, options=parse_map(opt), labels=labels)
    click.echo(made.name)


@click.command(epilog="Example: swapbox volume rm data")
@click.option("-f", "--force", is_flag=True, help="Do not complain of one that is not there.")
@click.argument("volumes", nargs=-1, required=True, metavar="VOLUME [VOLUME...]")
@click.pass_context
def rm(ctx: click.Context, volumes: tuple[str, ...], *, force: bool) -> int:
    """Remove one or more volumes."""
    service = engine_of(ctx).volumes
    code, errors = 0, []
    for name in volumes:
        try:
            service.remove(name)
        except SwapboxError as error:
            if not (force and isinstance(error, NotFound)):
                errors.append(error)
                code = 1
                continue
        click.echo(name)
    for failure in errors:
        print_error(failure)
    return code


# -- looking ------------------------------------------------------------------------------------------------------


class Row:
    """One line of ``volume ls``: a volume, and where its driver keeps it."""

    def __init__(self, volume: Volume, engine: Engine) -> None:
        self.volume = volume
        self._engine = engine

    @property
    def mountpoint(self) -> str:
        """The directory of its data."""
        return str(self._engine.volumes.driver(self.volume).inspect(self.volume.name).mountpoint)


def _not_known(_row: Row, _view: View) -> str:
    """Stand for what only ``system df`` measures, and what only a swarm's volumes have."""
    return "N/A"


VOLUMES = Listing[Row](
    name="volumeContext",
    fields={
        "Availability": Field("AVAILABILITY", _not_known),
        "Driver": Field("DRIVER", lambda row, _view: row.volume.driver),
        "Group": Field("GROUP", _not_known),
        "Labels": Field(
            "LABELS", lambda row, _view: ",".join(f"{k}={v}" for k, v in sorted(row.volume.labels.items()))
        ),
        "Links": Field("LINKS", _not_known),
        "Mountpoint": Field("MOUNTPOINT", lambda row, _view: row.mountpoint),
        "Name": Field("VOLUME NAME", lambda row, _view: row.volume.name),
        "Scope": Field("SCOPE", lambda _row, _view: "local"),
        "Size": Field("SIZE", _not_known),
        "Status": Field("STATUS", _not_known),
    },
    table=("Driver", "Name"),
    quiet="Name",
    raw="name: {{.Name}}\ndriver: {{.Driver}}\n",
    config="volumesFormat",
    methods={"Label": lambda row, name: row.volume.labels.get(name, "")},
)


@click.command(epilog="Example: swapbox volume ls --filter dangling=true -q")
@filter_option("Show only those that fit, such as dangling=true, driver=local, label=KEY=VALUE or name=data.")
@click.option("--format", default="", metavar="TEMPLATE", help="A Go template, or table, json or raw.")
@click.option("-q", "--quiet", is_flag=True, help="Show names only.")
@click.pass_context
def ls(ctx: click.Context, *, filters: Filters, format: str, quiet: bool) -> None:
    """List volumes."""
    engine = engine_of(ctx)
    if quiet and format == "raw":
        format = "name: {{.Name}}"
    if filters:
        from swapbox.volumes.queries import query

        found = query(engine, filters)
    else:
        found = engine.volumes.all()
    view = View(format, quiet=quiet and format in ("", "table"))
    click.echo(VOLUMES.render((Row(volume, engine) for volume in found), view), nl=False)


def volume_document(engine: Engine, volume: Volume) -> dict[str, Any]:
    """Return what Docker's API says of a volume."""
    moment = time.localtime(volume.created // 10**9)
    zone = time.strftime("%z", moment)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    return {
        "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%S", moment) + zone,
        "Driver": volume.driver,
        "Labels": dict(sorted(volume.labels.items())) or None,
        "Mountpoint": Row(volume, engine).mountpoint,
        "Name": volume.name,
        "Options": dict(sorted(volume.options.items())) or None,
        "Scope": "local",
    }


@click.command(epilog="Example: swapbox volume inspect --format '{{.Mountpoint}}' data")
@click.option("-f", "--format", default="", metavar="TEMPLATE", help="A Go template, or json.")
@click.argument("volumes", nargs=-1, required=True, metavar="VOLUME [VOLUME...]")
@click.pass_context
def inspect(ctx: click.Context, volumes: tuple[str, ...], *, format: str) -> int:
    """Display detailed information on one or more volumes."""
    from swapbox.cli.inspect import show

    return show(engine_of(ctx), volumes, ("volume",), format)


# -- prune --------------------------------------------------------------------------------------------------------


@click.command(epilog="Example: swapbox volume prune --filter 'label!=keep'")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused ones, not just anonymous ones.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@filter_option("Remove only those that fit, such as label=KEY=VALUE or label!=KEY.", short=False)
@click.pass_context
def prune(ctx: click.Context, *, everything: bool, force: bool, filters: Filters) -> int:
    """Remove unused local volumes."""
    from swapbox.cli.asking import agreed
    from swapbox.cli.units import human_size
    from swapbox.volumes import queries

    if everything and "all" in filters:
        raise ClientError("conflicting options: cannot specify both --all and --filter all=1")
    which = "all" if everything else "anonymous"
    warning = f"WARNING! This will remove {which} local volumes not used by at least one container."
    if not force and not agreed(warning):
        return 0
    given: dict[str, Sequence[str]] = {**filters, **({"all": ("true",)} if everything else {})}
    pruned = queries.prune(engine_of(ctx), given)
    if pruned.names:
        click.echo("Deleted Volumes:\n" + "\n".join(pruned.names) + "\n")
    click.echo(f"Total reclaimed space: {human_size(pruned.reclaimed)}")
    return 0
