"""The PORTS of a container as Docker shows them: ranges joined, published ones with an arrow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Port(NamedTuple):
    """One port of a container.

    :param protocol: ``tcp``, ``udp`` or ``sctp``.
    :param private: its number inside.
    :param address: of the host, where it is published; empty for all others.
    :param public: its number there; 0 when it is not published.
    """

    protocol: str
    private: int
    address: str = ""
    public: int = 0


def ports_text(ports: Iterable[Port]) -> str:
    """Return the cell: ``0.0.0.0:8000-8001->80-81/tcp, 443/tcp``.

    Consecutive ports are joined where they are not published, or published under their own numbers; others stand
    at the end, one by one.
    """
    ranges: dict[tuple[str, str], tuple[int, int]] = {}
    done, alone = list[str](), list[str]()
    for port in sorted(ports, key=lambda port: (port.private, port.address, port.public, port.protocol)):
        if port.public not in (0, port.private):
            alone.append(f"{_host(port.address)}:{port.public}->{port.private}/{port.protocol}")
            continue
        key = (port.address if port.public else "", port.protocol)
        first, last = ranges.get(key, (port.private, port.private))
        if last < port.private - 1:
            done.append(_range(*key, first, last))
            first = port.private
        ranges[key] = (first, port.private)
    return ", ".join([*done, *(_range(*key, *numbers) for key, numbers in ranges.items()), *alone])


def address_text(address: str, port: int) -> str:
    """Return ``address:port``, an IPv6 address in brackets."""
    return f"{_host(address)}:{port}"


def _range(address: str, protocol: str, first: int, last: int) -> str:
    numbers = str(first) if first == last else f"{first}-{last}"
    return f"{_host(address)}:{numbers}->{numbers}/{protocol}" if address else f"{numbers}/{protocol}"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
