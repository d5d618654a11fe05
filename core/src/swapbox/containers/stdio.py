"""The pipes or the terminal between a command and its monitor, and the monitor's socket for clients."""

import _socket
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swapbox.drivers.isolation import Stdio
from swapbox.errors import Unavailable

if TYPE_CHECKING:
    from swapbox.drivers.logging import LogWriter, Stream


class Streams(NamedTuple):
    """The monitor's ends, as :class:`swapbox.containers.session.Session` takes them."""

    outputs: "dict[Stream, int]"
    stdin: int
    terminal: int


class Launch(NamedTuple):
    """A started command: what its session needs (see :class:`swapbox.containers.session.Session`)."""

    init: int
    streams: Streams
    listener: _socket.socket | None
    writer: "LogWriter | None"


class Pipes(NamedTuple):
    """The monitor's ends of a command's stdio, and the ends the command gets."""

    outputs: "dict[Stream, int]"
    stdin: int
    stdio: Stdio | None
    console: tuple[_socket.socket, _socket.socket] | None

    @classmethod
    def open(cls, *, terminal: bool, stdin: bool) -> "Pipes":
        """Make the pipes, or the socket that a terminal comes over."""
        if terminal:
            return cls({}, -1, None, _socket.socketpair())
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        if stdin:
            in_read, in_write = os.pipe()
        else:
            in_read, in_write = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), -1
        return cls({"stdout": out_read, "stderr": err_read}, in_write, Stdio(in_read, out_write, err_write), None)

    @property
    def console_fd(self) -> int | None:
        """The driver's end of the socket for the terminal."""
        return self.console[1].fileno() if self.console else None

    def kept(self) -> Streams:
        """Close the command's ends, now that it has them, and return ours."""
        for fd in self.stdio or ():
            os.close(fd)
        if self.console is None:
            return Streams(self.outputs, self.stdin, -1)
        ours, theirs = self.console
        terminal = _receive_terminal(ours)
        theirs.close()
        return Streams({"stdout": terminal}, -1, terminal)


def listen(run: Path, name: str) -> _socket.socket:
    """Listen for clients; through a directory descriptor, since a socket's path may have 107 bytes only."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)
    (run / name).unlink(missing_ok=True)
    directory = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{name}")
    finally:
        os.close(directory)
    listener.listen(16)
    return listener


def _receive_terminal(console: _socket.socket) -> int:
    """Receive the pty master the isolation driver has sent (SCM_RIGHTS, unix(7))."""
    _, ancillary, _, _ = console.recvmsg(16, _socket.CMSG_SPACE(4))
    console.close()
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            terminal = int.from_bytes(data[:4], "little")
            os.set_inheritable(terminal, False)  # noqa: FBT003
            return terminal
    raise Unavailable("the isolation driver sent no terminal")
