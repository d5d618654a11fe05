"""Which subnet a new network gets: one of the pools that neither networks nor the host's routes use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from swapbox.errors import Unavailable
from swapbox.networks.addresses import Range


class Pool(NamedTuple):
    """Addresses to cut subnets from.

    :param base: with prefix length.
    :param size: the prefix length of each subnet.
    """

    base: str
    size: int


DEFAULT_POOLS: Sequence[Pool] = (
    *(Pool(f"172.{number}.0.0/16", 16) for number in range(17, 32)),
    Pool("192.168.0.0/16", 20),
)
"""Docker's."""


def choose(pools: Iterable[Pool], taken: Sequence[Range], *, bits: int = 32) -> Range:
    """Return the first subnet of the pools that overlaps with none of ``taken``.

    :param bits: of an address: 32 for IPv4, 128 for IPv6.
    :raises Unavailable: there is none.
    """
    for pool in pools:
        base = Range.parse(pool.base)
        if base.bits != bits:
            continue
        step, first = 1 << (bits - pool.size), base.first
        while first <= base.last:
            subnet = Range(first, pool.size, bits)
            hits = [other for other in taken if other.overlaps(subnet)]
            if not hits:
                return subnet
            # Go on behind what is in the way: a pool of IPv6 has more subnets than anybody could look at.
            behind = max(hit.last for hit in hits) + 1
            first = max(first + step, -(-behind // step) * step)
    raise Unavailable(
        "all predefined address pools have been fully subnetted",
        hint="give the network a --subnet, remove networks that are not used, or set networks.pools",
    )


def unique_local() -> Pool:
    """Return a pool of IPv6 addresses that are most likely nobody else's (RFC 4193, 3.2)."""
    head = os.urandom(5).hex()
    return Pool(f"fd{head[:2]}:{head[2:6]}:{head[6:]}::/48", 64)


def host_routes() -> list[Range]:
    """Return what the host has routes to, the default route left out; see proc_pid_net(5)."""
    return [*_routes(), *_wide_routes()]


def _routes() -> Iterator[Range]:
    for line in _lines("/proc/self/net/route"):
        fields = line.split()
        if len(fields) < 8 or not all(len(fields[number]) == 8 for number in (1, 7)):
            continue  # the title
        address, mask = (int.from_bytes(bytes.fromhex(fields[number]), "little") for number in (1, 7))
        if mask:
            yield Range(address, mask.bit_count(), 32)


def _wide_routes() -> Iterator[Range]:
    for line in _lines("/proc/self/net/ipv6_route"):
        fields = line.split()
        prefix = int(fields[1], 16)
        if prefix > 0 and fields[9] != "lo":
            yield Range(int(fields[0], 16), prefix, 128)


def _lines(path: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
        yield from file
