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

from swapbox.containers.events import happened, network_event
from swapbox.containers.launch import container_endpoint, rootfs_path
from swapbox.containers.records import Container, RunState
from swapbox.errors import NotFound, SwapboxError
from swapbox.paths import cgroup_path

if TYPE_CHECKING:
    from swapbox.engine import Engine


def tear_down(engine: Engine, container: Container, state: RunState, *, restart: bool = False) -> int | None:
    """Free what a run held, whatever has become of it, and record ``state``; remove a container of ``--rm``.

    :param container: perhaps removed meanwhile; what its run held is freed all the same.
    :param restart: the caller is its monitor and obeys the restart policy.
    :return: nanoseconds after which the container is to start again; None for not at all.
    """
    try:
        container = engine.records.find(container.id)
    except NotFound:
        free(engine, container)
        return None
    oom_killed = free(engine, container) or state.oom_killed
    state = state._replace(oom_killed=oom_killed, started=state.started or container.state.started)
    if state.status == "exited" and container.state.init is not None:
        _tell_end(engine, container, state)
        if container.config.volume_mounts:
            from swapbox.containers.volume_mounts import tell_unmounted

            tell_unmounted(engine, container)
    with engine.database.transaction():
        try:
            now = engine.records.find(container.id).state
        except NotFound:
            return None
        state = state._replace(stopped=now.stopped, restart_count=now.restart_count)
        if restart and (again := _restarting(container, now, state)) is not None:
            engine.records.set_state(container.id, again, unless=("removing",))
            return again.delay
        if not container.config.auto_remove or now.kept:
            engine.records.set_state(container.id, state, unless=("removing",))
            return None
        engine.records.change(container.id, status="removing")
    remove(engine, container, volumes=True)
    return None


def _restarting(container: Container, now: RunState, ended: RunState) -> RunState | None:
    """Return the state of a container that its policy starts again; None when it does not."""
    from swapbox.containers.restart import next_delay

    ran = now.init.age() if now.init is not None else 0
    delay = next_delay(container.config, now, exit_code=ended.exit_code, ran=ran)
    if delay is None or now.status == "removing":
        return None
    return ended._replace(
        status="restarting",
        monitor=now.monitor,
        boot=now.boot,
        restart_count=now.restart_count + 1,
        delay=delay,
    )


def _tell_end(engine: Engine, container: Container, state: RunState) -> None:
    if state.oom_killed:
        happened(engine, container, "oom")
    seconds = max(0, state.finished - state.started) // 10**9
    happened(engine, container, "die", exitCode=str(state.exit_code), execDuration=str(seconds))
    if not container.config.has_endpoints and not container.config.shared_network:
        network_event(engine, container, "disconnect")


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
        if config.shared_network:
            return
        if config.has_endpoints:
            from swapbox.networks.endpoints import disconnect_all

            disconnect_all(engine, container)
            return
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


def remove(engine: Engine, container: Container, *, volumes: bool = False) -> None:
    """Remove a container recorded as ``removing``: its snapshot, its directory, its row, in this order.

    Two at once, or one after another was killed, is fine.

    :param volumes: and last its anonymous volumes, unless another container uses them.
    """

    def network() -> None:
        """Free what could not be freed at its end; or say why it stays, which the monitor had nobody to tell."""
        if any(row.id for row in engine.networks.records.endpoints(container=container.id)):
            from swapbox.networks.endpoints import disconnect_all

            disconnect_all(engine, container)

    storage = engine.selector.open("storage", made_with=container.config.storage)
    with contextlib.suppress(NotFound):
        storage.remove(container.id)
    _remove_tree(engine.paths.container(container.id))
    remove_run_directory(engine.paths.container_run(container.id))
    if container.config.has_endpoints:
        _tolerant(engine, container, network)
    if engine.records.remove(container.id):
        happened(engine, container, "destroy")
    if container.config.has_endpoints:
        engine.networks.records.forget(container.id)
    if container.config.volume_mounts:
        from swapbox.containers.volume_mounts import release

        release(engine, container.id, container.config.mounts if volumes else ())


def remove_run_directory(run: Path) -> None:
    """Remove what a run left on tmpfs, never following a mount that may still be on the root file system."""
    for path in (run / "attach.sock", run / "bundle/config.json", *run.glob("exec-*.sock")):
        path.unlink(missing_ok=True)
    if (run / "volumes").is_dir():
        from swapbox.containers.volume_mounts import unmount

        unmount(run)
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
