"""``network connect`` and ``network disconnect``: places in networks that come and go while a container exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.containers.config import Attachment
from swapbox.containers.files import container_lock, runtime_files
from swapbox.containers.network_files import add_lines, drop_lines, hosts_lines
from swapbox.errors import Conflict, NotFound
from swapbox.networks.endpoints import check, ensure_names, find, for_driver, leased_row, tell, way_out
from swapbox.networks.records import EndpointRow, Network

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine


def join(engine: Engine, container: Container, asked: Attachment) -> None:
    """Connect a container to one more network, also while it runs.

    :raises NotFound: there is no such network.
    :raises InvalidInput: an address or alias is asked for where there can be none.
    :raises Conflict: it is connected already, or has no network of its own.
    """
    network = find(engine, asked.network)
    _check_mode(container)
    check(engine, network, asked)
    with container_lock(engine.paths.container(container.id)):
        container = engine.records.find(container.id)
        if not engine.networks.records.attach(container.id, network, asked):
            raise Conflict(f"endpoint with name {container.name} already exists in network {network.name}")
        try:
            if container.state.init is not None:
                _connect(engine, container, network)
        except BaseException:
            engine.networks.records.detach(container.id, network.id)
            raise


def _check_mode(container: Container) -> None:
    if container.config.has_endpoints:
        return
    if container.config.network_driver == "none" and not container.config.shared_network:
        why = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        raise Conflict(why)
    raise Conflict("container sharing network namespace with another container or host cannot be connected")


def _connect(engine: Engine, container: Container, network: Network) -> None:
    records, init = engine.networks.records, container.state.init
    assert init is not None
    with engine.database.transaction():
        if engine.records.find(container.id).state.init != init:
            raise Conflict(f"container {container.name} has just ended")
        rows = records.endpoints(container=container.id)
        (row,) = (leased_row(engine, row) for row in rows if row.network.id == network.id)
        records.lease(row)
    others = [other for other in rows if other.id and other.network.id != network.id]
    hostname = container.config.hostname or container.short_id
    endpoint = for_driver(row, hostname=hostname, gateway=way_out(others) is None)
    engine.networks.driver(network).connect(Path(f"/proc/{init.pid}/ns/net"), endpoint)
    ensure_names(engine, network.for_driver(), network.driver)
    lines = hosts_lines(container.config._replace(extra_hosts=()), [endpoint])
    add_lines(runtime_files(engine.paths.container(container.id)).hosts, lines)
    tell(engine, container, "connect", network, network.driver)


def leave(engine: Engine, network: Network, text: str, *, force: bool = False) -> None:
    """Disconnect a container from a network.

    :param text: the container's name or id; with ``force`` it may be gone.
    :raises Conflict: it is not connected to it.
    """
    try:
        container = engine.containers.find(text)
    except NotFound:
        if not force:
            raise
        engine.networks.tidy()
        return
    if not container.config.has_endpoints:
        raise Conflict("container cannot be disconnected from host network or connected to host network")
    with container_lock(engine.paths.container(container.id)):
        rows = engine.networks.records.endpoints(container=container.id)
        row = next((row for row in rows if row.network.id == network.id), None)
        if row is None:
            raise Conflict(f"container {container.id} is not connected to network {network.name}")
        if row.id:
            _disconnect(engine, container, row)
        engine.networks.records.detach(container.id, network.id)


def _disconnect(engine: Engine, container: Container, row: EndpointRow) -> None:
    init = engine.records.find(container.id).state.init
    netns = Path(f"/proc/{init.pid}/ns/net") if init is not None and init.alive() else None
    records = engine.networks.records
    ports = tuple(records.published((container.id,)).get(container.id, ()))
    engine.networks.driver(row.network).disconnect(netns, for_driver(row)._replace(ports=ports))
    if way_out(records.endpoints(container=container.id)) == row:
        records.withdraw(container.id)
    drop_lines(runtime_files(engine.paths.container(container.id)).hosts, row.addresses)
    tell(engine, container, "disconnect", row.network, row.network.driver)
