"""What a monitor stays with: a container's own command (``container_run``), or one more in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from swapbox.containers.checker import Checker
from swapbox.containers.client import Client
from swapbox.containers.lines import LineSplitter
from swapbox.containers.records import Container
from swapbox.containers.session import Session, exit_code
from swapbox.containers.stdio import Launch

if TYPE_CHECKING:
    from swapbox.engine import Engine

WARM_SECONDS = 1.0
"""How long the forked process keeps a session before it turns into the lean one: most commands that end at once
never pay for the change."""


class Run(Protocol):
    """A running command, and what is done at its end."""

    session: Session

    @property
    def engine(self) -> Engine:
        """The engine it belongs to."""
        ...

    @property
    def container(self) -> Container:
        """The container it runs in."""
        ...

    @property
    def identity(self) -> tuple[str, ...]:
        """What :func:`resumed` makes it from again, with its session."""
        ...

    def end(self, status: int) -> Run | None:
        """Clean up after the command, given its wait status; return what runs next."""
        ...


def stay(run: Run | None) -> None:
    """Stay with a command to its end, and with what follows it."""
    while run is not None:
        with run.engine.timed("run"):
            status = run.session.run(WARM_SECONDS)
        if status is None:
            from swapbox.containers.handover import hand_over

            run.session = hand_over(run)
            status = run.session.run()
            assert status is not None
        run = run.end(status)


def resumed(engine: Engine, identity: tuple[str, ...], session: Session) -> Run:
    """Make a run again in the interpreter that the monitor has turned into."""
    if len(identity) == 1:
        from swapbox.containers.container_run import ContainerRun

        return ContainerRun(engine, engine.records.find(identity[0]), session)
    return ExecRun(engine, engine.records.find(identity[0]), session, exec_id=identity[1])


class ExecRun:
    """One more command in a running container (``exec``)."""

    def __init__(self, engine: Engine, container: Container, session: Session, *, exec_id: str) -> None:
        self.engine = engine
        self.container = container
        self.session = session
        self.exec_id = exec_id

    @classmethod
    def start(cls, engine: Engine, details: dict[str, Any], client: Client) -> ExecRun:
        """Start the command; raises as :func:`swapbox.containers.execute.execute`."""
        from swapbox.containers.execute import execute

        os.chdir("/")
        container = engine.containers.find(details["container"])
        client.send(b"C" + container.id.encode())  # it was asked for by whatever name
        with engine.timed("exec"):
            started = execute(engine, container, details)
        tell_timings(engine, [client])
        return cls(engine, container, make_session(started, client), exec_id=details["exec_id"])

    @property
    def identity(self) -> tuple[str, ...]:
        """The container's id and the session's."""
        return self.container.id, self.exec_id

    def end(self, status: int) -> None:
        """Remove the socket, and tell the clients."""
        from swapbox.containers.execute import ended

        with self.engine.timed("teardown"):
            ended(self.engine, self.container, self.exec_id, exit_code(status))
        tell_timings(self.engine, self.session.clients)
        self.session.end(status)


def tell_timings(engine: Engine, clients: Iterable[Client]) -> None:
    """Tell the clients where the time went so far, if this was asked for."""
    if engine.timings is None:
        return
    import marshal

    engine.timings.total()
    packet = b"T" + marshal.dumps(engine.timings.parts)
    for client in clients:
        client.send(packet)


def make_session(started: Launch, client: Client | None, *, checker: Checker | None = None) -> Session:
    """Return the session of a command that has just started, and tell the client so."""
    if client is not None:
        client.send(b"S%d" % started.init)
    return Session(
        init=started.init,
        outputs=started.streams.outputs,
        stdin=started.streams.stdin,
        terminal=started.streams.terminal,
        listener=started.listener,
        clients=[client] if client else [],
        writer=started.writer,
        splitters={stream: LineSplitter() for stream in started.streams.outputs},
        checker=checker,
    )
