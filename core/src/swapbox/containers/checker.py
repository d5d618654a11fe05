"""What a monitor runs at intervals beside its container: the check of its health."""

from __future__ import annotations

import os
import time


class Checker:
    """A program that runs again and again beside the container.

    :param argv: the program; it finds the file ``fd`` under the number 3.
    :param delays: milliseconds until it runs again, by its exit status; the first for any other.
    :param due: when it runs next, in seconds of time.monotonic().
    :param pid: of the program while it runs, else 0.
    :ivar orphans: a program was killed, and the command that it had started in the container is perhaps there yet.
    """

    def __init__(self, argv: list[str], fd: int, delays: list[int], due: float, pid: int = 0) -> None:
        self.argv = argv
        self.fd = fd
        self.delays = delays
        self.due = due
        self.pid = pid
        self.pidfd = os.pidfd_open(pid) if pid else -1
        self.orphans = True  # this process may have been another one a moment ago

    def start(self) -> None:
        """Run the program if it is time."""
        if self.pid or time.monotonic() < self.due:
            return
        try:
            actions = [(os.POSIX_SPAWN_DUP2, self.fd, 3)]
            self.pid = os.posix_spawn(self.argv[0], self.argv, os.environ, file_actions=actions)
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:  # no memory now, or the interpreter is being replaced: the next time
            self.due = time.monotonic() + self.delays[0] / 1000

    def ended(self) -> None:
        """Collect the program, which has ended."""
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self.orphans = self.orphans or code < 0
        self.due = time.monotonic() + self.delays[code if 0 <= code < len(self.delays) else 0] / 1000
        os.close(self.pidfd)
        self.pid, self.pidfd = 0, -1

    def collect_orphans(self, init: int) -> None:
        """Collect what a killed program had started and what is now a child of this process, a subreaper.

        The kernel ends a container's init only when nothing of its pid namespace is left, zombies included
        (pid_namespaces(7)): uncollected, a single one would keep the container from ever ending.
        """
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                orphans = {*map(int, file.read().split())} - {init, self.pid}
            for pid in orphans:
                os.waitpid(pid, os.WNOHANG)
        except OSError:  # a kernel without CONFIG_PROC_CHILDREN
            orphans = set()
        self.orphans = bool(orphans)

    def stop(self) -> None:
        """End the program, if it runs."""
        if self.pid:
            os.kill(self.pid, 9)
            self.ended()

    def export(self) -> tuple[list[str], int, list[int], float, int]:
        """Return it as plain values."""
        return self.argv, self.fd, self.delays, self.due, self.pid
