"""What becomes part of the text of a rule is looked at first, so that it is one word of the kind it should be.

The core has checked it, too; but an image may have named a port, and a rule is carried out as root.
"""

from __future__ import annotations

import _socket

from swapbox.drivers.network import Endpoint, Network, PublishedPort
from swapbox.errors import InvalidInput
from swapbox_network_bridge.options import settings

_PROTOCOLS = ("tcp", "udp", "sctp")


def check_network(network: Network) -> None:
    """Look at what a network's rules are made of.

    :raises InvalidInput: it is not what it should be.
    """
    settings(network)
    _check_id(network.id)
    for subnet in network.subnets:
        _check_address(*subnet.subnet.partition("/")[::2])


def check_endpoint(endpoint: Endpoint) -> None:
    """Look at what the rules of an endpoint's ports are made of.

    :raises InvalidInput: it is not what it should be.
    """
    check_network(endpoint.network)
    _check_id(endpoint.id)
    for address in endpoint.addresses:
        _check_address(*address.partition("/")[::2])
    for port in endpoint.ports:
        _check_port(port)


def _check_id(identity: str) -> None:
    if not identity or identity.strip("0123456789abcdef"):
        raise InvalidInput(f"invalid id: {identity!r}")


def _check_address(address: str, prefix: str) -> None:
    wide = ":" in address
    try:
        _socket.inet_pton(_socket.AF_INET6 if wide else _socket.AF_INET, address)
    except (OSError, ValueError):
        raise InvalidInput(f"invalid IP address: {address!r}") from None
    if not (prefix.isascii() and prefix.isdigit() and int(prefix) <= (128 if wide else 32)):
        raise InvalidInput(f"invalid CIDR address: {address}/{prefix!r}")


def _check_port(port: PublishedPort) -> None:
    _check_address(port.address, "0")
    if port.protocol not in _PROTOCOLS:
        raise InvalidInput(f"invalid protocol of a published port: {port.protocol!r}")
    for number in (port.private, port.public):
        if type(number) is not int or not 0 < number < 65536:
            raise InvalidInput(f"invalid port: {number!r}")
