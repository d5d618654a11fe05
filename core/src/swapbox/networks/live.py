"""``network connect`` and ``network disconnect``: places in networks that come and go while a container exists."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.containers.config import Attachment
from swapbox.containers.files import container_lock, runtime_files
from swapbox.containers.network_files import add_lines, drop_lines, hosts_lines
from swapbox.errors import Conflict, NotFound
from swapbox.linux.process import Process
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
            engine.networks.find(network.name)  # it may have been removed just now
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
    init = container.state.init
    assert init is not None
    row, others = _leased(engine, container, network, init)
    hostname = container.config.hostname or container.short_id
    endpoint = for_driver(row, hostname=hostname, gateway=way_out(others) is None)
    driver = engine.networks.driver(network)
    with contextlib.ExitStack() as stack:
        try:
            netns = stack.enter_context(namespace(init))
        except ProcessLookupError:
            raise _ended(container) from None
        driver.connect(netns, endpoint)
        try:
            ensure_names(engine, network.for_driver(), network.driver)
        except BaseException:
            driver.disconnect(netns, endpoint)
            raise
    with _changing_hosts(engine, container) as path:
        add_lines(path, hosts_lines(container.config._replace(extra_hosts=()), [endpoint]))
    tell(engine, container, "connect", network, network.driver)


def _leased(
    engine: Engine, container: Container, network: Network, init: Process
) -> tuple[EndpointRow, list[EndpointRow]]:
    """Return the container's place in the network, with addresses, and the others that it is connected through."""
    records = engine.networks.records
    with engine.database.transaction():
        if engine.records.find(container.id).state.init != init:
            raise _ended(container)
        rows = records.endpoints(container=container.id)
        own = next((row for row in rows if row.network.id == network.id), None)
        if own is None:
            raise NotFound(f"network {network.name} not found")
        row = leased_row(engine, own)
        records.lease(row)
    return row, [other for other in rows if other.id and other.network.id != network.id]


def _ended(container: Container) -> Conflict:
    return Conflict(f"container {container.name} has just ended")


@contextlib.contextmanager
def namespace(init: Process) -> Iterator[Path]:
    """Yield a path of a process's network namespace, which stays the same whoever gets the pid next.

    :raises ProcessLookupError: it has ended.
    """
    try:
        fd = os.open(f"/proc/{init.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessLookupError(init.pid) from None
    try:
        if not init.alive():  # only now: had it ended before, this could be another's
            raise ProcessLookupError(init.pid)
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


@contextlib.contextmanager
def _changing_hosts(engine: Engine, container: Container) -> Iterator[Path]:
    """Yield the path of ``/etc/hosts``: what a container has made of it stops nothing."""
    try:
        yield runtime_files(engine.paths.container(container.id)).hosts
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        engine.warn(f"container {container.name}: cannot change /etc/hosts: {reason}")


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
    records, driver = engine.networks.records, engine.networks.driver(row.network)
    ports = tuple(records.published((container.id,)).get(container.id, ()))
    with contextlib.ExitStack() as stack:
        netns = None
        if init is not None:
            with contextlib.suppress(ProcessLookupError):
                netns = stack.enter_context(namespace(init))
        driver.disconnect(netns, for_driver(row)._replace(ports=ports))
    if way_out(records.endpoints(container=container.id)) == row:
        records.withdraw(container.id)
    with _changing_hosts(engine, container) as path:
        drop_lines(path, row.addresses)
    tell(engine, container, "disconnect", row.network, row.network.driver)
