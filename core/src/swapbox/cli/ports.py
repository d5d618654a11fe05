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
    ranges: dict[tuple[str, str], list[tuple[int, int]]] = {}
    alone = []
    for port in sorted(ports, key=lambda port: (port.private, port.address, port.public, port.protocol)):
        if port.public not in (0, port.private):
            alone.append(f"{_host(port.address)}:{port.public}->{port.private}/{port.protocol}")
            continue
        found = ranges.setdefault((port.address if port.public else "", port.protocol), [])
        if found and found[-1][1] in (port.private, port.private - 1):
            found[-1] = (found[-1][0], port.private)
        else:
            found.append((port.private, port.private))
    joined = (_range(*key, *numbers) for key, several in ranges.items() for numbers in several)
    return ", ".join([*joined, *alone])


def address_text(address: str, port: int) -> str:
    """Return ``address:port``, an IPv6 address in brackets."""
    return f"{_host(address)}:{port}"


def _range(address: str, protocol: str, first: int, last: int) -> str:
    numbers = str(first) if first == last else f"{first}-{last}"
    return f"{_host(address)}:{numbers}->{numbers}/{protocol}" if address else f"{numbers}/{protocol}"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
