"""A network namespace that looks as that of a container did which is gone, for plugins that want to see it.

It is made with the ioctls of netdevice(7) and of bridges, which know all that is needed: a link with addresses.
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

_SIOCBRADDBR, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x89A0, 0x8916, 0x891C


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
    name = os.fsencode(interface)[:15]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCBRADDBR, name + b"\0")
        for text in addresses:
            address, _, prefix = text.partition("/")
            if ":" in address:
                with contextlib.suppress(OSError):  # a host without IPv6 has no rules for it
                    _add_wide(interface, address, int(prefix))
                continue
            mask = (0xFFFFFFFF << (32 - int(prefix)) & 0xFFFFFFFF).to_bytes(4, "big")
            for request, value in ((_SIOCSIFADDR, socket.inet_aton(address)), (_SIOCSIFNETMASK, mask)):
                fcntl.ioctl(sock, request, struct.pack("16sHH4s16x", name, socket.AF_INET, 0, value))


def _add_wide(interface: str, address: str, prefix: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        packed, index = socket.inet_pton(socket.AF_INET6, address), socket.if_nametoindex(interface)
        fcntl.ioctl(sock, _SIOCSIFADDR, struct.pack("16sIi", packed, prefix, index))
