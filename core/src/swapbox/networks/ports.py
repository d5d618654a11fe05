"""Published ports: what ``-p`` and ``-P`` ask for, and the ports of the host that a container gets."""

from __future__ import annotations

import _socket
import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from swapbox.drivers.network import PublishedPort
from swapbox.errors import Conflict
from swapbox.networks.records import EndpointRow

if TYPE_CHECKING:
    from swapbox.containers.config import PortBinding
    from swapbox.containers.records import Container
    from swapbox.engine import Engine

_TYPES: Mapping[str, int] = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}
_ANY = {False: "0.0.0.0", True: "::"}
_ATTEMPTS = 20


def choose(engine: Engine, container: Container, row: EndpointRow) -> tuple[PublishedPort, ...]:
    """Return the ports to publish for a container, inside a transaction that also writes them down.

    :param row: the place through which they are published.
    :raises Conflict: another container, or a program on the host, has one of them.
    """
    taken = [port for ports in engine.networks.records.published().values() for port in ports]
    chosen: list[PublishedPort] = []
    try:
        for binding in _bindings(container):
            chosen += _chosen(binding, row, [*taken, *chosen])
    except Conflict as error:
        message = f"driver failed programming external connectivity on endpoint {container.name} ({row.id})"
        raise Conflict(
            f"failed to set up container networking: {message}: {error.message}", hint=error.hint
        ) from None
    return tuple(chosen)


def _bindings(container: Container) -> Iterator[PortBinding]:
    """Yield what ``-p`` asks for, and with ``-P`` every exposed port that it says nothing about."""
    from swapbox.containers.config import PortBinding
    from swapbox.containers.exposed import exposed

    config = container.config
    yield from config.ports
    if config.publish_all:
        named = {(binding.protocol, binding.private) for binding in config.ports}
        for protocol, private in exposed(config.exposed_ports):
            if (protocol, private) not in named:
                yield PortBinding(private, protocol)


def _chosen(binding: PortBinding, row: EndpointRow, taken: Sequence[PublishedPort]) -> list[PublishedPort]:
    """Return the published ports of one binding: one number, on each address that it is for."""
    addresses = _addresses(binding.address, row)
    first, last = binding.public, binding.public_last or binding.public
    if not first:
        return _ephemeral(binding, addresses, taken)
    for number in range(first, last + 1):
        ports = [PublishedPort(binding.protocol, binding.private, address, number) for address in addresses]
        reason = next((why for port in ports if (why := _refused(port, taken))), "")
        if not reason:
            return ports
        if number == last:
            raise Conflict(reason if first == last else f"{reason} (of {first}-{last} none is free)")
    raise AssertionError(binding)


def _addresses(asked: str, row: EndpointRow) -> list[str]:
    """Return the addresses of the host: of every family that the container has an address of."""
    if asked:
        return [asked] if (row.ipv6 if ":" in asked else row.ipv4) else []
    default = row.network.options.get("com.docker.network.bridge.host_binding_ipv4", "")
    return [default or _ANY[False]] * bool(row.ipv4) + [_ANY[True]] * (bool(row.ipv6) and not default)


def _ephemeral(
    binding: PortBinding, addresses: Sequence[str], taken: Sequence[PublishedPort]
) -> list[PublishedPort]:
    """Return a port that the kernel chooses; the same number on each address, if that can be."""
    for _ in range(_ATTEMPTS):
        number = _free_number(binding.protocol, addresses[0]) if addresses else 0
        ports = [PublishedPort(binding.protocol, binding.private, address, number) for address in addresses]
        if not any(_refused(port, taken) for port in ports):
            return ports
    raise Conflict(f"no ephemeral port for {binding.private}/{binding.protocol} is free")


def _refused(port: PublishedPort, taken: Sequence[PublishedPort]) -> str:
    """Return why a port cannot be published, in Docker's words; empty when it can."""
    shown = f"[{port.address}]" if ":" in port.address else port.address
    for other in taken:
        if (other.protocol, other.public) == (port.protocol, port.public) and _overlap(
            other.address, port.address
        ):
            return f"Bind for {shown}:{port.public} failed: port is already allocated"
    if port.protocol not in _TYPES:
        return ""
    try:
        _bound(port.protocol, port.address, port.public).close()
    except OSError as error:
        why = "address already in use" if error.errno == errno.EADDRINUSE else (error.strerror or "").lower()
        if error.errno == errno.EADDRNOTAVAIL:
            why = "cannot assign requested address"
        return f"failed to bind host port {shown}:{port.public}/{port.protocol}: {why}"
    return ""


def _overlap(one: str, other: str) -> bool:
    return (":" in one) == (":" in other) and (one == other or one in _ANY.values() or other in _ANY.values())


def _free_number(protocol: str, address: str) -> int:
    sock = _bound(protocol if protocol in _TYPES else "tcp", address, 0)
    number: int = sock.getsockname()[1]
    sock.close()
    return number


def _bound(protocol: str, address: str, port: int) -> _socket.socket:
    """Return a socket bound where the port would be published, as a program on the host would have it."""
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    sock = _socket.socket(family, _TYPES[protocol] | _socket.SOCK_CLOEXEC)
    try:
        if family == _socket.AF_INET6:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":  # connections that have just ended do not count, listeners do
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if protocol == "tcp":
            sock.listen(1)
    except BaseException:
        sock.close()
        raise
    return sock
