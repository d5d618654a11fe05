"""IP addresses as numbers: what is needed to find a free one, without the 10 ms of :mod:`ipaddress`."""

import _socket
from collections.abc import Collection, Iterable
from typing import NamedTuple

from swapbox.errors import InvalidInput


class Range(NamedTuple):
    """A subnet: first address, prefix length, and bits of an address (32 or 128)."""

    first: int
    prefix: int
    bits: int

    @classmethod
    def parse(cls, text: str) -> "Range":
        """Read ``172.18.0.0/16``; the bits after the prefix are dropped.

        :raises InvalidInput: it is no such text.
        """
        address, slash, length = text.partition("/")
        value, bits = parse(address)
        prefix = int(length) if length.isascii() and length.isdigit() else -1
        if not slash or not 0 <= prefix <= bits:
            raise InvalidInput(f"invalid CIDR address: {text}")
        return cls(value >> (bits - prefix) << (bits - prefix), prefix, bits)

    @property
    def last(self) -> int:
        """Its last address."""
        return self.first + (1 << (self.bits - self.prefix)) - 1

    def __contains__(self, address: object) -> bool:
        """Say whether a number is one of its addresses."""
        return isinstance(address, int) and self.first <= address <= self.last

    def overlaps(self, other: "Range") -> bool:
        """Say whether an address is in both."""
        return self.bits == other.bits and self.first <= other.last and other.first <= self.last

    def text(self) -> str:
        """Return it as :meth:`parse` reads it."""
        return f"{text(self.first, self.bits)}/{self.prefix}"


def parse(address: str) -> tuple[int, int]:
    """Return an address as a number, and its bits.

    :raises InvalidInput: it is none.
    """
    wide = ":" in address
    try:
        packed = _socket.inet_pton(_socket.AF_INET6 if wide else _socket.AF_INET, address)
    except (OSError, ValueError):
        raise InvalidInput(f"invalid IP address: {address}") from None
    return int.from_bytes(packed, "big"), 128 if wide else 32


def text(value: int, bits: int) -> str:
    """Return an address as text."""
    return _socket.inet_ntop(_socket.AF_INET if bits == 32 else _socket.AF_INET6, value.to_bytes(bits // 8, "big"))


def bare(address: str) -> str:
    """Return an address without its prefix length."""
    return address.partition("/")[0]


def first_free(subnet: Range, pool: Range, taken: Collection[int]) -> int | None:
    """Return the lowest address of a pool in a subnet that nobody has; None when all are taken.

    A subnet's first address and, of IPv4, its last one mean no host (RFC 919, RFC 4291 2.6.1).
    """
    lowest = max(pool.first, subnet.first + 1) if subnet.prefix < subnet.bits - 1 else pool.first
    highest = min(pool.last, subnet.last - 1) if subnet.bits == 32 and subnet.prefix < 31 else pool.last
    candidate = lowest
    for address in sorted(address for address in taken if lowest <= address <= highest):
        if address != candidate:
            break
        candidate += 1
    return candidate if candidate <= highest else None


def numbers(addresses: Iterable[str | None]) -> set[int]:
    """Return addresses, perhaps with prefix length, as numbers."""
    return {parse(bare(address))[0] for address in addresses if address}
