"""Pausing: every process of a container stands still where it is, until it goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox.containers.events import happened
from swapbox.errors import Conflict, NotFound, Unsupported
from swapbox.paths import cgroup_path

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.drivers.cgroup import CgroupHandle
    from swapbox.engine import Engine


def pause(engine: Engine, container: Container) -> None:
    """Stop a container; raises as :meth:`swapbox.containers.lifecycle.Lifecycle.pause`."""
    with alone(engine, container) as container:
        if container.state.status == "paused":
            raise Conflict(f"Container {container.id} is already paused")
        if container.state.status == "restarting":
            raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
        # Recorded first: a crash in between leaves a container that runs and that unpause puts right.
        if not engine.records.change(container.id, where=("running",), status="paused"):
            raise _not_running(container)
        _freeze(engine, container)
        if not engine.records.change(container.id, where=("paused",)):
            thaw(engine, container)  # whoever ends it meanwhile has perhaps done so too early
            raise _not_running(container)
        happened(engine, container, "pause")


def _freeze(engine: Engine, container: Container) -> None:
    try:
        with cgroup_of(engine, container) as cgroup:
            cgroup.freeze()
    except BaseException as error:
        engine.records.change(container.id, where=("paused",), status="running")
        if isinstance(error, NotFound):
            raise _not_running(container) from error
        if isinstance(error, Unsupported):
            raise Unsupported(
                f"cannot pause container {container.name}: {error.message}", hint=error.hint
            ) from error
        raise


def _not_running(container: Container) -> Conflict:
    return Conflict(f"container {container.id} is not running")


def unpause(engine: Engine, container: Container) -> None:
    """Let a container go on.

    :raises Conflict: it is not paused.
    """
    with alone(engine, container) as container:
        if container.state.status != "paused":
            raise Conflict(f"Container {container.id} is not paused")
        thaw(engine, container)


def thaw(engine: Engine, container: Container) -> None:
    """Let a container go on, if it is paused or was about to be."""
    with contextlib.suppress(NotFound, Unsupported):  # it has just ended, or cannot have been frozen
        with cgroup_of(engine, container) as cgroup:
            cgroup.thaw()
    if engine.records.change(container.id, where=("paused",), status="running"):
        happened(engine, container, "unpause")


@contextlib.contextmanager
def alone(engine: Engine, container: Container) -> Iterator[Container]:
    """Give a container as it is recorded, while nobody else freezes it, changes its limits or starts it."""
    from swapbox.containers.files import container_lock

    with container_lock(engine.paths.container(container.id)):
        yield engine.records.find(container.id)


@contextlib.contextmanager
def cgroup_of(engine: Engine, container: Container) -> Iterator[CgroupHandle]:
    """Give the group of a container that runs."""
    controller = engine.selector.open("cgroup", made_with=container.config.cgroup)
    handle = controller.open(cgroup_path(container.id))
    try:
        yield handle
    finally:
        handle.close()
