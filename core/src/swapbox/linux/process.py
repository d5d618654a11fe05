"""Processes named so that a reused pid is never mistaken for the one that was meant."""

import os
import select
import signal
import time
from typing import NamedTuple


class Process(NamedTuple):
    """A process: its pid, and its start time in clock ticks since boot (proc_pid_stat(5), field 22)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Name a running process.

        :raises ProcessLookupError: there is none.
        """
        return cls(pid, _stat(pid)[1])

    def age(self) -> int:
        """Return the nanoseconds since it was started, by a clock that nobody sets."""
        started = self.start * 10**9 // os.sysconf("SC_CLK_TCK")
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started

    def alive(self) -> bool:
        """Say whether it still runs; a zombie does not."""
        try:
            state, start = _stat(self.pid)
        except ProcessLookupError:
            return False
        return start == self.start and state not in "ZX"

    def open(self) -> int:
        """Return a pidfd (pidfd_open(2)) that surely refers to this process.

        :raises ProcessLookupError: it is gone.
        """
        fd = os.pidfd_open(self.pid)
        if not self.alive():
            os.close(fd)
            raise ProcessLookupError(self.pid)
        return fd

    def send(self, number: int) -> bool:
        """Send a signal; False when the process is gone."""
        try:
            fd = self.open()
        except ProcessLookupError:
            return False
        try:
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(fd)
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most ``timeout`` seconds; False when it still runs."""
        try:
            fd = self.open()
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            deadline = None if timeout is None else time.monotonic() + timeout
            while True:
                left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
                if poll.poll(left):
                    return True
                if deadline is not None and time.monotonic() >= deadline:
                    return False
        finally:
            os.close(fd)


def _stat(pid: int) -> tuple[str, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command name, in parentheses, may hold spaces and parentheses of its own.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    return fields[0].decode(), int(fields[19])


def boot_id() -> str:
    """Return the kernel's random identifier of this boot (proc_sys_kernel(5))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
