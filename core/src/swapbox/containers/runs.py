"""What a monitor stays with: a container's own command (``container_run``), or one more in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from swapbox.containers.checker import Checker
from swapbox.containers.client import Client
from swapbox.containers.lines import LineSplitter
from swapbox.containers.session import Session

if TYPE_CHECKING:
    from swapbox.containers.stdio import Launch
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
    def identity(self) -> tuple[str, ...]:
        """What :func:`resumed` makes it from again, with its session; the container's id comes first."""
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
    from swapbox.containers.exec_order import Place
    from swapbox.containers.exec_run import ExecRun

    return ExecRun(engine, Place.of(engine.records.find(identity[0])), session, exec_id=identity[1])


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
