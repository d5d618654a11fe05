"""``network create --subnet``, ``--gateway``, ``--ip-range`` and ``--aux-address``: which belongs to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swapbox.cli.app import ClientError
from swapbox.drivers.network import Subnet
from swapbox.errors import InvalidInput
from swapbox.networks.addresses import Range, parse


def subnets(given: Mapping[str, Any]) -> list[Subnet]:
    """Put gateways, ranges and taken addresses into the subnets in which they lie.

    What is no subnet is left to :mod:`swapbox.networks.choosing`.

    :raises ClientError: with Docker's words.
    """
    found = [Subnet(text) for text in given["subnet"]]
    if len(found) < max(len(given["ip_range"]), len(given["gateway"])):
        raise ClientError("every ip-range or gateway must have a corresponding subnet")
    ranges = [_range(subnet.subnet) for subnet in found]
    for number, one in enumerate(ranges):
        if any(one and other and one.overlaps(other) for other in ranges[:number]):
            raise ClientError("multiple overlapping subnet configuration is not supported")
    for text in given["ip_range"]:
        if _range(text) is None:
            raise ClientError(f"invalid CIDR address: {text}")
        number = _place(ranges, text, "range")
        _check_first(found[number].ip_range, text, "ranges ({}) on", found[number])
        found[number] = found[number]._replace(ip_range=text)
    for text in given["gateway"]:
        number = _place(ranges, text, "gateway")
        _check_first(found[number].gateway, text, "gateways ({}) for", found[number])
        found[number] = found[number]._replace(gateway=text)
    for text in given["aux_address"]:
        name, _, address = text.partition("=")
        number = _place(ranges, address, "aux-address")
        found[number] = found[number]._replace(auxiliary={**found[number].auxiliary, name: address})
    return found


def _check_first(before: str, text: str, several: str, subnet: Subnet) -> None:
    """Check that a subnet has not yet what it can have one of only."""
    if before:
        several = several.format(f"{text}, {before}")
        raise ClientError(f"cannot configure multiple {several} the same subnet ({subnet.subnet})")


def _place(ranges: Sequence[Range | None], address: str, what: str) -> int:
    try:
        value, bits = parse(address.partition("/")[0])
    except InvalidInput:
        value, bits = 0, 0
    for number, one in enumerate(ranges):
        if one is not None and one.bits == bits and value in one:
            return number
    raise ClientError(f"no matching subnet for {what} {address}")


def _range(text: str) -> Range | None:
    try:
        return Range.parse(text)
    except InvalidInput:
        return None
