"""What the kernel has of nftables: a few looks that each container's start needs, and the end of a table.

``nft`` makes the rules, but takes 6 ms to run. The formats are those of ``linux/netfilter/nf_tables.h``, whose
numbers are in the network's order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from swapbox_network_bridge.netlink import ACK, ERROR, Netlink, attributes, check, text

_NETFILTER = 12
_SUBSYSTEM = 10
_GETTABLE, _DELTABLE, _GETCHAIN, _GETRULE = (_SUBSYSTEM << 8 | number for number in (1, 2, 4, 7))
_BATCH_BEGIN, _BATCH_END = 16, 17
_TABLE_NAME, _CHAIN_TABLE, _CHAIN_NAME, _CHAIN_POLICY, _RULE_TABLE, _RULE_CHAIN = 1, 1, 3, 5, 1, 2
_INET, IPV4, IPV6 = 1, 2, 10
_ENOENT = 2
_DROP = struct.pack(">I", 0)


class Netfilter(Netlink):
    """A netlink socket for nftables."""

    def __init__(self) -> None:
        super().__init__(_NETFILTER)

    # -- tables of the family inet ------------------------------------------------------------------------------

    def has_table(self, name: str) -> bool:
        """Say whether there is a table."""
        return self.ask(_GETTABLE, _head(_INET) + text(_TABLE_NAME, name)) is not None

    def tables(self) -> Iterator[str]:
        """Yield the names of the tables."""
        for data in self.dump(_GETTABLE, _head(_INET)):
            yield next(_string(value) for kind, value in attributes(data, 4) if kind == _TABLE_NAME)

    def remove_table(self, name: str) -> bool:
        """Remove a table with all its chains, atomically; False when there is none."""
        subsystem = _head(0, _SUBSYSTEM)
        begin = self.message(_BATCH_BEGIN, 0, subsystem)
        delete = self.message(_DELTABLE, ACK, _head(_INET) + text(_TABLE_NAME, name))
        wanted = self._sequence
        batch = begin + delete + self.message(_BATCH_END, 0, subsystem)
        self._sock.send(batch)
        self._sequence = wanted
        for answer, data in self.answers():
            if answer == ERROR:
                try:
                    check(data)
                except OSError as error:
                    if error.errno == _ENOENT:
                        return False
                    raise
        return True

    # -- chains as iptables makes them --------------------------------------------------------------------------

    def has_chain(self, name: str, *, family: int) -> bool:
        """Say whether there is a chain in the table ``filter``."""
        return self._chain(name, family) is not None

    def drops(self, name: str, *, family: int) -> bool:
        """Say whether a chain of the table ``filter`` is there and drops what no rule of it accepts."""
        data = self._chain(name, family)
        return data is not None and (_CHAIN_POLICY, _DROP) in attributes(data, 4)

    def jumps(self, name: str, target: str, *, family: int) -> bool:
        """Say whether a rule of a chain of the table ``filter`` jumps to another chain."""
        place = _head(family) + text(_RULE_TABLE, "filter") + text(_RULE_CHAIN, name)
        # The name with its end stands in the verdict of the rule, however deep: nothing else is of this form.
        return any(target.encode() + b"\0" in data for data in list(self.dump(_GETRULE, place)))

    def _chain(self, name: str, family: int) -> bytes | None:
        return self.ask(_GETCHAIN, _head(family) + text(_CHAIN_TABLE, "filter") + text(_CHAIN_NAME, name))


def _head(family: int, resource: int = 0) -> bytes:
    """Return a ``struct nfgenmsg``."""
    return struct.pack(">BBH", family, 0, resource)


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode()
