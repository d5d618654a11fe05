"""What a driver that chooses addresses itself has given a container: written down as if the core had chosen."""

from __future__ import annotations

import _socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swapbox.drivers.network import Connection, Endpoint, Subnet
from swapbox.errors import Conflict, NotFound
from swapbox.networks import resolving
from swapbox.networks.endpoints import connected

if TYPE_CHECKING:
    from swapbox.drivers.network import Network
    from swapbox.engine import Engine


def learn(engine: Engine, endpoint: Endpoint, got: Connection) -> Endpoint:
    """Write down what an endpoint got; return it with its addresses, in a network that has their gateways.

    :raises Conflict: another container has one of the addresses; the endpoint is to be disconnected.
    :raises NotFound: the container is no more in the network.
    """
    addresses = {":" in address: address for address in reversed(got.addresses)}  # the first of each family
    gateways = {":" in gateway: gateway for gateway in reversed(got.gateways)}
    chosen = tuple(addresses[wide] for wide in (False, True) if wide in addresses)
    ways = tuple(gateways[wide] for wide in (False, True) if wide in gateways)
    if not _learned(engine, endpoint, chosen, gateways=ways, mac=got.mac_address):
        raise Conflict(
            "Address already in use", hint=f"{', '.join(chosen)} of network {endpoint.network.name} is taken"
        )
    network = endpoint.network._replace(subnets=tuple(Subnet("", way) for way in ways))
    return endpoint._replace(addresses=chosen, network=network, mac_address=got.mac_address)


def _learned(
    engine: Engine, endpoint: Endpoint, addresses: tuple[str, ...], *, gateways: tuple[str, ...], mac: str
) -> bool:
    """Write down what an endpoint got; False when a container that runs has one of the addresses."""
    records = engine.networks.records
    for row in records.endpoints(container=endpoint.container_id):
        if row.network.id == endpoint.network.id:
            break
    else:
        raise NotFound(f"container {endpoint.container_id} is not connected to network {endpoint.network.name}")
    if records.learn(endpoint, addresses, gateways=gateways, mac=mac):
        return True
    connected(engine, row.network)  # with the side effect of freeing what the dead held
    return records.learn(endpoint, addresses, gateways=gateways, mac=mac)


def name_servers(engine: Engine, network: Network, driver: str, upstream: Sequence[str] = ()) -> tuple[str, ...]:
    """Start the name server of a network, unless it runs, and return where it is asked: at gateways that are ours.

    None where another network's name server listens, or anybody else's: it would not answer.

    :param network: as :func:`learn` has returned it. Its gateways may be anybody's, and others' in the next list.
    :param upstream: name servers that the driver has chosen: they get all questions about other names.
    """
    if not resolving.has_names(engine, network, driver):
        return ()
    own = [subnet.gateway for subnet in network.subnets if _is_ours(subnet.gateway)]
    if not own:
        return ()
    places = network._replace(subnets=tuple(Subnet(one, one) for one in own))
    served = resolving.ensure(engine, places, upstream)
    return tuple(one for one in own if one in served)


def _is_ours(address: str) -> bool:
    """Say whether an address is one of this host's: what is sent there has that same address as its source.

    To bind to it would not do: with ip_nonlocal_bind, see ip(7), that succeeds everywhere.
    """
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    sock = _socket.socket(family, _socket.SOCK_DGRAM)
    try:
        sock.connect((address, 53))
        source = sock.getsockname()[0]
    except OSError:  # no way there
        return False
    finally:
        sock.close()
    return _socket.inet_pton(family, source) == _socket.inet_pton(family, address)
