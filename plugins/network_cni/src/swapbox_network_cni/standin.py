"""A network namespace that looks as that of a container did which is gone, for plugins that want to see it.

It has one link, a bridge, made with an ioctl. Its addresses are given by rtnetlink(7): the ioctls of netdevice(7)
know one IPv4 address of a link only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from swapbox.errors import from_os_error
from swapbox.linux import syscalls

_SIOCBRADDBR = 0x89A0
_RTM_NEWADDR, _IFA_ADDRESS, _IFA_LOCAL = 20, 1, 2
_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400


@contextlib.contextmanager
def standin(interface: str, addresses: Iterable[str]) -> Iterator[str]:
    """Yield the path of a namespace with a link of this name that has these addresses, with prefix length.

    :raises SwapboxError: the kernel refuses.
    """
    try:
        fd = _made(interface, addresses)
    except OSError as error:
        raise from_os_error(error, f"make a network namespace with {interface}") from error
    try:
        yield f"/proc/{os.getpid()}/fd/{fd}"
    finally:
        os.close(fd)


def _made(interface: str, addresses: Iterable[str]) -> int:
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)  # this thread only
        try:
            _add_link(interface, addresses)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            syscalls.setns(own, syscalls.CLONE_NEWNET)
    finally:
        os.close(own)


def _add_link(interface: str, addresses: Iterable[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCBRADDBR, os.fsencode(interface)[:15] + b"\0")
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        for address in addresses:
            try:
                _add_address(sock, index, address)
            except OSError:
                if ":" not in address:  # a host without IPv6 has no rules for it
                    raise


def _add_address(netlink: socket.socket, index: int, text: str) -> None:
    address, _, prefix = text.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    body = struct.pack("=BBBBI", family, int(prefix), 0, 0, index)
    for kind in (_IFA_LOCAL, _IFA_ADDRESS):
        body += struct.pack("=HH", 4 + len(packed), kind) + packed
    flags = _REQUEST | _ACK | _CREATE | _REPLACE
    netlink.send(struct.pack("=IHHII", 16 + len(body), _RTM_NEWADDR, flags, 1, 0) + body)
    (error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
    if error:
        raise OSError(-error, os.strerror(-error))
