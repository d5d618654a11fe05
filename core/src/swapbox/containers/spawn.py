"""Forking a container's monitor, and telling it what to start.

The fork comes first, before the command has opened anything: SQLite's locks do not survive a fork, and a monitor
that is there early imports what it needs on another processor while the command still prepares the container.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import marshal
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from swapbox import errors
from swapbox.containers.config import ContainerConfig
from swapbox.containers.records import Container, RunState
from swapbox.drivers.common import Kind
from swapbox.drivers.storage import Mount
from swapbox.errors import CommandNotExecutable, SwapboxError, Unavailable

if TYPE_CHECKING:
    from swapbox.engine import Engine


_NONE: Mapping[Kind, str] = {}


class StartRequest(NamedTuple):
    """What a monitor is told.

    :param mounts: the container's root file system.
    :param attach: the caller wants the output.
    :param console_size: rows and columns of the caller's terminal.
    """

    container: Container
    mounts: Sequence[Mount]
    attach: bool = False
    console_size: tuple[int, int] | None = None

    def to_bytes(self) -> bytes:
        """Return the request as bytes for another process of the same interpreter."""
        container = self.container
        return marshal.dumps(
            (
                (container.id, container.name, container.created),
                json.dumps(container.config.to_json()),
                container.state.to_json(),
                [(mount.type, mount.source, tuple(mount.options)) for mount in self.mounts],
                self.attach,
                self.console_size,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> StartRequest:
        """Read what :meth:`to_bytes` returned."""
        (id, name, created), config, state, mounts, attach, console_size = marshal.loads(data)
        container = Container(
            id, name, created, ContainerConfig.from_json(json.loads(config)), RunState.from_json(state)
        )
        return cls(container, [Mount(*mount) for mount in mounts], attach, console_size)


class MonitorDied(Unavailable):
    """The monitor ended without saying how the start went: killed, or a bug."""


class Monitor:
    """A monitor that waits to be told what to start; made with :func:`spawn`."""

    def __init__(self, sock: _socket.socket, orders: int, child: int) -> None:
        self._sock = sock
        self._orders = orders
        self._child = child

    def start(self, request: StartRequest) -> _socket.socket:
        """Start a container; return the client's end of the monitor's socket (see ``containers.session``).

        :raises SwapboxError: what the monitor says went wrong.
        """
        self._reap()
        try:
            with open(self._take_orders(), "wb") as file:
                file.write(request.to_bytes())
            packet = self._sock.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            packet = b""
        if packet[:1] == b"S":
            return self._sock
        self._sock.close()
        if packet[:1] == b"E":
            raise remade_error(marshal.loads(packet[1:]))
        raise MonitorDied(
            f"the monitor of container {request.container.name} died while starting it",
            hint="a bug in swapbox or a plugin; monitor.log in the container's directory says more",
        )

    def cancel(self) -> None:
        """Let the monitor go without an order; one that has had its order goes on."""
        self._reap()
        if self._orders >= 0:
            os.close(self._take_orders())
            self._sock.close()

    def _take_orders(self) -> int:
        fd, self._orders = self._orders, -1
        return fd

    def _reap(self) -> None:
        """Collect the first of the two forks, which ends at once."""
        if self._child:
            os.waitpid(self._child, 0)
            self._child = 0


def spawn(engine: Engine, *, drivers: Mapping[Kind, str] = _NONE) -> Monitor:
    """Fork a monitor for one container of this engine.

    :param drivers: those that the container will use, as far as they are known: the monitor opens them while it
        waits.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    orders = os.pipe()
    child = os.fork()
    if child == 0:
        # The child never returns into the caller's code, whatever happens.
        try:
            os.setsid()
            if os.fork() == 0:
                ours.close()
                os.close(orders[1])
                _run(engine, drivers, theirs, orders[0])
        finally:
            os._exit(0)
    theirs.close()
    os.close(orders[0])
    return Monitor(ours, orders[1], child)


def _run(engine: Engine, drivers: Mapping[Kind, str], sock: _socket.socket, orders: int) -> None:
    """Be the monitor; leave a trace of a bug in the container's directory."""
    data = b""
    try:
        from swapbox.containers import monitor

        monitor.daemonize(keep=(sock.fileno(), orders))
        engine = engine.reopened()
        monitor.warm_up(engine, drivers)
        with open(orders, "rb") as file:
            data = file.read()
        if data:
            monitor.main(engine, sock, StartRequest.from_bytes(data))
    except BaseException:
        if data:
            _record_crash(engine, StartRequest.from_bytes(data).container)


def _record_crash(engine: Engine, container: Container) -> None:
    import traceback

    with (
        contextlib.suppress(OSError),
        (engine.paths.container(container.id) / "monitor.log").open("a") as file,
    ):
        traceback.print_exception(*sys.exc_info(), file=file)


def plain_error(error: SwapboxError) -> tuple[str, str, str | None, int]:
    """Return an error as values that marshal knows."""
    code = error.exit_code if isinstance(error, CommandNotExecutable) else 0
    return (type(error).__name__, error.message, error.hint, code)


def remade_error(plain: tuple[str, str, str | None, int]) -> SwapboxError:
    """Make the error again that :func:`plain_error` took apart in another process."""
    kind, message, hint, code = plain
    if kind == "CommandNotExecutable":
        return CommandNotExecutable(message, exit_code=code, hint=hint)
    error: SwapboxError = getattr(errors, kind, SwapboxError)(message, hint=hint)
    return error
