"""The monitor's loop: a container's stdio between its pipes, its log and attached clients, until it has ended.

It and its helpers import nothing but built-in modules, so that it also runs in the bare interpreter the
monitor turns into (``lean.py``): that interpreter's memory is paid once per running container.

Clients talk over a ``SOCK_SEQPACKET`` unix socket; a packet is one letter and its payload:

====== ========= ===============================================================
letter direction payload
====== ========= ===============================================================
``S``  to client started; the init's pid
``P``  to client not started: the image is not here
``C``  to client the container's id, before it is started
``E``  to client not started; a marshalled (class name, message, hint, exit code)
``O``  to client bytes of stdout (of the terminal, when there is one)
``R``  to client bytes of stderr
``M``  to client a warning for the user
``T``  to client a marshalled mapping of names of work to nanoseconds (``--timings``)
``X``  to client the container has ended and is torn down; its exit code
``I``  to monitor bytes for stdin
``C``  to monitor end of stdin
``W``  to monitor new terminal size: ``rows columns``
``N``  to monitor send me no output (a waiting client, or a resize)
``D``  to monitor whoever kills the container tears it down, too: just tell the clients
====== ========= ===============================================================

A client that reads slowly holds the container back, as a pipe would; one that is gone holds nothing.
"""

from __future__ import annotations

import _socket
import os
import select
import time
from fcntl import ioctl

from swapbox.containers.checker import Checker
from swapbox.containers.client import Client

TYPE_CHECKING = False  # the real one costs the import of ``typing``
if TYPE_CHECKING:
    from typing import Any

    from swapbox.containers.lines import LineSplitter
    from swapbox.drivers.logging import LogWriter, Stream

ATTACH_SOCKET = "attach.sock"
"""Where a monitor listens for clients, in the container's run directory."""

_CHUNK = 65536
RELIEVED_PATIENCE = 1.0
"""Seconds that a client which does not read can put off a removal by force."""

_ORPHANS = 1000.0
"""Milliseconds between two looks at what a killed check has left."""

_TIOCSWINSZ = 0x5414
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Session:
    """One run of a container, from the start of its command to its end.

    :param init: pid of the container's init, a child of this process.
    :param outputs: read ends by stream name; a terminal's master under ``stdout``. Closed here.
    :param stdin: write end of stdin, or -1; a terminal's master is not named again here.
    :param terminal: the master of the container's terminal, or -1.
    :param listener: listening socket for clients, or None.
    :param writer: where output is logged, or None.
    :param splitters: by stream name; they hold back an unfinished line.
    :ivar relieved: somebody else tears down.
    :param checker: what checks the container's health, or None.
    """

    def __init__(
        self,
        *,
        init: int,
        outputs: dict[Stream, int],
        stdin: int,
        terminal: int,
        listener: _socket.socket | None,
        clients: list[Client],
        writer: LogWriter | None,
        splitters: dict[Stream, LineSplitter],
        checker: Checker | None = None,
    ) -> None:
        self.init = init
        self.outputs = outputs
        self.stdin = stdin
        self.terminal = terminal
        self.listener = listener
        self.clients = clients
        self.writer = writer
        self.splitters = splitters
        self.checker = checker
        self.input: list[bytes] = []
        self.input_ends = False
        self.relieved = False
        self.pidfd = os.pidfd_open(init)
        for fd in (*outputs.values(), stdin):
            if fd >= 0:
                os.set_blocking(fd, False)

    # -- the loop ---------------------------------------------------------------------------------------------

    def run(self, seconds: float | None = None) -> int | None:
        """Serve until the init has ended and its output is read: return its wait status.

        With ``seconds``, return None when it still runs after that time.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = dict(self._poll(self._until_check(left)))
            self._serve(ready)
            if self.pidfd in ready:
                if self.checker is not None:
                    self.checker.stop()
                self._hear_last()
                self._drain()
                return os.waitpid(self.init, 0)[1]
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def _until_check(self, milliseconds: float | None) -> float | None:
        """Return how long to wait at most; run the check if it is time."""
        if self.checker is None:
            return milliseconds
        self.checker.start()
        if self.checker.orphans:
            self.checker.collect_orphans(self.init)
            milliseconds = _ORPHANS if milliseconds is None else min(_ORPHANS, milliseconds)
        if self.checker.pid:
            return milliseconds
        left = max(0.0, self.checker.due - time.monotonic()) * 1000
        return left if milliseconds is None else min(left, milliseconds)

    def _poll(self, milliseconds: float | None) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if self.checker is not None and self.checker.pid:
            poll.register(self.checker.pidfd, select.POLLIN)
        if self.listener is not None:
            poll.register(self.listener.fileno(), select.POLLIN)
        held_back = False
        for client in self.clients:
            events = 0 if self.input else select.POLLIN
            if client.queue:
                held_back = True
                events |= select.POLLOUT
            poll.register(client.sock.fileno(), events)
        if not held_back:
            for fd in self.outputs.values():
                poll.register(fd, select.POLLIN)
        if self.input:
            fd = self._input_fd()
            both = fd in self.outputs.values() and not held_back
            poll.register(fd, select.POLLOUT | (select.POLLIN if both else 0))
        return poll.poll(milliseconds)

    def _serve(self, ready: dict[int, int]) -> None:
        for stream, fd in list(self.outputs.items()):
            if ready.get(fd, 0) & _READABLE:
                self._read_output(stream, fd)
        if self.input and self._input_fd() in ready:
            self._write_input()
        for client in list(self.clients):
            events = ready.get(client.sock.fileno(), 0)
            if (events & select.POLLOUT and not client.flush()) or (
                events & _READABLE and not self._read_client(client)
            ):
                self._drop(client)
        if self.listener is not None and self.listener.fileno() in ready:
            self._accept()
        if self.checker is not None and self.checker.pidfd in ready:
            self.checker.ended()

    def _accept(self) -> None:
        """Take in everybody who waits at the door."""
        while self.listener is not None:
            try:
                fd, _ = self.listener._accept()  # type: ignore[attr-defined]  # what socket.accept calls
            except OSError:
                return
            self.clients.append(Client(_socket.socket(fileno=fd)))

    def _hear_last(self) -> None:
        """Take what was sent before the command ended."""
        self._accept()
        for client in list(self.clients):
            if not self._read_client(client):
                self._drop(client)

    def _drop(self, client: Client) -> None:
        self.clients.remove(client)
        client.sock.close()
        if client.ends_input:
            self.input_ends = True
            self._write_input()

    # -- output -----------------------------------------------------------------------------------------------

    def _read_output(self, stream: Stream, fd: int) -> bool:
        """Read once; False when there is nothing (now, or ever again)."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last process has closed the terminal
            data = b""
        if not data:
            del self.outputs[stream]
            if fd != self.terminal:
                os.close(fd)
            return False
        self._log(stream, self.splitters[stream].feed(data))
        packet = (b"O" if stream == "stdout" else b"R") + data
        for client in [client for client in self.clients if client.output]:
            if not client.send(packet):
                self._drop(client)
        return True

    def _log(self, stream: Stream, chunks: list[bytes]) -> None:
        if self.writer is None:
            return
        for chunk in chunks:
            try:
                self.writer.write(stream, chunk, time.time_ns())
            except Exception:  # neither a full disk nor a faulty driver may stop the container
                continue

    def _drain(self) -> None:
        """Read what the ended container left in its pipes, and close its log."""
        for stream, fd in list(self.outputs.items()):
            while self._read_output(stream, fd):
                pass
        for stream, splitter in self.splitters.items():
            self._log(stream, splitter.flush())
        self.close_log()

    def close_log(self) -> None:
        """Close the log; what goes wrong there is not the container's business."""
        writer, self.writer = self.writer, None
        if writer is not None:
            try:
                writer.close()
            except Exception:
                return

    # -- input ------------------------------------------------------------------------------------------------

    def _input_fd(self) -> int:
        return self.terminal if self.terminal >= 0 else self.stdin

    def _read_client(self, client: Client) -> bool:
        """Take one packet; False when the client is gone."""
        try:
            packet = client.sock.recv(_CHUNK + 1, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        kind, data = packet[:1], packet[1:]
        if kind == b"I":
            self.input.append(data)
            self._write_input()
        elif kind == b"C":
            self.input_ends = True
            self._write_input()
        elif kind == b"W":
            self._resize(data)
        elif kind == b"N":
            client.output = False
        elif kind == b"D":
            self.relieved = True
        return bool(packet)

    def _write_input(self) -> None:
        fd = self._input_fd()
        try:
            while self.input and fd >= 0:
                written = os.write(fd, self.input[0])
                self.input[0] = self.input[0][written:]
                if not self.input[0]:
                    del self.input[0]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self.input_ends = True
        self.input.clear()
        if self.input_ends and self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def _resize(self, data: bytes) -> None:
        """Set the size of the container's terminal (ioctl_tty(2)) to ``rows columns``."""
        try:
            rows, columns = map(int, data.split())
        except ValueError:  # a client's mistake, which must not end the container's monitor
            return
        if self.terminal >= 0:
            size = b"".join(n.to_bytes(2, "little") for n in (rows & 0xFFFF, columns & 0xFFFF, 0, 0))
            ioctl(self.terminal, _TIOCSWINSZ, size)

    # -- the end, and the hand-over -----------------------------------------------------------------------------

    def end(self, status: int, *, patience: float | None = None) -> None:
        """Tell every client how the command has ended, given its wait status.

        :param patience: seconds to wait for slow ones; None for as long as they are there.
        """
        self.notify(b"X%d" % exit_code(status), patience=patience)

    def notify(self, packet: bytes, *, patience: float | None = None) -> None:
        """Send a last packet to every client, waiting for slow ones, and let them go."""
        self._accept()
        if self.listener is not None:
            self.listener.close()
        deadline = None if patience is None else time.monotonic() + patience
        for client in self.clients:
            for waiting in (*client.queue, packet):
                # Not 0, which would be a socket that does not wait at all.
                client.sock.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
                try:
                    client.sock.send(waiting, _socket.MSG_NOSIGNAL)
                except OSError:
                    break
            client.sock.close()
        self.clients.clear()

    def export(self) -> dict[str, Any]:
        """Close the log, and return the rest as plain values; every descriptor named becomes inheritable."""
        self.close_log()
        state = {
            "init": self.init,
            "outputs": self.outputs,
            "stdin": self.stdin,
            "terminal": self.terminal,
            "listener": -1 if self.listener is None else self.listener.detach(),
            "clients": [
                (client.sock.detach(), client.queue, client.output, client.ends_input) for client in self.clients
            ],
            "pending": {stream: splitter.pending for stream, splitter in self.splitters.items()},
            "input": self.input,
            "input_ends": self.input_ends,
            "relieved": self.relieved,
            "checker": None if self.checker is None else self.checker.export(),
        }
        _set_inheritable(state, inheritable=True)
        return state


def exit_code(status: int) -> int:
    """Return the exit code for a wait status, 128 and more for a signal."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _set_inheritable(state: dict[str, Any], *, inheritable: bool) -> None:
    clients = (fd for fd, *_ in state["clients"])
    checker = state["checker"][1] if state["checker"] else -1
    single = (state["stdin"], state["terminal"], state["listener"], checker)
    for fd in (*state["outputs"].values(), *single, *clients):
        if fd >= 0:
            os.set_inheritable(fd, inheritable)


def restore(state: dict[str, Any], *, writer: LogWriter | None) -> Session:
    """Make the session again from what :meth:`Session.export` returned."""
    from swapbox.containers.lines import LineSplitter

    _set_inheritable(state, inheritable=False)  # a log driver may start programs
    session = Session(
        init=state["init"],
        outputs=state["outputs"],
        stdin=state["stdin"],
        terminal=state["terminal"],
        listener=_socket.socket(fileno=state["listener"]) if state["listener"] >= 0 else None,
        clients=[
            Client(_socket.socket(fileno=fd), queue, output=output, ends_input=ends)
            for fd, queue, output, ends in state["clients"]
        ],
        writer=writer,
        splitters={stream: LineSplitter(pending) for stream, pending in state["pending"].items()},
        checker=Checker(*state["checker"]) if state["checker"] else None,
    )
    session.input, session.input_ends = state["input"], state["input_ends"]
    session.relieved = state["relieved"]
    return session
