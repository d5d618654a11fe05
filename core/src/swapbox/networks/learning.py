"""What a driver that chooses addresses itself has given a container: written down as if the core had chosen."""

from __future__ import annotations

import _socket
import errno
from typing import TYPE_CHECKING

from swapbox.drivers.network import Connection, Endpoint, Subnet
from swapbox.errors import Conflict
from swapbox.networks import resolving

if TYPE_CHECKING:
    from swapbox.drivers.network import Network
    from swapbox.engine import Engine


def learn(engine: Engine, endpoint: Endpoint, got: Connection) -> Endpoint:
    """Write down what an endpoint got; return it with its addresses, in a network that has their gateways.

    :raises Conflict: another container has one of the addresses; the endpoint is to be disconnected.
    """
    addresses = {":" in address: address for address in reversed(got.addresses)}  # the first of each family
    gateways = {":" in gateway: gateway for gateway in reversed(got.gateways)}
    chosen = tuple(addresses[wide] for wide in (False, True) if wide in addresses)
    ways = tuple(gateways[wide] for wide in (False, True) if wide in gateways)
    if not engine.networks.records.learn(endpoint, chosen, gateways=ways, mac=got.mac_address):
        raise Conflict(
            "Address already in use", hint=f"{', '.join(chosen)} of network {endpoint.network.name} is taken"
        )
    network = endpoint.network._replace(subnets=tuple(Subnet("", way) for way in ways))
    return endpoint._replace(addresses=chosen, network=network, mac_address=got.mac_address)


def name_servers(engine: Engine, network: Network, driver: str) -> tuple[str, ...]:
    """Start the name server of a network, unless it runs, and return where it is asked: at gateways that are ours.

    :param network: as :func:`learn` has returned it. Its gateways may be anybody's, and others' in the next list.
    """
    if not resolving.has_names(engine, network, driver):
        return ()
    own = [subnet for subnet in network.subnets if _bind(subnet.gateway, 0) == 0]
    if own:
        resolving.ensure(engine, network._replace(subnets=tuple(Subnet(one.gateway, one.gateway) for one in own)))
    return tuple(one.gateway for one in own if _bind(one.gateway, 53) == errno.EADDRINUSE)


def _bind(address: str, port: int) -> int:
    """Return the number of the error of binding to an address, 0 for none."""
    sock = _socket.socket(_socket.AF_INET6 if ":" in address else _socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        sock.bind((address, port))
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        sock.close()
    return 0
