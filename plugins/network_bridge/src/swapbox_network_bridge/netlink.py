"""A small netlink client: the few messages that each container's start and end need.

Everything else goes through pyroute2, whose import takes longer than the whole start of a container. The formats
are those of rtnetlink(7) and ``linux/if_link.h``; numbers are in the machine's order.
"""

from __future__ import annotations

import _socket
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from swapbox.linux import syscalls

_ROUTE = 0
ERROR, _DONE = 2, 3
_REQUEST, ACK, _REPLACE, _EXCL, _CREATE, _DUMP = 1, 4, 0x100, 0x200, 0x400, 0x300

NEWLINK, DELLINK, GETLINK, SETLINK, NEWADDR, NEWROUTE, DELROUTE = 16, 17, 18, 19, 20, 24, 25
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_IFALIAS, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 20, 26, 28
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_BRPORT_MODE, _BRPORT_ISOLATED = 4, 33
_INET6_ADDR_GEN_MODE = 8
_NESTED = 0x8000
_IFF_UP = 1
_IFA_F_NODAD = 2
_RTPROT_BOOT, _RT_TABLE_MAIN, _RTN_UNICAST = 3, 254, 1


def attribute(kind: int, data: bytes) -> bytes:
    """Return one attribute, padded."""
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + b"\0" * (-length % 4)


def attributes(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes of a message that begin at an offset."""
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & ~_NESTED, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def text(kind: int, value: str) -> bytes:
    """Return an attribute that is a text."""
    return attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _link(index: int = 0, *, up: bool | None = None) -> bytes:
    """Return a ``struct ifinfomsg``; ``up`` None leaves the flag as it is."""
    return struct.pack("=BxHiII", 0, 0, index, _IFF_UP if up else 0, 0 if up is None else _IFF_UP)


class Link(NamedTuple):
    """A link: its number, its alias, and whether it is up."""

    number: int
    alias: str
    up: bool


class Netlink:
    """A netlink socket: it stays in the network namespace in which it was opened."""

    def __init__(self, protocol: int = _ROUTE) -> None:
        self._sock = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol)
        self._sequence = 0

    @classmethod
    def inside(cls, netns: int) -> Netlink:
        """Open a socket in another network namespace, named by a descriptor."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(netns, syscalls.CLONE_NEWNET)
            try:
                return cls()
            finally:
                syscalls.setns(own, syscalls.CLONE_NEWNET)
        finally:
            os.close(own)

    def close(self) -> None:
        """Close it; calling it twice is fine."""
        self._sock.close()

    # -- messages -----------------------------------------------------------------------------------------------

    def message(self, kind: int, flags: int, body: bytes) -> bytes:
        """Return a request, with the next number."""
        self._sequence += 1
        return struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST, self._sequence, 0) + body

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send a request and wait for the kernel's word.

        :raises OSError: it was refused.
        """
        self._sock.send(self.message(kind, flags | ACK, body))
        for answer, data in self.answers():
            if answer == ERROR:
                check(data)
                return

    def ask(self, kind: int, body: bytes) -> bytes | None:
        """Send a request for one thing and return it; None when it is not there."""
        self._sock.send(self.message(kind, 0, body))
        for answer, data in self.answers():
            if answer != ERROR:
                return data
            try:
                check(data)
            except OSError as error:
                if error.errno in (2, 19):  # ENOENT, ENODEV
                    return None
                raise
        return None

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Send a request for everything of a sort, and yield it."""
        self._sock.send(self.message(kind, _DUMP, body))
        while True:
            for answer, data in self.answers():
                if answer == _DONE:
                    return
                if answer == ERROR:
                    check(data)
                yield data

    def answers(self) -> Iterator[tuple[int, bytes]]:
        """Receive once, and yield kinds and bodies of what answers the last request."""
        data = self._sock.recv(65536)
        while len(data) >= 16:
            length, kind, _flags, sequence, _ = struct.unpack_from("=IHHII", data)
            if sequence == self._sequence:
                yield kind, data[16:length]
            data = data[(length + 3) & ~3 :]

    # -- links --------------------------------------------------------------------------------------------------

    def link(self, name: str) -> Link | None:
        """Return a link; None when there is none of this name."""
        data = self.ask(GETLINK, _link() + text(_IFLA_IFNAME, name))
        if data is None:
            return None
        index, flags = struct.unpack_from("=iI", data, 4)
        alias = next((value for kind, value in attributes(data, 16) if kind == _IFLA_IFALIAS), b"")
        return Link(index, alias.rstrip(b"\0").decode(errors="replace"), bool(flags & _IFF_UP))

    def index(self, name: str) -> int:
        """Return the number of a link; 0 when there is none of this name."""
        found = self.link(name)
        return found.number if found else 0

    def make_pair(self, name: str, *, bridge: int, peer: str, netns: int, mac: str, mtu: int) -> None:
        """Make a veth pair: one end at a bridge and up, the other in another network namespace."""
        inner = (
            _link()
            + text(_IFLA_IFNAME, peer)
            + _number(_IFLA_NET_NS_FD, netns)
            + attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
            + _number(_IFLA_MTU, mtu)
        )
        info = text(_INFO_KIND, "veth") + attribute(_INFO_DATA | _NESTED, attribute(_VETH_PEER | _NESTED, inner))
        body = _link(up=True) + text(_IFLA_IFNAME, name) + _number(_IFLA_MASTER, bridge) + _number(_IFLA_MTU, mtu)
        self.change(NEWLINK, body + attribute(_IFLA_LINKINFO | _NESTED, info), _CREATE | _EXCL)

    def set_port(self, name: str, *, hairpin: bool, isolated: bool) -> None:
        """Say what a bridge does with one of its ports.

        :param hairpin: it sends frames back through the port they came from.
        :param isolated: it lets no frame through to another isolated port.
        """
        flags = attribute(_BRPORT_MODE, bytes([hairpin])) + attribute(_BRPORT_ISOLATED, bytes([isolated]))
        data = attribute(_INFO_SLAVE_DATA | _NESTED, flags)
        info = attribute(_IFLA_LINKINFO | _NESTED, text(_INFO_SLAVE_KIND, "bridge") + data)
        self.change(NEWLINK, _link() + text(_IFLA_IFNAME, name) + info)

    def set_up(self, index: int, *, ipv6: bool) -> None:
        """Bring a link up; without IPv6 it gets no address of that family by itself."""
        if not ipv6:
            family = attribute(_socket.AF_INET6 | _NESTED, attribute(_INET6_ADDR_GEN_MODE, b"\1"))
            self.change(SETLINK, _link(index) + attribute(_IFLA_AF_SPEC | _NESTED, family))
        self.change(SETLINK, _link(index, up=True))

    def cut(self, name: str) -> bool:
        """Take a link down, so that nothing passes it any more; False when there is none."""
        return self._unless_gone(SETLINK, _link(up=False) + text(_IFLA_IFNAME, name))

    def remove(self, name: str) -> bool:
        """Remove a link; False when there is none. The kernel takes up to 30 ms for it."""
        return self._unless_gone(DELLINK, _link() + text(_IFLA_IFNAME, name))

    def _unless_gone(self, kind: int, body: bytes) -> bool:
        try:
            self.change(kind, body)
        except OSError as error:
            if error.errno == 19:  # ENODEV
                return False
            raise
        return True

    # -- addresses and routes -----------------------------------------------------------------------------------

    def add_address(self, index: int, address: str) -> None:
        """Give a link an address with prefix length."""
        packed, family, prefix = _packed(address)
        flags = _IFA_F_NODAD if family == _socket.AF_INET6 else 0
        body = struct.pack("=BBBBi", family, prefix, flags, 0, index) + attribute(2, packed) + attribute(1, packed)
        if family == _socket.AF_INET and prefix < 31:
            mask = (1 << (32 - prefix)) - 1
            body += attribute(4, (int.from_bytes(packed, "big") | mask).to_bytes(4, "big"))
        self.change(NEWADDR, body, _CREATE | _EXCL)

    def set_default_route(self, index: int, gateway: str) -> None:
        """Send what goes nowhere else through a gateway, whatever it went through before."""
        self.change(NEWROUTE, _default_route(index, gateway), _CREATE | _REPLACE)

    def drop_default_route(self, index: int, gateway: str) -> None:
        """Undo :meth:`set_default_route`; that there is none such is fine."""
        try:
            self.change(DELROUTE, _default_route(index, gateway))
        except OSError as error:
            if error.errno != 3:  # ESRCH
                raise


def _default_route(index: int, gateway: str) -> bytes:
    packed, family, _ = _packed(f"{gateway}/0")
    head = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0)
    return head + attribute(5, packed) + _number(4, index)


def _packed(address: str) -> tuple[bytes, int, int]:
    bare, _, prefix = address.partition("/")
    family = _socket.AF_INET6 if ":" in bare else _socket.AF_INET
    return _socket.inet_pton(family, bare), family, int(prefix)


def check(data: bytes) -> None:
    """Raise what the kernel says in an ``NLMSG_ERROR``; 0 is a mere acknowledgement."""
    number = -struct.unpack_from("=i", data)[0]
    if number:
        raise OSError(number, os.strerror(number))


def open_namespace(path: Path) -> int:
    """Return a descriptor of a network namespace."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
