"""What happens in the clone: an init builds its root, an exec session joins one; then both become the command."""

import _socket  # socket itself costs 3 ms to import
import errno
import fcntl
import os
import signal
import struct
from typing import NamedTuple, NoReturn

from swapbox.drivers.cgroup import CgroupHandle
from swapbox.drivers.isolation import Stdio
from swapbox.linux import syscalls
from swapbox_isolation_ns.console import open_pty, send_master
from swapbox_isolation_ns.failures import Report, doing
from swapbox_isolation_ns.plan import Plan
from swapbox_isolation_ns.plan_process import ProcessPlan
from swapbox_isolation_ns.process import Descriptors, execute
from swapbox_isolation_ns.rootfs import Terminal, Trees, build
from swapbox_isolation_ns.seccomp import Filter

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1


class Inherited(NamedTuple):
    """What the clone got from its creator.

    :param gate: a byte to read from it is the sign to start.
    :param program: the gate's program.
    """

    id: str
    stdio: Stdio | None
    console: int | None
    cgroup: CgroupHandle | None
    gate: int
    program: int
    seccomp: Filter | None


def run_init(plan: Plan, trees: Trees, inherited: Inherited, report: Report) -> NoReturn:
    """Set a container up as its first process."""
    if plan.has_user_namespace:
        _become_root()
    _hide()
    if inherited.cgroup is not None:
        with doing("join the cgroup"):
            inherited.cgroup.join()
    if plan.new & syscalls.CLONE_NEWCGROUP:  # After joining: where it is made is the root that it shows.
        syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    _new_session(inherited.id)
    _name_host(plan)
    if plan.new & syscalls.CLONE_NEWNET:
        _raise_loopback()
    terminal = build(plan, trees)
    _finish(plan.process, inherited, terminal, report)


def run_exec(process: ProcessPlan, pidfd: int, flags: int, inherited: Inherited, report: Report) -> NoReturn:
    """Join a running container, its pid namespace last: there the container's processes can see this one.

    :param flags: of the namespaces of the process behind ``pidfd`` to join.
    """
    _hide()
    if inherited.cgroup is not None:
        with doing("join the cgroup"):
            inherited.cgroup.join()
    with doing("join the container's namespaces"):
        syscalls.setns(pidfd, flags)
    if flags & syscalls.CLONE_NEWUSER:
        _become_root()
        _hide()  # Changing the user has undone it.
    _move_in(report)
    _new_session(inherited.id)
    terminal = None
    if process.terminal:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        terminal = Terminal(*open_pty(root, process.size))
        os.close(root)
    _finish(process, inherited, terminal, report)


def _finish(process: ProcessPlan, inherited: Inherited, terminal: Terminal | None, report: Report) -> NoReturn:
    stdio = inherited.stdio
    if terminal is not None:
        assert inherited.console is not None
        send_master(inherited.console, terminal.master)
        stdio = Stdio(terminal.slave, terminal.slave, terminal.slave)
    assert stdio is not None
    # Whoever creates a container may go away once it is created.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 0)
    execute(process, Descriptors(stdio, inherited.gate, inherited.program), report, inherited.seccomp)


def _move_in(report: Report) -> None:
    """Go on in a sibling, born into the pid namespace that was joined, once the creator was told its pid.

    With CAP_SYS_PTRACE a process there may look through ``/proc/<pid>/root`` of any other: until the mount
    namespace was joined too, that would be the host's.
    """
    told, tell = os.pipe()
    with doing("join the container's pid namespace"):
        pid = syscalls.clone(syscalls.CLONE_PARENT)
    if pid != 0:
        report.move(pid)
        os._exit(0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(tell)
    os.read(told, 1)
    os.close(told)


def _become_root() -> None:
    """Become the user namespace's root, so that what is made in the container belongs to somebody."""
    with doing("become root in the user namespace", hint="the user namespace has to map the ids 0"):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # Changing the user has cleared it.


def _hide() -> None:
    """Keep other processes of the namespaces that are joined away from this one's memory, descriptors and exe."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def _new_session(id: str) -> None:
    os.setsid()
    try:
        syscalls.join_session_keyring(f"_ses.{id}")
    except OSError as error:
        # No keyrings in this kernel, a filter around us, or the user's quota: then there is no key to hide either,
        # or the container's own policy keeps it away.
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
            raise


def _name_host(plan: Plan) -> None:
    with doing(f"set the hostname {plan.hostname!r}"):
        if plan.hostname:
            syscalls.sethostname(plan.hostname)
        if plan.domainname:
            syscalls.setdomainname(plan.domainname)


def _raise_loopback() -> None:
    """Switch ``lo`` on (netdevice(7)), as every other runtime does in a new network namespace."""
    with doing("switch the loopback device on"):
        control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        finally:
            control.close()
