"""A container's places in networks: written with the container, leased and connected by its monitor, released.

::

    create   settle: find the networks, write down who belongs to them
    start    lease: addresses and ports that nobody else has, in one transaction
             connect: the driver, between the isolation driver's create and start
    end      disconnect_all: the driver, then the leases
    remove   forget

The leases of a container whose monitor was killed are freed by the same teardown, run by whoever finds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swapbox.containers.config import Attachment
from swapbox.containers.files import container_lock
from swapbox.drivers.network import Endpoint, PublishedPort, Resolving
from swapbox.drivers.network import Network as DriverNetwork
from swapbox.errors import Conflict, InvalidInput, NotFound, SwapboxError, Unavailable
from swapbox.networks.addresses import Range, first_free, numbers, parse, text
from swapbox.networks.records import EndpointRow, Network

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig
    from swapbox.containers.records import Container
    from swapbox.engine import Engine


_INTERFACES = "com.docker.network.container_iface_prefix"
"""The option of a network that says how the names of links begin in its containers."""


class Exhausted(Unavailable):
    """No address of a network is free."""


class Leased(NamedTuple):
    """An endpoint that may be connected, and its driver's name.

    :param nameservers: once it is connected, those that the driver has chosen.
    """

    driver: str
    endpoint: Endpoint
    nameservers: tuple[str, ...] = ()


# -- create -------------------------------------------------------------------------------------------------------


def settle(engine: Engine, container_id: str, config: ContainerConfig) -> None:
    """Write down to which networks a new container belongs.

    :raises NotFound: there is no such network.
    :raises InvalidInput: an address or an alias is asked for where there can be none.
    """
    networks = engine.networks
    attachments = config.networks or (Attachment(config.network or config.network_driver),)
    for attachment in attachments:
        network = find(engine, attachment.network)
        check(engine, network, attachment)
        if not networks.records.attach(container_id, network, attachment):
            networks.find(network.name)  # it may have been removed just now
            raise InvalidInput(f'network "{attachment.network}" is specified multiple times')


def find(engine: Engine, name: str) -> Network:
    """Return a network that containers can have endpoints in; a driver's own one is made when it is not there.

    :raises NotFound: there is none.
    :raises InvalidInput: there are no endpoints in it.
    """
    if engine.networks.can(name, "networks"):
        return engine.networks.default(engine.selector.choose("network", name=name).name)
    network = engine.networks.find(name)
    if network.name == "none":
        raise InvalidInput(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        )
    if not network.created:
        raise InvalidInput("container cannot be disconnected from host network or connected to host network")
    return network


def check(engine: Engine, network: Network, asked: Attachment) -> None:
    """Check what is asked for in a network.

    :raises InvalidInput: with Docker's words.
    """
    predefined = engine.networks.is_predefined(network.name)
    if asked.aliases and predefined:
        raise InvalidInput("network-scoped aliases are only supported for user-defined networks")
    if asked.addresses and predefined:
        raise InvalidInput("user specified IP address is supported on user defined networks only")
    for address in asked.addresses:
        try:
            number, bits = parse(address)
        except InvalidInput:
            raise InvalidInput(f"invalid {'IPv6' if ':' in address else 'IPv4'} address: {address}") from None
        if network.subnets and not any(
            number in (subnet := Range.parse(one.subnet)) and subnet.bits == bits for one in network.subnets
        ):
            subnets = ", ".join(one.subnet for one in network.subnets)
            raise InvalidInput(f"no configured subnet contains IP address {address}", hint=f"it has {subnets}")


# -- start --------------------------------------------------------------------------------------------------------


def lease(engine: Engine, container: Container) -> tuple[Leased, ...]:
    """Give a container that starts its addresses and its ports on the host.

    :raises Unavailable: no address is free, or none of the ports that were asked for.
    :raises Conflict: an address or a port is taken.
    :raises NotFound: a network of its was removed.
    """
    try:
        return _leased(engine, container)
    except Exhausted:
        engine.networks.tidy()  # what the dead still hold
        return _leased(engine, container)


def _leased(engine: Engine, container: Container) -> tuple[Leased, ...]:
    records = engine.networks.records
    with engine.database.transaction():
        records.release(container.id)
        records.attach_again(container.id)
        rows = [leased_row(engine, row) for row in records.endpoints(container=container.id)]
        gateway = way_out(rows)
        for row in rows:
            records.lease(row._replace(leads_out=row is gateway))
        ports: tuple[PublishedPort, ...] = ()
        if gateway is not None and (container.config.ports or container.config.publish_all):
            from swapbox.networks.ports import choose

            ports = choose(engine, container, gateway)
            records.publish(container.id, ports)
    endpoints = (
        of_container(container, row, gateway=row is gateway)._replace(ports=ports if row is gateway else ())
        for row in rows
    )
    return tuple(Leased(row.network.driver, endpoint) for row, endpoint in zip(rows, endpoints, strict=True))


def way_out(rows: Sequence[EndpointRow]) -> EndpointRow | None:
    """Return the place through which a container should reach the world, and its published ports be reached.

    While it runs it may be another one, since not every driver can change it: see :mod:`swapbox.networks.ways`.
    Of those with the highest priority it is that of the network whose name comes first.
    """
    leading = (row for row in rows if not row.network.internal)
    return min(leading, key=lambda row: (-row.asked.priority, row.network.name), default=None)


def leased_row(engine: Engine, row: EndpointRow) -> EndpointRow:
    """Return a place with an id and addresses that nobody has.

    To be called in the transaction that writes them down, so that a network is either seen to be in use by who
    removes it, or seen to be going here.

    :raises NotFound: the network is being removed.
    """
    if row.network.state != "ready":
        raise NotFound(f"network {row.network.name} not found")
    leased = engine.networks.records.leased(row.network.id)
    chosen = {32: "", 128: ""}
    for subnet in row.network.subnets:
        whole = Range.parse(subnet.subnet)
        if chosen[whole.bits]:
            continue
        used = numbers([subnet.gateway, *subnet.auxiliary.values(), *leased[whole.bits == 128]])
        number = _fixed(row, whole, used)
        if number is None:
            number = first_free(whole, Range.parse(subnet.ip_range or subnet.subnet), used)
        if number is not None:
            chosen[whole.bits] = f"{text(number, whole.bits)}/{whole.prefix}"
    for bits, family in ((32, "IPv4"), (128, "IPv6")):
        if not chosen[bits] and any(Range.parse(subnet.subnet).bits == bits for subnet in row.network.subnets):
            pools = "address pools" if bits == 32 else "IPv6 pools"
            raise Exhausted(
                f"no available {family} addresses on this network's {pools}: {row.network.name} ({row.network.id})"
            )
    mac = row.asked.mac_address or (hardware_address(chosen[32]) if row.network.subnets else "")
    return row._replace(id=os.urandom(32).hex(), ipv4=chosen[32], ipv6=chosen[128], mac=mac)


def _fixed(row: EndpointRow, subnet: Range, used: set[int]) -> int | None:
    """Return the address that was asked for in a subnet.

    :raises Conflict: it is taken.
    """
    for address in row.asked.addresses:
        number, bits = parse(address)
        if bits == subnet.bits and number in subnet:
            if number in used:
                raise Conflict("Address already in use", hint=f"{address} of network {row.network.name} is taken")
            return number
    return None


def hardware_address(ipv4: str) -> str:
    """Return a MAC address that no other container of its network has: of an IPv4 address always the same one,
    so that what neighbours remember of its last owner is true of the next one, too."""
    tail = parse(ipv4.partition("/")[0])[0].to_bytes(4, "big") if ipv4 else os.urandom(4)
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + tail)


def of_container(container: Container, row: EndpointRow, *, gateway: bool) -> Endpoint:
    """Return what a driver is told of a place that is about to be connected."""
    config = container.config
    asked = Resolving(config.dns, config.dns_search, config.dns_options)
    hostname = config.hostname or container.short_id
    return for_driver(row, hostname=hostname, gateway=gateway)._replace(resolving=asked)


def for_driver(row: EndpointRow, *, hostname: str = "", gateway: bool = True) -> Endpoint:
    """Return what a driver is told of a place that has its leases."""
    return Endpoint(
        id=row.id,
        network=row.network.for_driver(),
        container_id=row.container,
        hostname=hostname,
        options=row.asked.options,
        addresses=row.addresses if row.network.subnets else row.asked.addresses,
        mac_address=row.mac,
        interface=f"{row.network.options.get(_INTERFACES) or 'eth'}{row.position}",
        gateway=gateway,
        aliases=row.asked.aliases,
        link_local=tuple(f"{one}/{64 if ':' in one else 16}" for one in row.asked.link_local),
    )


def connect(engine: Engine, container: Container, leased: Sequence[Leased], init: int) -> Sequence[Leased]:
    """Connect a container's network namespace to its networks; return its places with what drivers have chosen."""
    netns = Path(f"/proc/{init}/ns/net")
    connected = []
    for one in leased:
        driver, endpoint = one.driver, one.endpoint
        got = engine.selector.open("network", made_with=driver).connect(netns, endpoint)
        if not endpoint.network.subnets:
            from swapbox.networks.learning import learn, name_servers

            endpoint = learn(engine, endpoint, got)
            servers = name_servers(engine, endpoint.network, driver, got.nameservers) or (
                () if container.config.dns else got.nameservers
            )
            if servers:
                engine.networks.records.ask(endpoint, servers)
            one = one._replace(endpoint=endpoint, nameservers=servers)
        ensure_names(engine, endpoint.network, driver)
        tell(engine, container, "connect", endpoint.network, driver)
        connected.append(one)
    return connected


def ensure_names(engine: Engine, network: DriverNetwork, driver: str) -> None:
    """Start the name server of a network that a container has just been connected to, unless it runs."""
    from swapbox.networks import resolving

    if resolving.servers(network) and resolving.has_names(engine, network, driver):
        resolving.ensure(engine, network)


def tell(engine: Engine, container: Container, action: str, network: DriverNetwork | Network, driver: str) -> None:
    """Emit that a container is connected to a network, or disconnected."""
    engine.emit("network", action, network.id, {"container": container.id, "name": network.name, "type": driver})


# -- end ----------------------------------------------------------------------------------------------------------


def disconnect_all(engine: Engine, container: Container) -> None:
    """Undo :func:`connect`, and give back the leases; what is done already is fine.

    :raises SwapboxError: of one network at least, after the others; what was held there stays written down.
    """
    records = engine.networks.records
    rows = [row for row in records.endpoints(container=container.id) if row.id]
    ports = tuple(records.published((container.id,)).get(container.id, ())) if rows else ()
    failure, done = None, list[EndpointRow]()
    for row in rows:
        try:
            driver = engine.selector.open("network", made_with=row.network.driver)
            driver.disconnect(None, for_driver(row)._replace(ports=ports))
        except SwapboxError as error:  # such as a missing plugin; the others are disconnected all the same
            failure = error
            continue
        done.append(row)
        tell(engine, container, "disconnect", row.network, row.network.driver)
    if failure is not None:
        for row in done:
            records.lease(EndpointRow(row.container, row.network, row.position, row.asked))
        raise failure
    if rows:
        records.release(container.id)


# -- looking ------------------------------------------------------------------------------------------------------


def connected(engine: Engine, network: Network) -> list[EndpointRow]:
    """Return the places in a network of the containers that run; those that do not give back what they hold."""
    return list(_connected(engine, network))


def _connected(engine: Engine, network: Network) -> Iterator[EndpointRow]:
    for row in engine.networks.records.endpoints(network=network.id):
        if not row.id:
            continue
        try:
            container = engine.containers.find(row.container)
        except NotFound:  # it is being made, or was removed at its end just now
            continue
        if container.state.monitor is not None or container.state.init is not None:
            yield row
            continue
        try:
            _free(engine, container.id)
        except NotFound:  # removed just now
            continue
        except SwapboxError as error:  # it keeps what it holds, and nobody else is kept from anything
            engine.warn(f"container {container.name}: cannot free network: {error.message}")


def _free(engine: Engine, container_id: str) -> None:
    """Free what a dead container holds, unless it starts: whoever starts it leases under the same lock."""
    with container_lock(engine.paths.container(container_id)):
        container = engine.records.find(container_id)
        if container.state.monitor is None and container.state.init is None:
            disconnect_all(engine, container)
