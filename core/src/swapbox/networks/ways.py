"""What follows when a running container joins or leaves a network: its way out, its ports and its name servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from swapbox.containers.files import runtime_files
from swapbox.networks.endpoints import for_driver, way_out
from swapbox.networks.records import EndpointRow
from swapbox.networks.resolving import servers_of

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.drivers.network import PublishedPort, Rerouter
    from swapbox.engine import Engine

_RESOLV_CONF_BYTES = 1 << 16
"""More than this the engine has not written."""

Places = Sequence[EndpointRow]


def move_way_out(engine: Engine, container: Container, netns: Path, before: Places, after: Places) -> None:
    """Let a container's way out and its published ports go through the network that is the first one now.

    The new way is there before the old one goes, so a killed process leaves the container with one.

    :raises Conflict: a port that is published from now on is taken.
    """
    now, then = way_out(after), way_out(before)
    if now is None or (then is not None and now.id == then.id):
        return
    if not all(can_change(engine, row) for row in (now, then) if row is not None):
        return
    ports = _ports(engine, container, now)
    _reroute(engine, now, netns, ports)
    if then is not None and then.id in [row.id for row in after]:
        _reroute(engine, then, netns, None)


def can_change(engine: Engine, row: EndpointRow) -> bool:
    """Say whether the way out of a running container can be moved to a place, and away from it."""
    offers = engine.plugins.offers("network")
    return any(one.spec.name == row.network.driver and "ways" in one.spec.capabilities for one in offers)


def _reroute(engine: Engine, row: EndpointRow, netns: Path, ports: tuple[PublishedPort, ...] | None) -> None:
    """Let the way out lead through a place, with these ports; not any more, if they are None."""
    driver = cast("Rerouter", engine.networks.driver(row.network))
    endpoint = for_driver(row, gateway=ports is not None)
    driver.reroute(netns, endpoint._replace(ports=ports or ()))


def _ports(engine: Engine, container: Container, row: EndpointRow) -> tuple[PublishedPort, ...]:
    """Return what a container publishes through a place, under the numbers that it has, and write it down."""
    if not (container.config.ports or container.config.publish_all):
        return ()
    from swapbox.networks.ports import choose

    records = engine.networks.records
    with engine.database.transaction():
        held = records.published((container.id,)).get(container.id, ())
        records.withdraw(container.id)
        ports = choose(engine, container, row, held=held)
        records.publish(container.id, ports)
    return ports


def change_name_servers(engine: Engine, container: Container, before: Places, after: Places) -> None:
    """Write ``/etc/resolv.conf`` anew for other networks, unless the container has changed it.

    :raises OSError: what the container has made of it is no such file.
    """
    host = _host_resolv_conf()
    old, new = (_resolv_conf(engine, container, host, places) for places in (before, after))
    if old == new:
        return
    with runtime_files(engine.paths.container(container.id)).resolv_conf.open("r+b", buffering=0) as file:
        if file.read(_RESOLV_CONF_BYTES) == old:
            file.seek(0)
            file.write(new)
            file.truncate()


def _resolv_conf(engine: Engine, container: Container, host: str, places: Places) -> bytes:
    from swapbox.containers import network_files

    servers = servers_of(engine, ((row.network.driver, row.network.for_driver()) for row in places))
    text = network_files.resolv_conf(container.config, host, networked=True, servers=servers)
    return text.encode(errors="surrogateescape")


def _host_resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text(errors="surrogateescape")
    except OSError:
        return ""
