"""Clone a process into its namespaces and see it through its set-up: the creator's side, the child's first steps.

The story: the creator opens whatever the child will need, clones it, gives it id maps and limits that only an
outsider may set, and says "go". The child does the rest (``child.py``), writes one byte to the report pipe, and
executes the gate's program, which closes the pipe: end of file after that byte means success. Anything else in the
pipe is an error; then the child is killed and reaped here, and all it made goes with its namespaces. The child may
go on as a sibling of itself, whose pid comes first.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from swapbox.errors import PermissionDenied, Unsupported
from swapbox.linux import syscalls
from swapbox_isolation_ns.failures import READY, Report, doing, ended, load, reason
from swapbox_isolation_ns.plan_process import UNLIMITED, Limit, ProcessPlan

Joined = Sequence[tuple[int, int]]
"""Namespaces to be born into: the flag of clone(2), and a descriptor."""

_FILES = {
    syscalls.CLONE_NEWPID: "pid",
    syscalls.CLONE_NEWNET: "net",
    syscalls.CLONE_NEWIPC: "ipc",
    syscalls.CLONE_NEWUTS: "uts",
    syscalls.CLONE_NEWCGROUP: "cgroup",
}
_SAFE_FINDERS = ("BuiltinImporter", "FrozenImporter")


def launch(
    child: Callable[[Report], NoReturn], *, flags: int, joined: Joined = (), prepare: Callable[[int], None]
) -> int:
    """Run ``child`` in a clone; return its pid once it waits as the gate's program.

    :param child: called in the clone; ends with execve or an error.
    :param prepare: called with the pid before the child goes on.
    :raises SwapboxError: what the child or ``prepare`` raised; nothing is left of the child.
    """
    go, release = os.pipe()
    result, report = os.pipe()
    pid = 0
    try:
        with doing("make the namespaces"):
            pid = _clone(flags, joined)
        if pid == 0:
            os.close(release)
            os.close(result)
            _begin(child, go, Report(report))
        os.close(report)
        report = -1
        prepare(pid)
        os.write(release, b"g")
        said = _listen(result)
        if said[:1].isdigit():
            moved, _, said = said.partition(b" ")
            os.waitpid(pid, 0)
            pid = int(moved)
        _check(pid, said)
    except BaseException:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)  # Not reaped yet, so the pid is still its own.
            os.waitpid(pid, 0)
        raise
    finally:
        for fd in (go, release, result, report):
            if fd >= 0:
                os.close(fd)
    return pid


def _clone(flags: int, joined: Joined) -> int:
    """Clone into new namespaces and existing ones; the creator goes to the latter and comes back.

    A process cannot join a pid namespace itself, only have children there; and a child in a new user namespace has
    no power over the host's namespaces any more.
    """
    homes: list[tuple[int, int]] = []
    pid = -1
    try:
        for flag, fd in joined:
            homes.append((flag, os.open(f"/proc/self/ns/{_FILES[flag]}", os.O_RDONLY | os.O_CLOEXEC)))
            syscalls.setns(fd, flag)
        pid = syscalls.clone(flags)
    finally:
        if pid != 0:
            for flag, home in reversed(homes):
                syscalls.setns(home, flag)
                os.close(home)
    return pid


def _begin(child: Callable[[Report], NoReturn], go: int, report: Report) -> NoReturn:
    """Run in the clone; never return into the creator's code."""
    try:
        _shed()
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.read(go, 1):  # nothing: the creator is gone
            child(report)
    except BaseException as error:
        with suppress(BaseException):
            report.fail(error)
    finally:
        os._exit(1)
    raise AssertionError("unreachable")


def _shed() -> None:
    """Lose what the clone inherited and must not use."""
    gc.disable()
    # Soon "/" is the image, and somebody may have put modules there where Python would look for its own.
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") in _SAFE_FINDERS]
    syscalls.reset_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _listen(result: int) -> bytes:
    data = b""
    while chunk := os.read(result, 65536):
        data += chunk
    return data


def _check(pid: int, said: bytes) -> None:
    if error := said.removeprefix(READY):
        raise load(error)
    if not said:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert info is not None
        raise ended(info)


def adjust(pid: int, process: ProcessPlan) -> None:
    """Set from outside what the process itself may not be allowed to.

    :raises Unsupported: the host does not let us; names the limit.
    """
    for limit in process.limits:
        _raise_hard_limit(pid, limit)
    if process.oom_score_adj is not None:
        _set_oom_score(pid, process.oom_score_adj)


def _raise_hard_limit(pid: int, limit: Limit) -> None:
    soft, hard = resource.getrlimit(limit.resource)
    if hard == resource.RLIM_INFINITY or limit.hard <= hard:
        return  # the process can do it
    wanted = resource.RLIM_INFINITY if limit.hard == UNLIMITED else limit.hard
    try:
        resource.prlimit(pid, limit.resource, (soft, wanted))
    except (OSError, ValueError):
        shown = "unlimited" if limit.hard == UNLIMITED else limit.hard
        message = f"cannot raise {limit.name} to {shown}: the hard limit here is {hard}"
        raise Unsupported(message, hint="raising it needs CAP_SYS_RESOURCE") from None


def _set_oom_score(pid: int, score: int) -> None:
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="utf-8") as file:
            file.write(str(score))
    except OSError as error:
        kind = PermissionDenied if isinstance(error, FileNotFoundError) else Unsupported
        hint = "lowering it needs CAP_SYS_RESOURCE"
        raise kind(f"cannot set oom_score_adj to {score}: {reason(error)}", hint=hint) from None
