"""The driver: the OCI runtime operations, each a few steps over the modules beside this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from swapbox.drivers.common import DriverContext
from swapbox.drivers.isolation import ContainerState, CreateRequest, ExecRequest
from swapbox.errors import Conflict, Unavailable
from swapbox.linux import syscalls
from swapbox_isolation_ns.child import run_exec
from swapbox_isolation_ns.gate import open_gate
from swapbox_isolation_ns.idmap import give_pipes, read_maps
from swapbox_isolation_ns.launch import adjust, launch
from swapbox_isolation_ns.plan_process import plan_process
from swapbox_isolation_ns.requests import check_capabilities, check_request, inherited, opened
from swapbox_isolation_ns.state import Record, StateDir

_JOINED_BY_EXEC = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWCGROUP
    | syscalls.CLONE_NEWPID
)
_KILL_TIMEOUT = 30.0  # seconds; only a process stuck in the kernel takes longer


class Driver:
    """Runs bundles with Linux namespaces. All it knows is on disk, so any process can go on with any container.

    The calling process must be single-threaded: it is cloned without libc's knowledge, and for a namespace to join
    it goes there itself for a moment.
    """

    def __init__(self, context: DriverContext) -> None:
        self._context = context

    def create(self, request: CreateRequest) -> int:
        """Set a container up; its init then waits at the start gate, a FIFO in the state directory."""
        from swapbox_isolation_ns.create import create

        return create(self._context, request)

    def warm_up(self) -> None:
        """Import what only :meth:`create` needs."""
        import swapbox_isolation_ns.create  # noqa: F401

    def start(self, id: str) -> None:
        """Let the init execute the command."""
        state = self._state(id)
        record = state.read()
        if record is None or not record.process.alive():
            raise Conflict(f"container {id} is not in the state created")
        state.open_gate()

    def state(self, id: str) -> ContainerState:
        """Ask the kernel. A frozen container counts as running: its cgroup knows."""
        return self._state(id).state()

    def kill(self, id: str, signal: int) -> None:
        """Send a signal to the init, also while it waits at the gate."""
        record = self._state(id).read()
        if record is None or not record.process.send(signal):
            raise Conflict(f"container {id} is not running")

    def delete(self, id: str, *, force: bool = False) -> None:
        """Forget the container. The mounts and namespaces went with its last process."""
        state = self._state(id)
        record = state.read()
        if not force and (record is None or record.process.alive()):
            raise Conflict(f"container {id} is not stopped", hint="stop it first, or force the removal")
        init = record.process if record is not None else state.announced()
        if init is not None:
            init.send(signal.SIGKILL)
            if not init.wait(_KILL_TIMEOUT):
                raise Unavailable(f"container {id} does not end: process {init.pid} is stuck")
        state.remove()

    def exec(self, request: ExecRequest) -> int:
        """Run one more process with the container's namespaces and seccomp filter."""
        state = self._state(request.id)
        record = state.read()
        if record is None or state.state().status != "running":
            raise Conflict(f"container {request.id} is not running")
        process = plan_process(request.process)
        check_request(process, request)
        with ExitStack() as stack:
            try:
                pidfd = opened(stack, record.process.open())
                joins = _JOINED_BY_EXEC | _user_flag(record)
            except (ProcessLookupError, FileNotFoundError):
                raise Conflict(f"container {request.id} is not running") from None
            if joins & syscalls.CLONE_NEWUSER:
                give_pipes(request.stdio, process.uid, read_maps(record.process.pid))
            else:
                check_capabilities(process)
            gate, sign = (opened(stack, fd) for fd in os.pipe())
            given = inherited(request, gate, opened(stack, open_gate()), state.seccomp(record))
            pid = launch(
                lambda report: run_exec(process, pidfd, joins, given, report),
                flags=0,
                prepare=lambda pid: adjust(pid, process),
            )
            os.write(sign, b"s")
        return pid

    def features(self) -> Mapping[str, Any]:
        """Return the OCI features document."""
        from swapbox_isolation_ns.features import features

        return features()

    def close(self) -> None:
        """Do nothing: the driver holds nothing open."""

    def _state(self, id: str) -> StateDir:
        return StateDir(self._context.run_root, id)


def _user_flag(record: Record) -> int:
    """Return CLONE_NEWUSER if the container has a user namespace of its own; one's own cannot be joined again."""
    theirs, ours = (os.stat(f"/proc/{pid}/ns/user").st_ino for pid in (record.process.pid, "self"))
    return 0 if theirs == ours else syscalls.CLONE_NEWUSER
