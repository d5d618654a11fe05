"""The container's terminal: a pty of the container's own devpts instance."""

import _socket  # socket itself costs 3 ms to import
import fcntl
import os
import struct
import termios
from typing import NamedTuple

from swapbox.errors import InvalidInput
from swapbox.linux import syscalls
from swapbox_isolation_ns.failures import doing

# asm-generic/ioctls.h: unlock a pty, open its other end without a path.
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_PTMX = os.makedev(5, 2)


class Terminal(NamedTuple):
    """Both ends of the container's pty."""

    master: int
    slave: int


def open_pty(root: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return master and slave of a new pty of the devpts mounted below the directory ``root``.

    :raises InvalidInput: the container has no devpts.
    """
    with doing("open /dev/pts/ptmx in the container", hint="a terminal needs a devpts mount on /dev/pts"):
        master = syscalls.openat2(root, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY)
        if os.fstat(master).st_rdev != _PTMX:
            raise InvalidInput("/dev/pts/ptmx in the container is not a pty multiplexer")
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if size is not None:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    return master, slave


def send_master(connection: int, master: int) -> None:
    """Send the master over a connected unix socket, with the message that runc sends too."""
    with doing("send the terminal over the console socket"):
        peer = _socket.socket(fileno=os.dup(connection))
        try:
            rights = struct.pack("i", master)
            peer.sendmsg([b"/dev/ptmx"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        finally:
            peer.close()
