"""``network connect`` and ``network disconnect``: places in networks that come and go while a container exists."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.containers.config import Attachment
from swapbox.containers.files import container_lock, runtime_files
from swapbox.containers.network_files import add_lines, drop_lines, hosts_lines
from swapbox.errors import Conflict, NotFound
from swapbox.linux.process import Process
from swapbox.networks.endpoints import (
    check,
    ensure_names,
    find,
    for_driver,
    leased_row,
    of_container,
    tell,
    way_out,
)
from swapbox.networks.records import EndpointRow, Network
from swapbox.networks.ways import can_change, change_name_servers, move_way_out

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
            if container.state.init is not None:
                raise Conflict(f"endpoint with name {container.name} already exists in network {network.name}")
            engine.networks.records.ask_anew(container.id, network, asked)
            return
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
    sharing = "container sharing network namespace with another container or host"
    raise Conflict(f"{sharing} cannot be connected to any other network")


def _connect(engine: Engine, container: Container, network: Network) -> None:
    init = container.state.init
    assert init is not None
    row, others = _leased(engine, container, network, init)
    # Where it can be moved it comes here afterwards.
    leads_out = not (any(one.leads_out for one in others) or network.internal or can_change(engine, row))
    endpoint = of_container(container, row, gateway=leads_out)
    driver, files = engine.networks.driver(network), runtime_files(engine.paths.container(container.id))
    with contextlib.ExitStack() as stack:
        try:
            netns = stack.enter_context(namespace(init))
        except ProcessLookupError:
            raise _ended(container) from None
        try:
            got = driver.connect(netns, endpoint)
            if not network.subnets:
                from swapbox.networks.learning import learn

                endpoint = learn(engine, endpoint, got)
            ensure_names(engine, network.for_driver(), network.driver)
            if leads_out:
                engine.networks.records.lead_out(container.id, network.id)
            move_way_out(engine, container, netns, [*others, row._replace(leads_out=leads_out)])
        except BaseException:  # also of who is interrupted while the driver is at work
            driver.disconnect(netns, endpoint)
            raise
    with _changing(engine, container, "/etc/hosts"):
        add_lines(files.hosts, hosts_lines(container.config._replace(extra_hosts=()), [endpoint]))
    with _changing(engine, container, "/etc/resolv.conf"):
        change_name_servers(engine, container, [*others, row])
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
def _changing(engine: Engine, container: Container, file: str) -> Iterator[None]:
    """Change a file of a container's: what it has made of it stops nothing."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        engine.warn(f"container {container.name}: cannot change {file}: {reason}")


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
        lost = [row for row in engine.networks.records.lost() if row.network.id == network.id]
        if not any(row.container.startswith(text) for row in lost):
            raise NotFound(f"endpoint {text} not found") from None
        engine.networks.tidy()
        return
    if network.name == container.config.network_driver == "host":
        raise Conflict("container cannot be disconnected from host network or connected to host network")
    with container_lock(engine.paths.container(container.id)):
        rows = engine.networks.records.endpoints(container=container.id)
        row = next((row for row in rows if row.network.id == network.id), None)
        if row is None:
            what = "network" if container.state.running else "the network"
            raise Conflict(f"container {container.id} is not connected to {what} {network.name}")
        if row.id:
            _disconnect(engine, container, row, [one for one in rows if one.id])
        engine.networks.records.detach(container.id, network.id)


def _disconnect(engine: Engine, container: Container, row: EndpointRow, before: Sequence[EndpointRow]) -> None:
    init = engine.records.find(container.id).state.init
    records, driver = engine.networks.records, engine.networks.driver(row.network)
    ports = tuple(records.published((container.id,)).get(container.id, ()))
    files = runtime_files(engine.paths.container(container.id))
    with contextlib.ExitStack() as stack:
        netns = None
        if init is not None:
            with contextlib.suppress(ProcessLookupError):
                netns = stack.enter_context(namespace(init))
        after = [one for one in before if one.id != row.id]
        if row.leads_out and not (netns is not None and move_way_out(engine, container, netns, after)):
            records.withdraw(container.id)
            _warn(engine, container, after if netns is not None else ())
        driver.disconnect(netns, for_driver(row)._replace(ports=ports))
    with _changing(engine, container, "/etc/hosts"):
        drop_lines(files.hosts, row.addresses)
    with _changing(engine, container, "/etc/resolv.conf"):
        change_name_servers(engine, container, after)
    tell(engine, container, "disconnect", row.network, row.network.driver)


def _warn(engine: Engine, container: Container, places: Sequence[EndpointRow]) -> None:
    """Say that a container has no way out any more, if one of its places could have been it."""
    if (left := way_out(places)) is not None:
        engine.warn(
            f"container {container.name} has no way out and publishes no ports until it is started again:"
            f" network {left.network.name} cannot get them while it runs"
        )
