"""Which processes of the host are a container's."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from swapbox.errors import NotFound
from swapbox.paths import cgroup_path

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine


def pids(engine: Engine, container: Container) -> set[int]:
    """Return the pids of a running container's processes.

    They are those in its cgroup. Where the kernel keeps no groups, they are those in its pid namespace and in
    namespaces below, and all that its init has started: one pass over ``/proc``.
    """
    found: set[int] = set()
    with contextlib.suppress(NotFound):
        handle = engine.selector.open("cgroup", made_with=container.config.cgroup).open(cgroup_path(container.id))
        try:
            found = {*handle.processes()}
        finally:
            handle.close()
    init = container.state.init
    return found or (_below(init.pid) if init else set())


def _below(init: int) -> set[int]:
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found = {init} | (
        {*filter(lambda pid: _namespace(pid) == inside, parents)} if (inside := _own(init)) else set()
    )
    # Parents may have higher pids than their children, so go on until nothing is new.
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def _own(init: int) -> str:
    """Return the pid namespace of a container's init; empty when it is ours, where everybody is."""
    namespace = _namespace(init)
    return namespace if namespace != _namespace(os.getpid()) else ""


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:  # it has ended
        return ""
