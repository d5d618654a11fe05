"""What a driver that chooses addresses itself has given a container: written down as if the core had chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.drivers.network import Connection, Endpoint, Subnet
from swapbox.errors import Conflict

if TYPE_CHECKING:
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
