"""Published ports: what ``-p`` and ``-P`` ask for, and the ports of the host that a container gets."""

from __future__ import annotations

import _socket
import errno
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, cast

from swapbox.drivers.network import PublishedPort
from swapbox.errors import Conflict
from swapbox.networks.records import EndpointRow

if TYPE_CHECKING:
    from swapbox.containers.config import PortBinding
    from swapbox.containers.records import Container
    from swapbox.drivers.network import PortPublisher
    from swapbox.engine import Engine

_TYPES: Mapping[str, int] = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}
_ANY = {False: "0.0.0.0", True: "::"}
_ALL = "all ports are allocated"


def choose(
    engine: Engine, container: Container, row: EndpointRow, *, held: Sequence[PublishedPort] = ()
) -> tuple[PublishedPort, ...]:
    """Return the ports to publish for a container, inside a transaction that also writes them down.

    :param row: the place through which they are published; none are, if its driver cannot.
    :param held: what it has published until now: it gets the same numbers, if they were chosen for it.
    :raises Conflict: another container, or a program on the host, has one of them.
    """
    if "ports" not in engine.selector.choose("network", made_with=row.network.driver).offer.spec.capabilities:
        return ()
    driver = cast("PortPublisher", engine.selector.open("network", made_with=row.network.driver))
    choice = _Choice(row, driver.host_address(row.network.for_driver()), held)
    for ports in engine.networks.records.published().values():
        for port in ports:
            choice.take(port)
    try:
        return choice.all(list(_bindings(container)))
    except Conflict as error:
        message = f"driver failed programming external connectivity on endpoint {container.name} ({row.id})"
        raise Conflict(
            f"failed to set up container networking: {message}: {error.message}", hint=error.hint
        ) from None


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


class _Choice:
    """The ports that are taken, and those that are chosen for a container: they may be many thousands.

    :param row: the container's place.
    :param default: the address of the host for bindings without one; empty for all.
    :param held: see :func:`choose`.
    """

    def __init__(self, row: EndpointRow, default: str, held: Sequence[PublishedPort] = ()) -> None:
        self._row = row
        self._default = default
        self._held = {(port.protocol, port.private): port.public for port in held}
        self._taken: dict[tuple[str, int], list[str]] = {}
        self._untried: dict[tuple[str, str], Iterator[int]] = {}

    def take(self, port: PublishedPort) -> None:
        """Note that a port is taken."""
        self._taken.setdefault((port.protocol, port.public), []).append(port.address)

    def all(self, bindings: Sequence[PortBinding]) -> tuple[PublishedPort, ...]:
        """Return the published ports of all bindings.

        :raises Conflict: one cannot be published.
        """
        asked = Counter((one.protocol, one.address) for one in bindings if not one.public)
        if max(asked.values(), default=0) > len(_ephemeral()):  # do not look for what cannot be
            raise Conflict(_ALL)
        found = []
        for binding in bindings:
            for port in self._chosen(binding):
                self.take(port)
                found.append(port)
        return tuple(found)

    def _chosen(self, binding: PortBinding) -> list[PublishedPort]:
        """Return the published ports of one binding: one number, on each address that it is for."""
        addresses = self._addresses(binding.address)
        first, last = binding.public, binding.public_last or binding.public
        if not addresses:
            return []
        reason = ""
        for number in range(first, last + 1) if first else self._numbers(binding, addresses[0]):
            ports = [PublishedPort(binding.protocol, binding.private, address, number) for address in addresses]
            reason = next((why for port in ports if (why := self._refused(port))), "")
            if not reason:
                return ports
        if not first:
            raise Conflict(_ALL)
        raise Conflict(reason if first == last else f"{reason} (of {first}-{last} none is free)")

    def _numbers(self, binding: PortBinding, address: str) -> Iterator[int]:
        """Return the number that it has had, then what has not been tried of those that the kernel chooses from,
        the first as it likes."""
        held = self._held.pop((binding.protocol, binding.private), 0)
        key = binding.protocol, address
        if key not in self._untried:
            self._untried[key] = _from(_free_number(binding.protocol, address))
        return chain((held,) if held else (), self._untried[key])

    def _addresses(self, asked: str) -> list[str]:
        """Return the addresses of the host: of every family that the container has, or may get, an address of."""
        given = asked or self._default
        if given:
            return [given] if self._has(wide=":" in given) else []
        return [_ANY[wide] for wide in (False, True) if self._has(wide=wide)]

    def _has(self, *, wide: bool) -> bool:
        row = self._row
        return not row.addresses or bool(row.ipv6 if wide else row.ipv4)

    def _refused(self, port: PublishedPort) -> str:
        """Return why a port cannot be published, in Docker's words; empty when it can."""
        shown = f"[{port.address}]" if ":" in port.address else port.address
        if any(_overlap(other, port.address) for other in self._taken.get((port.protocol, port.public), ())):
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


def _ephemeral() -> range:
    """Return the numbers that the kernel chooses from, see ip(7)."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first, last = map(int, file.read().split())
    return range(first, last + 1)


def _from(number: int) -> Iterator[int]:
    """Yield a number that the kernel has chosen, and then the others in their order."""
    numbers = _ephemeral()
    yield number
    yield from range(number + 1, numbers.stop)
    yield from range(numbers.start, number)


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
