"""The end of a container's run: free what the run held, and record how it ended.

Every step is fine with its work being done already, so whoever finds a container whose monitor was killed can run
it again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.containers.events import happened
from swapbox.containers.launch import cgroup_path, container_endpoint, rootfs_path
from swapbox.containers.records import Container, RunState
from swapbox.errors import NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.engine import Engine


def tear_down(engine: Engine, container_id: str, state: RunState) -> None:
    """Free what a run held, whatever has become of it, and record ``state``; remove a container of ``--rm``."""
    try:
        container = engine.records.find(container_id)
    except NotFound:
        return
    oom_killed = free(engine, container)
    started = state.started or container.state.started
    if state.status == "exited":
        _tell_end(engine, container, state._replace(started=started), oom_killed=oom_killed)
    if container.config.auto_remove:
        remove(engine, container)
        return
    final = state._replace(oom_killed=oom_killed, started=started)
    engine.records.set_state(container_id, final, unless=("removing",))


def _tell_end(engine: Engine, container: Container, state: RunState, *, oom_killed: bool) -> None:
    if oom_killed:
        happened(engine, container, "oom")
    seconds = max(0, state.finished - state.started) // 10**9
    happened(engine, container, "die", exitCode=str(state.exit_code), execDuration=str(seconds))


def free(engine: Engine, container: Container) -> bool:
    """Free processes, network, cgroup and the run directory; say whether the kernel killed for want of memory."""
    config, select = container.config, engine.selector
    oom_events = 0

    def memory() -> None:
        nonlocal oom_events
        # First of all: an isolation driver whose runtime joins groups by path may remove them with the container.
        with contextlib.suppress(NotFound):
            handle = select.open("cgroup", made_with=config.cgroup).open(cgroup_path(container.id))
            oom_events = handle.oom_events()
            handle.close()

    def isolation() -> None:
        with contextlib.suppress(NotFound):
            select.open("isolation", made_with=config.isolation).delete(container.id, force=True)

    def network() -> None:
        endpoint = container_endpoint(container)
        select.open("network", made_with=config.network_driver).disconnect(None, endpoint)

    def cgroup() -> None:
        with contextlib.suppress(NotFound):
            handle = select.open("cgroup", made_with=config.cgroup).open(cgroup_path(container.id))
            handle.kill()
            handle.delete()
            handle.close()

    for step in (memory, isolation, network, cgroup):
        _tolerant(engine, container, step)
    remove_run_directory(engine.paths.container_run(container.id))
    return oom_events > 0


def _tolerant(engine: Engine, container: Container, step: Callable[[], None]) -> None:
    """Run one step; a failing one must not keep the others from freeing what they can."""
    try:
        step()
    except (SwapboxError, OSError) as error:
        engine.warn(f"container {container.name}: cannot free {step.__name__}: {error}")


def remove(engine: Engine, container: Container) -> None:
    """Remove a container that does not run: its snapshot, its directory, its row, in this order.

    Two at once, or one after another was killed, is fine.
    """
    state = container.state._replace(status="removing")
    engine.records.set_state(container.id, state)
    storage = engine.selector.open("storage", made_with=container.config.storage)
    with contextlib.suppress(NotFound):
        storage.remove(container.id)
    _remove_tree(engine.paths.container(container.id))
    remove_run_directory(engine.paths.container_run(container.id))
    if engine.records.remove(container.id):
        happened(engine, container, "destroy")


def remove_run_directory(run: Path) -> None:
    """Remove what a run left on tmpfs, never following a mount that may still be on the root file system."""
    for name in ("attach.sock", "bundle/config.json"):
        (run / name).unlink(missing_ok=True)
    for directory in (rootfs_path(run), run / "bundle", run):
        # A directory that is busy or not empty is somebody's mount point: leave it for the next clean-up.
        with contextlib.suppress(OSError):
            directory.rmdir()


def _remove_tree(directory: Path) -> None:
    """Remove a container's own directory: files, and directories of files, that only swapbox wrote."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(Path(entry.path))
            else:
                Path(entry.path).unlink(missing_ok=True)
        os.rmdir(directory)
