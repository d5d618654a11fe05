"""What creating a container and joining one have in common: what is asked for, checked and opened."""

from __future__ import annotations

import os
from contextlib import ExitStack

from swapbox.drivers.isolation import CreateRequest, ExecRequest
from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import caps, syscalls
from swapbox_isolation_ns.child import Inherited
from swapbox_isolation_ns.plan_process import ProcessPlan
from swapbox_isolation_ns.seccomp import Filter


def inherited(request: CreateRequest | ExecRequest, gate: int, program: int, seccomp: Filter | None) -> Inherited:
    """Return what the clone gets, besides the plan."""
    return Inherited(request.id, request.stdio, request.console, request.cgroup, gate, program, seccomp)


def opened(stack: ExitStack, fd: int) -> int:
    """Return a descriptor that the stack closes."""
    stack.callback(os.close, fd)
    return fd


def check_request(process: ProcessPlan, request: CreateRequest | ExecRequest) -> None:
    """Refuse a request whose stdio does not fit the process."""
    if process.terminal and request.console is None:
        raise InvalidInput("process.terminal needs a console socket")
    if not process.terminal and request.stdio is None:
        raise InvalidInput("a process without terminal needs descriptors for its stdio")


def check_capabilities(process: ProcessPlan) -> None:
    """Refuse capabilities that this process does not have, by name, rather than by EPERM in the clone."""
    sets = process.capabilities
    wanted = sets.bounding | sets.effective | sets.permitted | sets.inheritable
    if missing := wanted & ~syscalls.capget()[1]:
        names = ", ".join(caps.names(missing))
        raise Unsupported(f"this process does not have the capability {names}", hint="drop it with --cap-drop")
