"""Containers whose monitor was killed, or lost in a reboot: whoever looks at one next does what it left undone."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from swapbox.containers.files import container_lock
from swapbox.containers.records import Container, RunState
from swapbox.errors import NotFound
from swapbox.linux.process import boot_id

if TYPE_CHECKING:
    from swapbox.engine import Engine

MONITOR_DIED = "the monitor died while starting the container"
_TEARDOWN_SECONDS = 10.0
_LOOK_SECONDS = 0.01


def recover(engine: Engine, container: Container) -> Container:
    """Return a container as it truly is, from a record that names a monitor.

    :raises NotFound: it was removed at its end.
    """
    deadline = time.monotonic() + _TEARDOWN_SECONDS
    while not _is_true(engine, container):
        monitor = container.state.monitor
        if monitor is not None and container.state.boot == boot_id() and monitor.alive():
            if time.monotonic() > deadline:
                break
            # It tears down, and will say so in the record, or start the container again.
            monitor.wait(_LOOK_SECONDS)
            container = engine.records.find(container.id)
            continue
        # Between the look at the record and the look at the monitor it may have written its last word: then there
        # is nothing to do, and no lock to wait for, which a command that waits for us might hold.
        now = engine.records.find(container.id)
        if now.state.monitor != monitor:
            container = now
            continue
        container = _recovered(engine, container)
    return container


def _recovered(engine: Engine, container: Container) -> Container:
    """Do what a dead monitor has left undone, unless somebody else has; return what is recorded then."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(NotFound):  # it was removed but for its row: nobody can start it any more
            stack.enter_context(container_lock(engine.paths.container(container.id)))
        # Only now that the monitor is gone can what it has written be the last word, and only under the lock can
        # nobody else be at it, and the container run again before we are done.
        now = engine.records.find(container.id)
        if now.state.monitor == container.state.monitor:
            _finish(engine, now)
            now = engine.records.find(container.id)
        return now


def _is_true(engine: Engine, container: Container) -> bool:
    """Say whether the kernel agrees with the record."""
    state = container.state
    if state.monitor is None:
        return True
    if state.boot != boot_id():
        return False
    runs = state.init is not None and state.init.alive()
    if state.monitor.alive():
        return state.init is None or runs
    return runs and not _waits_to_start(engine, container)


def _waits_to_start(engine: Engine, container: Container) -> bool:
    """Say whether an init is still at its gate, which nobody will open any more."""
    try:
        driver = engine.selector.open("isolation", made_with=container.config.isolation)
        return driver.state(container.id).status == "created"
    except NotFound:
        return True


def _finish(engine: Engine, container: Container) -> None:
    from swapbox.containers.teardown import remove, tear_down

    tear_down(engine, container, _last_word(container.state))
    if container.state.status == "removing":
        remove(engine, container, volumes=container.config.auto_remove)


def _last_word(state: RunState) -> RunState:
    """Return how a container has ended whose monitor died in the given state."""
    if state.init is not None and state.ended:
        return RunState(status="exited", exit_code=state.exit_code, finished=state.finished)
    if state.init is not None:  # 255 is what Docker records for an exit it did not see
        return RunState(status="exited", exit_code=255, finished=time.time_ns())
    ended = state._replace(status="exited" if state.finished else "created", monitor=None, boot="")
    if state.stopped:  # while it was about to start again
        return ended
    if state.status == "restarting":
        return ended._replace(error=MONITOR_DIED)
    return ended._replace(exit_code=128, error=MONITOR_DIED)
