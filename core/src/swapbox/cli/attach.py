"""The attached end of a container: this terminal's stdio to and from the monitor, and signals passed on."""

from __future__ import annotations

import _socket
import contextlib
import errno
import marshal
import os
import select
import signal
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Literal

from swapbox.cli.app import ClientError
from swapbox.cli.detach import DetachKeys
from swapbox.cli.signals import SignalProxy, handlers
from swapbox.cli.terminal import check_terminal, raw_terminal, terminal_size
from swapbox.containers.connect import send_packet
from swapbox.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from swapbox.containers.spawn import Started
    from swapbox.engine import Engine

__all__ = ["OUTPUTS", "Output", "SignalProxy", "Stream", "attach", "check_terminal", "resizing", "terminal_size"]

_CHUNK = 65536
Output = Literal["stdout", "stderr"]
OUTPUTS: tuple[Output, ...] = ("stdout", "stderr")


def attach(
    engine: Engine,
    started: Started,
    *,
    proxy: SignalProxy,
    terminal: bool,
    stdin: bool,
    outputs: Collection[Output] = OUTPUTS,
    detach_keys: bytes,
    detach_fails: bool = False,
    size: tuple[int, int] | None = None,
) -> int:
    """Carry this process' stdio to and from a started container; return its exit code, 0 after detaching.

    :param proxy: what it has caught is passed on from now.
    :param terminal: the container has a terminal of its own.
    :param outputs: what of the container's output is wanted; a terminal has stdout alone.
    :param detach_keys: what to type into a terminal to leave the container running.
    :param detach_fails: the keys end the command with an error, as Docker's ``attach`` and ``exec`` do.
    :param size: rows and columns that the container's terminal has already, or None.
    :raises Unavailable: its monitor has died.
    """

    def act() -> None:
        for number in proxy.take():
            if proxy.leaves:
                stream.leave()
                return
            with contextlib.suppress(NotFound):  # it has just ended, and --rm removed it
                engine.containers.signal(engine.records.find(started.container_id), number)

    with raw_terminal(wanted=terminal and stdin), resizing(engine, started, wanted=terminal, size=size):
        keys = DetachKeys(detach_keys) if terminal else None
        stream = Stream(started.sock, stdin=0 if stdin else None, outputs=outputs, keys=keys, warn=engine.warn)
        stream.also(proxy.fileno(), act)
        with engine.timed("attached"):
            code = stream.run()
        if engine.timings is not None:
            engine.timings.add_monitor(stream.timings)
    if stream.escaped and detach_fails:
        raise ClientError("read escape sequence")
    if code is None:
        raise Unavailable(
            f"the monitor of container {started.container_id} is gone",
            hint=f"see: swapbox inspect {started.container_id[:12]}",
        )
    return code


class Stream:
    """Carries bytes between a monitor's socket and this process' descriptors.

    :param stdin: descriptor to read, or None.
    :param outputs: what is written to this process' own stdout and stderr; the rest is dropped.
    :param keys: looked for in what is read.
    :param warn: is told what the monitor warns of.
    """

    def __init__(
        self,
        sock: _socket.socket,
        *,
        stdin: int | None,
        outputs: Collection[Output] = OUTPUTS,
        keys: DetachKeys | None = None,
        warn: Callable[[str], None],
    ) -> None:
        self._sock = sock
        self._warn = warn
        self._stdin = stdin
        self._keys = keys
        self._detached = False
        self.escaped = False
        """Whether the detach keys were typed."""
        self._pending: list[bytes] = []
        self.timings: dict[str, int] = {}
        """What the monitor tells of its own time, in nanoseconds."""
        self._others: dict[int, Callable[[], None]] = {}
        known: dict[bytes, tuple[Output, int]] = {b"O": ("stdout", 1), b"R": ("stderr", 2)}
        self._outputs = {letter: fd for letter, (name, fd) in known.items() if name in outputs}

    def leave(self) -> None:
        """Let :meth:`run` return 0 when what was typed is sent."""
        self._detached = True

    def also(self, fd: int, action: Callable[[], None]) -> None:
        """Do something whenever a descriptor is readable."""
        self._others[fd] = action

    def run(self) -> int | None:
        """Carry until the container has ended; return its exit code, None when the monitor died."""
        self._sock.setblocking(False)  # noqa: FBT003
        while self._pending or not self._detached:
            for fd, events in self._poll():
                if fd == self._sock.fileno():
                    if events & select.POLLOUT:
                        self._send()
                    if events & ~select.POLLOUT:
                        packet = self._receive()
                        if packet is not None and packet[:1] in (b"", b"X"):
                            return int(packet[1:]) if packet else None
                elif fd in self._others:
                    self._others[fd]()
                else:
                    self._read_stdin()
        return 0

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        # While the monitor takes no more input, none is read, but output goes on: neither side can wait for ever.
        poll.register(self._sock.fileno(), select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._stdin is not None and not self._pending:
            poll.register(self._stdin, select.POLLIN)
        for fd in self._others:
            poll.register(fd, select.POLLIN)
        return poll.poll()

    def _receive(self) -> bytes | None:
        try:
            packet = self._sock.recv(_CHUNK + 1)
        except (BlockingIOError, ConnectionResetError):
            # Reset: the monitor has closed with input of ours unread. What it sent is still to be received.
            return None
        letter = packet[:1]
        if letter in self._outputs and not _write_all(self._outputs[letter], packet[1:]):
            del self._outputs[letter]
        elif letter == b"T":
            self.timings |= marshal.loads(packet[1:])
        elif letter == b"M":
            self._warn(packet[1:].decode())
        return packet

    def _read_stdin(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: this process is in the background and its terminal hung up
            data = b""
        if not data:
            data = self._keys.rest() if self._keys else b""
            self._stdin = None
        elif self._keys:
            data, self.escaped = self._keys.feed(data)
            self._detached |= self.escaped
        if data:
            self._pending.append(b"I" + data)
        if self._stdin is None:
            self._pending.append(b"C")
        self._send()

    def _send(self) -> None:
        try:
            while self._pending:
                self._sock.send(self._pending[0], _socket.MSG_NOSIGNAL)
                del self._pending[0]
        except BlockingIOError:
            return
        except OSError:  # the container has just ended; its exit code is still to be read
            self._stdin = None
            self._pending.clear()


def _write_all(fd: int, data: bytes) -> bool:
    """Write to the end; False when ``fd`` is a terminal that hung up.

    :raises BrokenPipeError: nobody reads any more.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody made our stdout non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return False
    return True


@contextlib.contextmanager
def resizing(
    engine: Engine, started: Started, *, wanted: bool, size: tuple[int, int] | None = None
) -> Iterator[None]:
    """Give the container's terminal the size of this one on stdout, now and whenever it changes."""
    if not wanted or not os.isatty(1):
        yield
        return

    def resized(*_: object) -> None:
        nonlocal size
        if (new := terminal_size(1)) is not None and new != size:
            # A connection of its own: on the first one the new size would wait behind unread input.
            with contextlib.suppress(OSError):
                send_packet(engine, started.container_id, b"W%d %d" % new, name=started.socket)
                size = new

    with handlers({signal.SIGWINCH: resized}):
        # It may have changed since the container got its first size. What is typed comes after it.
        if (now := terminal_size(1)) is not None and now != size:
            with contextlib.suppress(OSError):
                started.sock.send(b"W%d %d" % now)
                size = now
        yield
