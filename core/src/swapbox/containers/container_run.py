"""A container's own command, from start to start, as its monitor sees it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from swapbox.containers.checker import Checker
from swapbox.containers.client import Client
from swapbox.containers.launch import launch, rootfs_path
from swapbox.containers.records import Container, RunState
from swapbox.containers.runs import make_session, tell_timings
from swapbox.containers.session import RELIEVED_PATIENCE, Session, exit_code
from swapbox.containers.spawn import WAKE
from swapbox.containers.teardown import tear_down
from swapbox.errors import CommandNotExecutable, SwapboxError, describe
from swapbox.linux import syscalls

if TYPE_CHECKING:
    from swapbox.engine import Engine

_RESTART_PATIENCE = 10.0
"""Seconds that a client which does not read, such as a stopped one, can put off a restart."""


class ContainerRun:
    """A container's own command. Starts it again for as long as its restart policy says so."""

    def __init__(self, engine: Engine, container: Container, session: Session) -> None:
        self.engine = engine
        self.container = container
        self.session = session

    @classmethod
    def start(
        cls,
        engine: Engine,
        container: Container,
        *,
        client: Client | None = None,
        console_size: tuple[int, int] | None = None,
    ) -> ContainerRun:
        """Start the container; on error leave nothing but the record of the error."""
        os.chdir("/")
        try:
            started = launch(engine, container, console_size=console_size)
            tell_timings(engine, [client] if client else [])
            session = make_session(started, client, checker=_checker(engine, container))
        except BaseException as error:
            _tear_down(engine, container, _failed(engine, container, error))
            raise
        return cls(engine, container, session)

    @property
    def identity(self) -> tuple[str, ...]:
        """The container's id."""
        return (self.container.id,)

    def end(self, status: int) -> ContainerRun | None:
        """Tear down, record how it ended, tell the clients; return the next run of the container."""
        if self.session.relieved:
            self.session.end(status, patience=RELIEVED_PATIENCE)
            return None
        signal.pthread_sigmask(signal.SIG_BLOCK, (WAKE,))
        code = exit_code(status)
        ended = RunState(status="exited", exit_code=code, finished=time.time_ns())
        with self.engine.timed("teardown"):
            # Should this process be killed before it is done, whoever ends its work finds the code.
            self.engine.records.change(self.container.id, exit_code=code, finished=ended.finished, ended=True)
            delay = _tear_down(self.engine, self.container, ended, restart=True)
        tell_timings(self.engine, self.session.clients)
        self.session.end(status, patience=None if delay is None else _RESTART_PATIENCE)
        if delay is None:
            return None
        signal.sigtimedwait((WAKE,), delay / 10**9)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (WAKE,))
        with contextlib.suppress(SwapboxError):  # the failure is recorded
            container = self.engine.records.find(self.container.id)
            if container.state.status == "restarting":
                return ContainerRun.start(self.engine, container)
            # Stopped while it waited. Only now may others start it: this process has no part in it any more.
            self.engine.records.change(container.id, where=("exited",), monitor=None)
        return None


def _checker(engine: Engine, container: Container) -> Checker | None:
    """Return what checks the container's health, if there is anything to check."""
    if container.config.healthcheck is None:
        return None
    from swapbox.containers.health import make_checker

    return make_checker(engine, container)


def _failed(engine: Engine, container: Container, error: BaseException) -> RunState:
    """Return the state of a container that could not be started."""
    with contextlib.suppress(SwapboxError):
        now = engine.records.find(container.id).state
        if now.stopped:  # by the user, while it was about to start again: that is no failure
            ended = now._replace(status="exited", init=None, monitor=None, boot="")
            return ended if now.init is None else ended._replace(exit_code=137, finished=time.time_ns())
    code = error.exit_code if isinstance(error, CommandNotExecutable) else 128
    finished = container.state.finished
    failed = RunState("exited" if finished else "created", exit_code=code, finished=finished)
    return failed._replace(error=describe(error))


def _tear_down(engine: Engine, container: Container, state: RunState, *, restart: bool = False) -> int | None:
    with contextlib.suppress(OSError):  # not mounted
        syscalls.umount(rootfs_path(engine.paths.container_run(container.id)), syscalls.MNT_DETACH)
    return tear_down(engine, container, state, restart=restart)
