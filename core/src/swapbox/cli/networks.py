"""``swapbox network``: connect, create, disconnect, inspect, ls, prune and rm."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import ClientError, engine_of, print_error
from swapbox.cli.filters import Filters, filter_option
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.groups import BadValue
from swapbox.cli.volumes import read_labels
from swapbox.errors import InvalidInput, NotFound, SwapboxError
from swapbox.networks.queries import driver_name
from swapbox.networks.records import Network

if TYPE_CHECKING:
    from swapbox.engine import Engine


@click.command(epilog="Example: swapbox network create --subnet 10.20.0.0/24 --label team=web front")
@click.option("-d", "--driver", default="bridge", metavar="NAME", help="Network driver.")
@click.option("--subnet", multiple=True, metavar="CIDR", help="Range of addresses.")
@click.option("--gateway", multiple=True, metavar="ADDRESS", help="The host's own address in a subnet.")
@click.option("--ip-range", multiple=True, metavar="CIDR", help="Part of a subnet that containers get.")
@click.option("--aux-address", multiple=True, metavar="NAME=ADDRESS", help="Address that is taken.")
@click.option("--internal", is_flag=True, help="Give it no way out.")
@click.option(
    "--ipv4",
    type=bool,
    default=True,
    is_flag=False,
    flag_value=True,
    metavar="",
    help="Give containers IPv4 addresses; the default.",
)
@click.option("--ipv6", is_flag=True, help="Give containers IPv6 addresses, too.")
@click.option("--attachable", is_flag=True, help="For 'network inspect': nothing here needs it.")
@click.option("--scope", default="", metavar="local", help="There is no other.")
@click.option("--ipam-driver", default="default", metavar="default", help="There is no other.")
@click.option("--ipam-opt", multiple=True, metavar="NAME=VALUE", help="For 'network inspect'.")
@click.option("--label", "labels", multiple=True, callback=read_labels, metavar="KEY[=VALUE]", help="Set a label.")
@click.option("-o", "--opt", multiple=True, metavar="NAME=VALUE", help="Set an option of the driver.")
@click.argument("network")
@click.pass_context
def create(ctx: click.Context, /, *, network: str, **given: Any) -> None:
    """Create a network."""
    from swapbox.cli.subnets import subnets
    from swapbox.containers.options import parse_map

    _check_scope(given)
    made = engine_of(ctx).networks.create(
        network,
        driver=given["driver"],
        subnets=subnets(given),
        options=parse_map(given["opt"]),
        labels=given["labels"],
        internal=given["internal"],
        ipv4=given["ipv4"],
        ipv6=given["ipv6"],
        attachable=given["attachable"],
        ipam_options=parse_map(given["ipam_opt"]),
    )
    click.echo(made.id)


def _check_scope(given: dict[str, Any]) -> None:
    """Check what can have one value only.

    :raises InvalidInput: it has another, with Docker's words.
    """
    if given["scope"] == "swarm":
        raise InvalidInput("cannot create a swarm scoped network when swarm is not active")
    if given["scope"] not in ("", "local"):
        raise InvalidInput(f"invalid scope {given['scope']!r}", hint="networks are local")
    if given["ipam_driver"] != "default":
        raise NotFound(f'plugin "{given["ipam_driver"]}" not found')


def _read_links(_ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> Sequence[str]:
    """Read ``--link``."""
    from swapbox.containers.attachment_flags import parse_link

    assert isinstance(param, click.Option)
    for value in values:
        try:
            parse_link(value)
        except InvalidInput as error:
            raise BadValue(error.message, value, param) from None
    return values


def _read_priority(_ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    """Read ``--gw-priority``."""
    from swapbox.containers.options import parse_integer

    assert isinstance(param, click.Option)
    try:
        return parse_integer(value) if value else 0
    except InvalidInput as error:
        raise BadValue(error.message, value or "", param) from None


@click.command(epilog="Example: swapbox network connect --alias db front web")
@click.option("--alias", multiple=True, metavar="NAME", help="One more name in the network.")
@click.option("--ip", default="", metavar="ADDRESS", help="Its IPv4 address.")
@click.option("--ip6", default="", metavar="ADDRESS", help="Its IPv6 address.")
@click.option(
    "--link", multiple=True, callback=_read_links, metavar="CONTAINER[:ALIAS]", help="Know another by a name."
)
@click.option("--link-local-ip", multiple=True, metavar="ADDRESS", help="One more address, of IPv4 or IPv6.")
@click.option(
    "--gw-priority", callback=_read_priority, metavar="NUMBER", help="The way out is where it is highest."
)
@click.option("--driver-opt", multiple=True, metavar="NAME=VALUE", help="Option of the driver.")
@click.argument("network")
@click.argument("container")
@click.pass_context
def connect(ctx: click.Context, /, *, network: str, container: str, **given: Any) -> None:
    """Connect a container to a network."""
    from swapbox.containers import attachment_flags as flags
    from swapbox.containers.config import Attachment
    from swapbox.networks.live import join

    try:
        options = dict(map(flags.parse_driver_option, given["driver_opt"]))
    except InvalidInput:
        raise ClientError("invalid key/value pair format in driver options") from None
    asked = Attachment(
        network,
        aliases=given["alias"],
        addresses=flags.addresses(given["ip"], given["ip6"]),
        options=options,
        priority=given["gw_priority"],
        link_local=flags.link_locals(given["link_local_ip"]),
        links=given["link"],
    )
    engine = engine_of(ctx)
    join(engine, engine.containers.find(container), asked)


@click.command(epilog="Example: swapbox network disconnect front web")
@click.option("-f", "--force", is_flag=True, help="Go on when the container is gone.")
@click.argument("network")
@click.argument("container")
@click.pass_context
def disconnect(ctx: click.Context, /, *, network: str, container: str, force: bool) -> None:
    """Disconnect a container from a network."""
    from swapbox.networks.live import leave

    engine = engine_of(ctx)
    leave(engine, engine.networks.find(network), container, force=force)


@click.command(epilog="Example: swapbox network rm front")
@click.option("-f", "--force", is_flag=True, help="Do not complain of one that is not there.")
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK [NETWORK...]")
@click.pass_context
def rm(ctx: click.Context, networks: Sequence[str], *, force: bool) -> int:
    """Remove one or more networks."""
    service, code = engine_of(ctx).networks, 0
    for name in networks:
        try:
            service.remove(name)
        except SwapboxError as error:
            if not (force and isinstance(error, NotFound)):
                print_error(error)
                code = 1
            continue
        click.echo(name)
    return code


# -- looking ------------------------------------------------------------------------------------------------------


def _created(network: Network, _view: View) -> str:
    from swapbox.cli.tables import zoned_time

    return zoned_time(network.created // 10**9) if network.created else "0001-01-01 00:00:00 +0000 UTC"


NETWORKS = Listing[Network](
    name="network.networkContext",
    fields={
        "ID": Field("NETWORK ID", lambda one, view: one.id[:12] if view.truncate else one.id),
        "Name": Field("NAME", lambda one, _view: one.name),
        "Driver": Field("DRIVER", lambda one, _view: driver_name(one)),
        "IPv4": Field("IPV4", lambda one, _view: str(one.ipv4).lower()),
        "IPv6": Field("IPV6", lambda one, _view: str(one.ipv6).lower()),
        "Internal": Field("INTERNAL", lambda one, _view: str(one.internal).lower()),
        "Labels": Field("LABELS", lambda one, _view: ",".join(f"{k}={v}" for k, v in sorted(one.labels.items()))),
        "Scope": Field("SCOPE", lambda _one, _view: "local"),
        "CreatedAt": Field("CREATED AT", _created),
    },
    table=("ID", "Name", "Driver", "Scope"),
    quiet="ID",
    config="networksFormat",
    methods={"Label": lambda one, name: one.labels.get(name, "")},
    raw="network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
)


@click.command(epilog="Example: swapbox network ls --filter driver=bridge")
@filter_option("Show only those that fit, such as driver=bridge or label=KEY=VALUE.")
@click.option("--format", default="", metavar="TEMPLATE", help="A Go template, or table, json or raw.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.pass_context
def ls(ctx: click.Context, *, filters: Filters, format: str, no_trunc: bool, quiet: bool) -> None:
    """List networks."""
    from swapbox.networks.queries import query

    view = View(format=format, quiet=quiet, truncate=not no_trunc, table=NETWORKS.table, raw=NETWORKS.raw)
    click.echo(NETWORKS.render(query(engine_of(ctx), filters), view), nl=False)


@click.command(epilog="Example: swapbox network inspect --format '{{json .IPAM.Config}}' front")
@click.option("-f", "--format", default="", metavar="TEMPLATE", help="A Go template, or json.")
@click.option("-v", "--verbose", is_flag=True, help="Let drivers check the connections of running containers.")
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK [NETWORK...]")
@click.pass_context
def inspect(ctx: click.Context, networks: Sequence[str], *, format: str, verbose: bool) -> int:
    """Display detailed information on one or more networks."""
    from swapbox.cli.inspect import show

    code = show(engine_of(ctx), networks, ("network",), format)
    return max(code, _check(engine_of(ctx), networks)) if verbose else code


def _check(engine: Engine, names: Sequence[str]) -> int:
    from swapbox.networks.checking import check

    code = 0
    for name in names:
        with contextlib.suppress(NotFound):  # said already
            for error in check(engine, engine.networks.find(name)):
                print_error(error)
                code = 1
    return code


@click.command(epilog="Example: swapbox network prune --filter until=24h")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@filter_option("Remove only those that fit, such as until=24h or label=KEY=VALUE.", short=False)
@click.pass_context
def prune(ctx: click.Context, *, force: bool, filters: Filters) -> None:
    """Remove all unused networks."""
    from swapbox.cli.asking import agreed
    from swapbox.cli.prune import moment
    from swapbox.networks import queries

    if not force and not agreed(
        "WARNING! This will remove all custom networks not used by at least one container."
    ):
        return
    names = queries.prune(engine_of(ctx), filters, until=moment(filters))
    if names:
        click.echo("Deleted Networks:\n" + "\n".join(names) + "\n")
