"""What follows when a running container joins or leaves a network: its way out, its ports and its name servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from swapbox.containers.files import runtime_files, written_resolv_conf
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


def move_way_out(engine: Engine, container: Container, netns: Path, places: Places) -> bool:
    """Let a container's way out and its published ports go through the first of its networks that can get them.

    The new way is there before the old one goes, so a killed process leaves the container with one. Where it leads
    now can only be left if its driver lets it go, or the container leaves that network.

    :param places: where the container is from now on.
    :return: False when it has no way out.
    :raises Conflict: a port that is published from now on is taken.
    """
    old = next((row for row in places if row.leads_out), None)
    if old is not None and not can_change(engine, old):
        return True
    new = way_out([row for row in places if row is old or can_change(engine, row)])
    if new is None or new is old:
        return new is not None
    ports = _ports(engine, container, new)
    _reroute(engine, new, netns, ports)
    engine.networks.records.lead_out(container.id, new.network.id)
    if old is not None:
        _reroute(engine, old, netns, None)
    return True


def can_change(engine: Engine, row: EndpointRow) -> bool:
    """Say whether the way out of a running container can be moved to a place, and away from it."""
    return engine.networks.can(row.network.driver, "ways")


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


def change_name_servers(engine: Engine, container: Container, places: Places) -> None:
    """Write ``/etc/resolv.conf`` anew for other networks, unless the container has changed it.

    :raises OSError: what the container has made of it is no such file.
    """
    directory = engine.paths.container(container.id)
    written, text = written_resolv_conf(directory), _resolv_conf(engine, container, places)
    try:
        old = written.read_bytes()
    except FileNotFoundError:  # started by a swapbox that did not write it yet
        return
    if old == text:
        return
    with runtime_files(directory).resolv_conf.open("r+b", buffering=0) as file:
        if file.read(_RESOLV_CONF_BYTES) == old:
            written.write_bytes(text)
            file.seek(0)
            file.write(text)
            file.truncate()


def _resolv_conf(engine: Engine, container: Container, places: Places) -> bytes:
    from swapbox.containers import network_files

    servers: list[str] = []
    for row in places:
        servers += row.nameservers or servers_of(engine, [(row.network.driver, row.network.for_driver())])
    text = network_files.resolv_conf(container.config, _host_resolv_conf(), networked=True, servers=servers[:3])
    return text.encode(errors="surrogateescape")


def _host_resolv_conf() -> str:
    try:
        return Path("/etc/resolv.conf").read_text(errors="surrogateescape")
    except OSError:
        return ""
