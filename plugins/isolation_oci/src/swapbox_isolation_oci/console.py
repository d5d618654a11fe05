"""The container's terminal: the runtime wants a socket's path, swapbox has a connected socket's descriptor."""

from __future__ import annotations

import _socket  # socket itself costs 3 ms to import
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swapbox.errors import Unavailable

NAME = "console.sock"
_DESCRIPTOR = 4  # bytes


@contextmanager
def listening(directory: Path) -> Iterator[_socket.socket]:
    """Listen at :data:`NAME` in a directory.

    By way of the directory's descriptor, since the path of a socket may have 107 bytes only (unix(7)).
    """
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{NAME}")
        listener.listen(1)
        yield listener
    finally:
        os.close(fd)
        listener.close()


def pass_on(listener: _socket.socket, console: int) -> None:
    """Send the pty master that the runtime has sent on to the caller (SCM_RIGHTS).

    The runtime has ended, so what it sent is there.

    :raises Unavailable: it sent nothing.
    """
    try:
        accepted, _ = listener._accept()  # type: ignore[attr-defined]  # all that the C class has
    except BlockingIOError:
        raise Unavailable("the runtime sent no terminal") from None
    with_runtime = _socket.socket(fileno=accepted)
    caller = _socket.socket(fileno=os.dup(console))
    try:
        data, ancillary, _, _ = with_runtime.recvmsg(4096, _socket.CMSG_SPACE(_DESCRIPTOR))
        for level, kind, rights in ancillary:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                caller.sendmsg([data or b"/dev/ptmx"], [(level, kind, rights[:_DESCRIPTOR])])
                os.close(int.from_bytes(rights[:_DESCRIPTOR], "little"))
                return
    finally:
        with_runtime.close()
        caller.close()
    raise Unavailable("the runtime sent no terminal")
