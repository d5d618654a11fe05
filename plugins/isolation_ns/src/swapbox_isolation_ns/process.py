"""Turn the calling process into the container's command: descriptors, directory, user, powers, last the execve."""

import errno
import fcntl
import os
import resource
import stat
import termios
from typing import NamedTuple, NoReturn

from swapbox.drivers.isolation import Stdio
from swapbox.errors import CommandNotExecutable, PermissionDenied, Unsupported
from swapbox.linux import caps, syscalls
from swapbox_isolation_ns import gate
from swapbox_isolation_ns.command import find_command
from swapbox_isolation_ns.failures import Report, doing, reason
from swapbox_isolation_ns.plan_process import UNLIMITED, ProcessPlan
from swapbox_isolation_ns.seccomp import Filter

_PROGRAM, _REPORT = 4, 5
_NULL = os.makedev(1, 3)


class Descriptors(NamedTuple):
    """What the process needs until the end: its stdio, where it waits, and the gate's program."""

    stdio: Stdio
    gate: int
    program: int


def execute(plan: ProcessPlan, descriptors: Descriptors, report: Report, seccomp: Filter | None) -> NoReturn:
    """Do what is left, in an order that leaves each step the powers it needs; then become the gate's program.

    :raises SwapboxError: a step failed.
    """
    _settle(descriptors, report)
    if plan.terminal:
        with doing("make the terminal the controlling one"):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    _own_stdio(plan)
    arrived = _change_directory(plan.cwd, last=False)
    _limit(plan)
    _drop_bounding(plan.capabilities.bounding)
    _become_user(plan)
    loads_powerful = seccomp is not None and not plan.no_new_privileges
    _set_capabilities(plan, spare=caps.SYS_ADMIN if loads_powerful else 0)
    if not arrived:
        _change_directory(plan.cwd, last=True)
    _check_directory()
    os.umask(plan.umask)
    path = find_command(plan.args[0], plan.env)
    if plan.no_new_privileges:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if seccomp is not None:
        _load(seccomp, plan, spare=caps.SYS_ADMIN if loads_powerful else 0)
    report.ready()
    program = _PROGRAM if seccomp is None or seccomp.allows_execveat else f"/proc/self/fd/{_PROGRAM}"
    with doing(f"execute the start gate for {path}"):
        syscalls.execve(program, gate.arguments(path, plan.args), plan.env)
    raise AssertionError("execve returned")


def _settle(given: Descriptors, report: Report) -> None:
    """Put the descriptors where they belong and close all others, before a path like /proc/self/fd/7 can be used.

    0 to 2 are the command's, 3 is the gate; the report pipe and the program vanish with the next execve.
    """
    order = (*given.stdio, given.gate, given.program, report.fd)
    # First out of the way: one of them may sit where another belongs.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(order)) for fd in order]
    report.fd = high[_REPORT]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=number <= gate.FD)
    report.fd = _REPORT
    syscalls.close_range(len(order))


def _own_stdio(plan: ProcessPlan) -> None:
    """Give stdio to the user, who could not reopen /dev/stdout otherwise; where that is not possible, go on."""
    for fd in range(3):
        status = os.fstat(fd)
        if status.st_uid == plan.uid or (stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL):
            continue
        try:
            os.fchown(fd, plan.uid, status.st_gid)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS):
                raise


def _change_directory(path: str, *, last: bool) -> bool:
    """Go to the working directory: with root's powers first, as the user only if that was forbidden."""
    try:
        os.chdir(path)
    except OSError as error:
        if error.errno == errno.EACCES and not last:
            return False
        code = 127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126
        message = f'chdir to cwd ("{path}") set in config.json failed: {reason(error)}'
        raise CommandNotExecutable(message, exit_code=code) from None
    return True


def _check_directory() -> None:
    """Refuse a directory outside of the container's root, which getcwd(2) calls unreachable (CVE-2024-21626)."""
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise PermissionDenied("the working directory is outside of the container's root file system")


def _limit(plan: ProcessPlan) -> None:
    for limit in plan.limits:
        # Hard limits above ours were raised by the creator already, if it could.
        soft, hard = (resource.RLIM_INFINITY if n == UNLIMITED else n for n in (limit.soft, limit.hard))
        try:
            resource.setrlimit(limit.resource, (soft, hard))
        except (ValueError, OSError) as error:
            raise Unsupported(f"cannot set {limit.name} to {limit.soft}:{limit.hard}: {error}") from None


def _drop_bounding(keep: int) -> None:
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the kernel's last capability
                return
            raise PermissionDenied(f"cannot drop capability number {number}: {reason(error)}") from None


def _become_user(plan: ProcessPlan) -> None:
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    try:
        os.setgroups(plan.groups)
    except PermissionError:
        # A user namespace without setgroups(2): fine as long as nobody asked for groups.
        if plan.groups:
            raise Unsupported("additional groups cannot be set in this user namespace") from None
    with doing(f"become user {plan.uid}, group {plan.gid}", hint="is the id mapped in the user namespace?"):
        os.setresgid(plan.gid, plan.gid, plan.gid)
        os.setresuid(plan.uid, plan.uid, plan.uid)
    syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 0)
    # Changing the user may have made the process visible again to others of that user (fs.suid_dumpable).
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def _set_capabilities(plan: ProcessPlan, *, spare: int) -> None:
    """Take on the plan's sets; ``spare`` stays permitted for a moment: the next execve takes it away."""
    wanted = plan.capabilities
    # What a user other than root has after the next execve; the command is looked up with it.
    effective = wanted.effective if plan.uid == 0 else wanted.ambient
    with doing("set the capabilities"):
        syscalls.capset(effective=effective, permitted=wanted.permitted | spare, inheritable=wanted.inheritable)
        for number in range(wanted.ambient.bit_length()):
            if wanted.ambient >> number & 1:
                syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_RAISE, number)


def _load(seccomp: Filter, plan: ProcessPlan, *, spare: int) -> None:
    """Load the filter last: no later step but execve has to pass it (seccomp(2) on who may load one)."""
    if spare:
        wanted = plan.capabilities
        syscalls.capset(
            effective=wanted.effective | spare, permitted=wanted.permitted | spare, inheritable=wanted.inheritable
        )
    with doing("load the seccomp filter", hint="without root's powers it needs no_new_privileges"):
        syscalls.set_seccomp_filter(seccomp.program, seccomp.flags)
