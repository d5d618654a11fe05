"""The attached end of a container: this terminal's stdio to and from the monitor, and signals passed on."""

from __future__ import annotations

import _socket
import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.detach import DetachKeys
from swapbox.containers.connect import send_packet
from swapbox.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from swapbox.containers.spawn import Started
    from swapbox.engine import Engine

_CHUNK = 65536
_PATIENCE = 3
# Every signal that can be caught and means something to the command, as Docker's --sig-proxy does.
PROXIED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCONT", "SIGTSTP")


def attach(
    engine: Engine,
    started: Started,
    *,
    proxy: SignalProxy,
    terminal: bool,
    stdin: bool,
    detach_keys: bytes,
) -> int:
    """Carry this process' stdio to and from a started container; return its exit code, 0 after detaching.

    :param proxy: passes this process' signals on from now.
    :param terminal: the container has a terminal of its own.
    :param detach_keys: what to type into a terminal to leave the container running.
    """

    interrupts = 0

    def pass_on(number: int) -> None:
        nonlocal interrupts
        interrupts += number in (signal.SIGINT, signal.SIGTERM)
        if interrupts == _PATIENCE:
            # A container's first process ignores what it does not handle, so a user could never get out.
            click.echo(f"\ngot {interrupts} SIGTERM/SIGINTs, forcefully exiting", err=True)
            raise click.exceptions.Exit(1)
        with contextlib.suppress(NotFound):  # it has just ended, and --rm removed it
            engine.containers.signal(engine.records.find(started.container_id), number)

    proxy.send_to(pass_on)
    with _raw_terminal(terminal and stdin), _resizing(engine, started, terminal):
        keys = DetachKeys(detach_keys) if terminal else None
        code = Stream(started.sock, stdin=0 if stdin else None, keys=keys, warn=engine.warn).run()
    if code is None:
        raise Unavailable(
            f"the monitor of container {started.container_id} is gone",
            hint=f"see: swapbox inspect {started.container_id[:12]}",
        )
    return code


class Stream:
    """Carries bytes between a monitor's socket and this process' descriptors.

    :param stdin: descriptor to read, or None.
    :param keys: looked for in what is read.
    :param warn: is told what the monitor warns of.
    """

    def __init__(
        self,
        sock: _socket.socket,
        *,
        stdin: int | None,
        keys: DetachKeys | None = None,
        warn: Callable[[str], None],
    ) -> None:
        self._sock = sock
        self._warn = warn
        self._stdin = stdin
        self._keys = keys
        self._detached = False
        self._pending = b""
        self._outputs = {b"O": 1, b"R": 2}

    def run(self) -> int | None:
        """Carry until the container has ended; return its exit code, None when the monitor died."""
        self._sock.setblocking(False)  # noqa: FBT003
        while not self._detached:
            for fd, events in self._poll():
                if fd == self._sock.fileno():
                    if events & select.POLLOUT:
                        self._send()
                    if events & ~select.POLLOUT:
                        packet = self._receive()
                        if packet is not None and packet[:1] in (b"", b"X"):
                            return int(packet[1:]) if packet else None
                else:
                    self._read_stdin()
        return 0

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        # While the monitor takes no more input, none is read, but output goes on: neither side can wait for ever.
        poll.register(self._sock.fileno(), select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._stdin is not None and not self._pending:
            poll.register(self._stdin, select.POLLIN)
        return poll.poll()

    def _receive(self) -> bytes | None:
        try:
            packet = self._sock.recv(_CHUNK + 1)
        except (BlockingIOError, ConnectionResetError):
            # Reset: the monitor has closed with input of ours unread. What it sent is still to be received.
            return None
        if packet[:1] in self._outputs:
            _write_all(self._outputs[packet[:1]], packet[1:])
        elif packet[:1] == b"M":
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
        if data and self._keys:
            data, self._detached = self._keys.feed(data)
            self._pending = b"I" + data if data else b""
        elif data:
            self._pending = b"I" + data
        else:
            self._pending, self._stdin = b"C", None
        self._send()

    def _send(self) -> None:
        if not self._pending:
            return
        try:
            self._sock.send(self._pending, _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:  # the container has just ended; its exit code is still to be read
            self._stdin = None
        self._pending = b""


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody made our stdout non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


class SignalProxy:
    """Passes signals on to the container; those that come before it runs wait until it does."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._send: Any = self._waiting.append
        self._before: dict[int, Any] = {}

    @contextlib.contextmanager
    def installed(self) -> Iterator[SignalProxy]:
        """Catch signals inside the block."""
        numbers = [getattr(signal, name) for name in PROXIED]
        with _handlers(dict.fromkeys(numbers, lambda number, _frame: self._send(number))) as self._before:
            yield self

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Let signals end this process inside the block: there is no container yet."""
        with _handlers(self._before):
            yield

    def send_to(self, target: Any) -> None:
        """Pass on to ``target``, what has waited first."""
        self._send = target
        while self._waiting:
            target(self._waiting.pop(0))


@contextlib.contextmanager
def _handlers(wanted: dict[int, Any]) -> Iterator[dict[int, Any]]:
    """Handle signals so inside the block; gives the handlers there were."""
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _raw_terminal(wanted: bool) -> Iterator[None]:
    """Put the terminal on stdin into raw mode inside the block, and back whatever happens."""
    if not wanted or not os.isatty(0):
        yield
        return
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizing(engine: Engine, started: Started, terminal: bool) -> Iterator[None]:
    """Tell the monitor when this terminal changes its size."""
    if not terminal or not os.isatty(1):
        yield
        return

    def resized(*_: object) -> None:
        size = terminal_size(1)
        if size is not None:
            # A connection of its own: on the first one the new size would wait behind unread input.
            with contextlib.suppress(OSError):
                send_packet(engine, started.container_id, b"W%d %d" % size, name=started.socket)

    with _handlers({signal.SIGWINCH: resized}):
        yield


def terminal_size(fd: int) -> tuple[int, int] | None:
    """Return (rows, columns) of a terminal; None when it is none or does not say."""
    try:
        rows, columns, *_ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (rows, columns) if rows and columns else None
