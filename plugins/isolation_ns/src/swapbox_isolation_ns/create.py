"""Creating a container: from the bundle's spec to an init that waits at the start gate."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

from swapbox.drivers.common import DriverContext
from swapbox.drivers.isolation import CreateRequest
from swapbox.linux import syscalls
from swapbox_isolation_ns.failures import doing
from swapbox_isolation_ns.gate import open_gate
from swapbox_isolation_ns.idmap import give_pipes, write_maps
from swapbox_isolation_ns.init import run_init
from swapbox_isolation_ns.launch import adjust, launch
from swapbox_isolation_ns.plan import Plan, plan
from swapbox_isolation_ns.requests import check_capabilities, check_request, inherited, opened
from swapbox_isolation_ns.seccomp import Filter, load_filter
from swapbox_isolation_ns.state import StateDir
from swapbox_isolation_ns.trees import open_trees


def create(context: DriverContext, request: CreateRequest) -> int:
    """Set a container up; its init then waits at the start gate, a FIFO in the state directory."""
    wanted = plan(request.spec, request.bundle)
    check_request(wanted.process, request)
    if not wanted.has_user_namespace:
        check_capabilities(wanted.process)
    policy = (request.spec.get("linux") or {}).get("seccomp")
    seccomp = load_filter(policy, context.root / "seccomp") if policy else None
    state = StateDir(context.run_root, request.id)
    state.create()
    try:
        pid = _launch_init(context, wanted, request, state, seccomp)
        _remember(state, pid, request, seccomp)
    except BaseException:
        state.remove()
        raise
    return pid


def _launch_init(
    context: DriverContext, wanted: Plan, request: CreateRequest, state: StateDir, seccomp: Filter | None
) -> int:
    bind_devices = context.unprivileged or wanted.has_user_namespace
    with ExitStack() as stack:
        trees = open_trees(wanted, stack, bind_devices=bind_devices)
        gate = opened(stack, os.open(state.gate, os.O_RDWR | os.O_CLOEXEC))
        given = inherited(request, gate, opened(stack, open_gate()), seccomp)
        joined = [(flag, opened(stack, _open_namespace(path))) for flag, path in wanted.joined]
        return launch(
            lambda report: run_init(wanted, trees, given, report),
            flags=wanted.new & ~syscalls.CLONE_NEWCGROUP,
            joined=joined,
            prepare=lambda pid: _prepare(pid, wanted, request, state),
        )


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
