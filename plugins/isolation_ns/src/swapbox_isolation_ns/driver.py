"""The driver: the OCI runtime operations, each a few steps over the modules beside this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from swapbox.drivers.common import DriverContext
from swapbox.drivers.isolation import ContainerState, CreateRequest, ExecRequest
from swapbox.errors import Conflict, InvalidInput, Unavailable, Unsupported
from swapbox.linux import caps, syscalls
from swapbox_isolation_ns.child import Inherited, run_exec, run_init
from swapbox_isolation_ns.failures import doing
from swapbox_isolation_ns.gate import open_gate
from swapbox_isolation_ns.idmap import give_pipes, read_maps, write_maps
from swapbox_isolation_ns.launch import adjust, launch
from swapbox_isolation_ns.plan import Plan, plan
from swapbox_isolation_ns.plan_process import ProcessPlan, plan_process
from swapbox_isolation_ns.seccomp import Filter, load_filter
from swapbox_isolation_ns.state import Record, StateDir
from swapbox_isolation_ns.trees import open_trees

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
        wanted = plan(request.spec, request.bundle)
        _check_request(wanted.process, request)
        if not wanted.has_user_namespace:
            _check_capabilities(wanted.process)
        policy = (request.spec.get("linux") or {}).get("seccomp")
        seccomp = load_filter(policy, self._context.root / "seccomp") if policy else None
        state = StateDir(self._context.run_root, request.id)
        state.create()
        try:
            pid = self._launch_init(wanted, request, state, seccomp)
            _remember(state, pid, request, seccomp)
        except BaseException:
            state.remove()
            raise
        return pid

    def _launch_init(self, wanted: Plan, request: CreateRequest, state: StateDir, seccomp: Filter | None) -> int:
        bind_devices = self._context.unprivileged or wanted.has_user_namespace
        with ExitStack() as stack:
            trees = open_trees(wanted, stack, bind_devices=bind_devices)
            gate = _opened(stack, os.open(state.gate, os.O_RDWR | os.O_CLOEXEC))
            inherited = _inherited(request, gate, _opened(stack, open_gate()), seccomp)
            joined = [(flag, _opened(stack, _open_namespace(path))) for flag, path in wanted.joined]
            return launch(
                lambda report: run_init(wanted, trees, inherited, report),
                flags=wanted.new & ~syscalls.CLONE_NEWCGROUP,
                joined=joined,
                prepare=lambda pid: _prepare(pid, wanted, request, state),
            )

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
        _check_request(process, request)
        with ExitStack() as stack:
            try:
                pidfd = _opened(stack, record.process.open())
                joins = _JOINED_BY_EXEC | _user_flag(record)
            except (ProcessLookupError, FileNotFoundError):
                raise Conflict(f"container {request.id} is not running") from None
            if joins & syscalls.CLONE_NEWUSER:
                give_pipes(request.stdio, process.uid, read_maps(record.process.pid))
            else:
                _check_capabilities(process)
            gate, sign = (_opened(stack, fd) for fd in os.pipe())
            inherited = _inherited(request, gate, _opened(stack, open_gate()), state.seccomp(record))
            pid = launch(
                lambda report: run_exec(process, pidfd, joins, inherited, report),
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


def _inherited(request: CreateRequest | ExecRequest, gate: int, program: int, seccomp: Filter | None) -> Inherited:
    return Inherited(request.id, request.stdio, request.console, request.cgroup, gate, program, seccomp)


def _opened(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _open_namespace(path: str) -> int:
    with doing(f"open the namespace {path}"):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _prepare(pid: int, wanted: Plan, request: CreateRequest, state: StateDir) -> None:
    state.announce(pid)
    if wanted.has_user_namespace:
        write_maps(pid, wanted.uid_maps, wanted.gid_maps)
        give_pipes(request.stdio, wanted.process.uid, wanted.uid_maps)
    adjust(pid, wanted.process)


def _remember(state: StateDir, pid: int, request: CreateRequest, seccomp: Filter | None) -> None:
    try:
        state.write(pid, request.bundle, seccomp)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _user_flag(record: Record) -> int:
    """Return CLONE_NEWUSER if the container has a user namespace of its own; one's own cannot be joined again."""
    theirs, ours = (os.stat(f"/proc/{pid}/ns/user").st_ino for pid in (record.process.pid, "self"))
    return 0 if theirs == ours else syscalls.CLONE_NEWUSER


def _check_request(process: ProcessPlan, request: CreateRequest | ExecRequest) -> None:
    if process.terminal and request.console is None:
        raise InvalidInput("process.terminal needs a console socket")
    if not process.terminal and request.stdio is None:
        raise InvalidInput("a process without terminal needs descriptors for its stdio")


def _check_capabilities(process: ProcessPlan) -> None:
    """Refuse capabilities that this process does not have, by name, rather than by EPERM in the clone."""
    sets = process.capabilities
    wanted = sets.bounding | sets.effective | sets.permitted | sets.inheritable
    if missing := wanted & ~syscalls.capget()[1]:
        names = ", ".join(caps.names(missing))
        raise Unsupported(f"this process does not have the capability {names}", hint="drop it with --cap-drop")
