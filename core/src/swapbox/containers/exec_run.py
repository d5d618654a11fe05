"""One more command in a running container, and its monitor (``exec``).

The command line looks the container up and says what is to run (``containers.execute``) while its monitor still
imports what runs it: so this module wants neither records nor database.
"""

import _socket
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swapbox.containers.client import Client
from swapbox.containers.exec_order import Place, socket_name
from swapbox.containers.runs import make_session, tell_timings
from swapbox.containers.session import Session, exit_code
from swapbox.containers.stdio import Launch, Pipes, listen
from swapbox.drivers.isolation import ExecRequest, Stdio
from swapbox.errors import CommandNotExecutable, Conflict, SwapboxError
from swapbox.paths import cgroup_path

if TYPE_CHECKING:
    from swapbox.engine import Engine

_ENDING = 1.0
"""Seconds for a container to end in, of which a command that could not join may be the first sign."""


def run_process(
    engine: "Engine",
    place: Place,
    process: Mapping[str, Any],
    stdio: Stdio | None,
    *,
    console: int | None = None,
) -> int:
    """Run an OCI process in a container's namespaces and cgroup; return its pid, a child of the caller.

    :raises CommandNotExecutable: the command is not there or cannot be executed.
    :raises Conflict: the container does not run any more.
    """
    isolation = engine.selector.open("isolation", made_with=place.isolation)
    try:
        cgroup = engine.selector.open("cgroup", made_with=place.cgroup).open(cgroup_path(place.id))
        try:
            return isolation.exec(ExecRequest(place.id, process, stdio, console, cgroup))
        finally:
            cgroup.close()
    except SwapboxError as error:
        # A container that ends takes what is about to join it along before its first process is gone.
        patience = 0.0 if isinstance(error, CommandNotExecutable) else _ENDING
        if place.init is not None and not place.init.wait(patience):
            raise
        # Whatever could not be found or joined any more, this is why.
        raise Conflict(f"container {place.id} is not running") from error


class ExecRun:
    """One more command in a running container."""

    def __init__(self, engine: "Engine", place: Place, session: Session, *, exec_id: str) -> None:
        self.engine = engine
        self.session = session
        self._place = place
        self._exec_id = exec_id

    @classmethod
    def start(cls, engine: "Engine", order: Mapping[str, Any], client: Client) -> "ExecRun":
        """Start the command, with stdio of its own; the calling process becomes its monitor.

        :param order: what :func:`swapbox.containers.execute.plan` returns.
        :raises Conflict: the container does not run any more.
        :raises CommandNotExecutable: the command is not there or cannot be executed.
        """
        os.chdir("/")
        place, exec_id = Place.from_plain(order["place"]), order["exec_id"]
        with engine.timed("exec"):
            started = _start(engine, place, order)
        tell_timings(engine, [client])
        return cls(engine, place, make_session(started, client), exec_id=exec_id)

    @property
    def identity(self) -> tuple[str, ...]:
        """The container's id and the session's."""
        return self._place.id, self._exec_id

    def end(self, status: int) -> None:
        """Remove the socket, and tell the clients."""
        with self.engine.timed("teardown"):
            (self.engine.paths.container_run(self._place.id) / socket_name(self._exec_id)).unlink(missing_ok=True)
            tell_end(self.engine, self._place, self._exec_id, exit_code(status))
        tell_timings(self.engine, self.session.clients)
        self.session.end(status)


def _start(engine: "Engine", place: Place, order: Mapping[str, Any]) -> Launch:
    process, exec_id = order["process"], order["exec_id"]
    tell_exec(engine, place, process["args"], exec_id)
    pipes = Pipes.open(terminal=process["terminal"], stdin=order["stdin"])
    pid = run_process(engine, place, process, pipes.stdio, console=pipes.console_fd)
    streams = pipes.kept()
    return Launch(pid, streams, _listen(engine, place, exec_id, pid), None)


def _listen(engine: "Engine", place: Place, exec_id: str, pid: int) -> _socket.socket:
    try:
        return listen(engine.paths.container_run(place.id), socket_name(exec_id))
    except FileNotFoundError:  # torn down, and the command with it
        os.waitpid(pid, 0)
        raise Conflict(f"container {place.id} is not running") from None


def tell_exec(engine: "Engine", place: Place, args: Sequence[str], exec_id: str) -> None:
    """Tell that a command is about to run; as Docker, also when that turns out to be impossible."""
    command = f"{args[0]} {' '.join(args[1:])}"  # with a space at the end of one without arguments
    for action in ("exec_create", "exec_start"):
        _happened(engine, place, f"{action}: {command}", execID=exec_id)


def tell_end(engine: "Engine", place: Place, exec_id: str, code: int) -> None:
    """Tell that a command has ended."""
    _happened(engine, place, "exec_die", execID=exec_id, exitCode=str(code))


def _happened(engine: "Engine", place: Place, action: str, **attributes: str) -> None:
    engine.emit("container", action, place.id, {**attributes, **place.attributes})
