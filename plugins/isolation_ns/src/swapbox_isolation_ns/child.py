"""What happens in the clone of an exec session; much of it is what an init does, too."""

import errno
import os
import signal
from typing import NamedTuple, NoReturn

from swapbox.drivers.cgroup import CgroupHandle
from swapbox.drivers.isolation import Stdio
from swapbox.linux import syscalls
from swapbox_isolation_ns.console import Terminal, open_pty, send_master
from swapbox_isolation_ns.failures import Report, doing
from swapbox_isolation_ns.plan_process import ProcessPlan
from swapbox_isolation_ns.process import Descriptors, execute
from swapbox_isolation_ns.seccomp import Filter


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


def run_exec(process: ProcessPlan, pidfd: int, flags: int, inherited: Inherited, report: Report) -> NoReturn:
    """Join a running container, its pid namespace last: there the container's processes can see this one.

    :param flags: of the namespaces of the process behind ``pidfd`` to join.
    """
    hide()
    if inherited.cgroup is not None:
        with doing("join the cgroup"):
            inherited.cgroup.join()
    with doing("join the container's namespaces"):
        syscalls.setns(pidfd, flags)
    if flags & syscalls.CLONE_NEWUSER:
        become_root()
        hide()  # Changing the user has undone it.
    _move_in(report)
    new_session(inherited.id)
    terminal = None
    if process.terminal:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        terminal = Terminal(*open_pty(root, process.size))
        os.close(root)
    finish(process, inherited, terminal, report)


def finish(process: ProcessPlan, inherited: Inherited, terminal: Terminal | None, report: Report) -> NoReturn:
    """Become the command."""
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


def become_root() -> None:
    """Become the user namespace's root, so that what is made in the container belongs to somebody."""
    with doing("become root in the user namespace", hint="the user namespace has to map the ids 0"):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # Changing the user has cleared it.


def hide() -> None:
    """Keep other processes of the namespaces that are joined away from this one's memory, descriptors and exe."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)


def new_session(id: str) -> None:
    """Leave the creator's session and its keys behind."""
    os.setsid()
    try:
        syscalls.join_session_keyring(f"_ses.{id}")
    except OSError as error:
        # No keyrings in this kernel, a filter around us, or the user's quota: then there is no key to hide either,
        # or the container's own policy keeps it away.
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
            raise
