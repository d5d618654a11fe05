"""Forking a container's monitor, and the caller's end of the talk with it.

The fork comes first, before the command has opened or even imported much: SQLite's locks do not survive a fork,
and a monitor that is there early imports what it needs on another processor while the command still reads its
options. So this module imports next to nothing.

Orders go to the monitor as marshalled tuples over a pipe, replies come back as packets (``containers.session``):

============================ =========================================================================
order                        meaning
============================ =========================================================================
``("engine", settings)``     what engine to work for; the monitor opens its drivers while it waits
``("run", details)``         create a container from command line flags, and start it
``("start", details)``       start a container that exists
``("exec", details)``        run one more command in a running container
============================ =========================================================================
"""

import _socket
import contextlib
import marshal
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.errors import SwapboxError

WAKE = signal.SIGUSR1
"""Tells a monitor that waits to restart its container to look at the record again; ignored by any other."""

_PACKET = 65536
_DEATH_SECONDS = 10.0


class Started(NamedTuple):
    """A container whose command runs.

    :param sock: the client's end of the monitor's socket (see ``containers.session``).
    :param init: pid of the container's init, or of the command.
    :param socket: where its monitor listens, in the container's run directory.
    """

    sock: _socket.socket
    container_id: str
    init: int
    socket: str = "attach.sock"


class Monitor:
    """A monitor that waits to be told what to start; made with :func:`spawn`."""

    def __init__(self, sock: _socket.socket, orders: int, child: int) -> None:
        self._sock = sock
        self._orders = orders
        self._child = child
        self._container_id = ""
        self._kind = ""
        self._settings: dict[str, Any] | None = None

    def prepare(self, engine: "Engine") -> None:
        """Tell the monitor which engine it will work for; it may be told again."""
        if engine.settings != self._settings:
            self._settings = engine.settings
            self._send(("engine", self._settings))

    def run(
        self,
        engine: "Engine",
        flags: Mapping[str, Any],
        *,
        attach: bool = False,
        console_size: tuple[int, int] | None = None,
        missing: Callable[[], None],
        created: Callable[[str], None],
    ) -> "Started":
        """Create a container from command line flags and start it.

        :param flags: see :func:`swapbox.containers.flags.asked_config`; plain values only.
        :param missing: is called when the image is not here; gets it, or raises.
        :param created: is called with the new container's id.
        :raises SwapboxError: what the monitor says went wrong.
        """
        details = {"flags": dict(flags), "attach": attach, "ends_input": attach, "console_size": console_size}
        while True:
            self._send(("run", details))
            with engine.timed("start"):
                started = self._wait(engine, created)
            if started is not None:
                return started
            missing()

    def start(
        self,
        engine: "Engine",
        container_id: str,
        *,
        attach: bool = False,
        console_size: tuple[int, int] | None = None,
    ) -> "Started":
        """Start a container that exists; raises as :meth:`run`."""
        details = {"attach": attach, "ends_input": False, "console_size": console_size}
        return self._begin(engine, "start", container_id, details)

    def execute(self, engine: "Engine", container_id: str, order: Mapping[str, Any]) -> "Started":
        """Run one more command in a container; raises as :meth:`run`.

        :param order: what :func:`swapbox.containers.execute.plan` returns; with ``attach``, output comes over the
            socket.
        """
        started = self._begin(engine, "exec", container_id, {**order, "ends_input": order["attach"]})
        return started._replace(socket=f"exec-{order['exec_id']}.sock")

    def _begin(self, engine: "Engine", kind: str, container_id: str, details: dict[str, Any]) -> "Started":
        self._container_id, self._kind = container_id, kind
        self._send((kind, {"container": container_id, **details}))
        with engine.timed("start"):
            started = self._wait(engine, lambda _id: None)
        assert started is not None
        return started

    def _wait(self, engine: "Engine", created: Callable[[str], None]) -> Started | None:
        """Take replies until the container runs; None when its image is not here."""
        for kind, data in self._replies():
            if kind == b"S":
                self._orders = self._close(self._orders)
                return Started(self._sock, self._container_id, int(data))
            if kind == b"P":
                return None
            if kind == b"C":
                self._container_id = data.decode()
                created(self._container_id)
            elif kind == b"M":
                engine.warn(data.decode())
            elif kind == b"T" and engine.timings is not None:
                engine.timings.add_monitor(marshal.loads(data))
            elif kind == b"E":
                raise remade_error(marshal.loads(data))
        raise self._died(engine)

    def _replies(self) -> Iterator[tuple[bytes, bytes]]:
        self._reap()
        try:
            while packet := self._sock.recv(_PACKET):
                yield packet[:1], packet[1:]
        except ConnectionResetError:
            return

    def _died(self, engine: "Engine") -> "SwapboxError":
        """Free what the monitor had begun, and return the error to raise."""
        from swapbox.containers.recovery import MONITOR_DIED
        from swapbox.errors import NotFound, Unavailable

        with contextlib.suppress(NotFound):
            if self._container_id:
                state = engine.records.find(self._container_id).state
                if state.monitor is not None and state.init is None:  # else it is not the one that has died
                    state.monitor.wait(_DEATH_SECONDS)  # its socket is closed a moment before it has ended
                engine.containers.find(self._container_id)
        message = MONITOR_DIED if self._kind != "exec" else "the monitor died while starting the command"
        return Unavailable(message, hint="was it killed, or is memory short? run the command again")

    def _send(self, order: tuple[str, dict[str, Any]]) -> None:
        data = marshal.dumps(order)
        try:
            while data:
                data = data[os.write(self._orders, data) :]
        except BrokenPipeError:  # it has died; the missing reply says so
            return

    def cancel(self) -> None:
        """Let a monitor go that has had no order; one that has started a container stays with it."""
        self._reap()
        self._orders = self._close(self._orders)

    @staticmethod
    def _close(fd: int) -> int:
        if fd >= 0:
            os.close(fd)
        return -1

    def _reap(self) -> None:
        """Collect the first of the two forks, which ends at once."""
        if self._child:
            with contextlib.suppress(ChildProcessError):  # our caller ignores SIGCHLD, so the kernel has done it
                os.waitpid(self._child, 0)
            self._child = 0


def spawn(verb: str = "start", *, briefly: bool = False) -> "Monitor":
    """Fork a monitor for one command.

    :param verb: what it will most likely be told to do: ``run``, ``start`` or ``exec``.
    :param briefly: the calling process ends with this command. Otherwise the monitor is not its child, which it
        would have to collect some day; that costs a second fork.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    orders = os.pipe()
    child = os.fork()
    if child == 0:
        # The child never returns into the caller's code, whatever happens.
        try:
            os.setsid()
            if briefly or os.fork() == 0:
                ours.close()
                os.close(orders[1])
                from swapbox.containers.monitor import serve

                serve(theirs, orders[0], verb)
        finally:
            os._exit(0)
    theirs.close()
    os.close(orders[0])
    return Monitor(ours, orders[1], 0 if briefly else child)


def plain_error(error: "SwapboxError") -> tuple[str, dict[str, Any]]:
    """Return an error as values that marshal knows."""
    return type(error).__name__, vars(error)


def remade_error(plain: tuple[str, dict[str, Any]]) -> "SwapboxError":
    """Make the error again that :func:`plain_error` took apart in another process."""
    from swapbox import errors

    kind, values = plain
    if not hasattr(errors, kind):
        return errors.SwapboxError(values["message"], hint=values["hint"])
    error: SwapboxError = getattr(errors, kind)(**values)
    return error
