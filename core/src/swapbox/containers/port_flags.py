"""``-p``, ``-P`` and ``--expose`` in Docker's syntax."""

from __future__ import annotations

from collections.abc import Iterator

from swapbox.containers.config import PortBinding
from swapbox.containers.exposed import PROTOCOLS
from swapbox.errors import InvalidInput
from swapbox.networks.addresses import parse


def parse_publish(text: str) -> list[PortBinding]:
    """Read one ``-p``: ``[[address:][port[-port]]:]port[-port][/protocol]``, or ``key=value`` pairs.

    :raises InvalidInput: with Docker's words.
    """
    if "=" in text:
        return _long(text)
    address, public, private = _parts(text)
    number, _, protocol = private.partition("/")
    protocol = (protocol or "tcp").lower()
    if not number:
        raise InvalidInput(f"no port specified: {text}<empty>")
    if address:
        _check_address(address, text)
    try:
        first, last = _range(number)
    except ValueError as error:
        raise InvalidInput(f"invalid containerPort: {number}") from error
    try:
        host_first, host_last = _range(public) if public else (0, 0)
    except ValueError as error:
        raise InvalidInput(f"invalid hostPort: {public}") from error
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"invalid proto: {protocol}")
    if host_first and last - first != host_last - host_first and last != first:
        raise InvalidInput(f"invalid ranges specified for container and host Ports: {number} and {public}")
    return list(_bindings(address, protocol, (first, last), (host_first, host_last)))


def _bindings(
    address: str, protocol: str, private: tuple[int, int], public: tuple[int, int]
) -> Iterator[PortBinding]:
    if private[0] == private[1]:  # of a range on the host, the first that is free
        last = public[1] if public[1] != public[0] else 0
        yield PortBinding(private[0], protocol, address, public[0], last)
        return
    for offset in range(private[1] - private[0] + 1):
        yield PortBinding(private[0] + offset, protocol, address, public[0] and public[0] + offset)


def _parts(text: str) -> tuple[str, str, str]:
    """Return address, ports of the host and of the container."""
    rest, colon, private = text.rpartition(":")
    if not colon:
        return "", "", text
    if rest.startswith("["):  # an IPv6 address
        address, bracket, tail = rest[1:].partition("]")
        if not bracket:
            start = rest.rpartition(":")[0]
            raise InvalidInput(f"invalid IP address {start}: address {start}:: missing ']' in address")
        if tail and not tail.startswith(":"):
            raise InvalidInput(f"invalid IP address: {rest}")
        return address, tail[1:], private
    address, colon, public = rest.rpartition(":")
    return address, public, private


def _check_address(address: str, text: str) -> None:
    try:
        parse(address)
    except InvalidInput:
        raise InvalidInput(f"invalid IP address: {address}") from None


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [_port(first), _port(last) if dash else _port(first)]
    if numbers[1] < numbers[0]:
        raise ValueError(text)
    return numbers[0], numbers[1]


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError(text)
    return int(text)


def _long(text: str) -> list[PortBinding]:
    """Read the long form: ``target=80,published=8080,protocol=tcp``; as in Docker, other names mean nothing."""
    fields = {"protocol": "tcp", "target": "", "published": ""}
    for item in text.split(","):
        name, equals, value = item.partition("=")
        if not equals:
            raise InvalidInput(f"invalid publish opts format (should be name=value but got '{item}')")
        fields[name] = value
    return parse_publish(f"{fields['published']}:{fields['target']}/{fields['protocol']}")
