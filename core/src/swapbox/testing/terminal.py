"""Drive a command that wants a terminal: a pseudo-terminal with a person's patience."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence


class Terminal:
    """A child process on its own terminal; ``screen`` is everything it has written so far."""

    def __init__(self, pid: int, master: int) -> None:
        self.pid, self._master = pid, master
        self.screen = b""

    def type(self, text: str | bytes) -> None:
        """Send keys."""
        os.write(self._master, text.encode() if isinstance(text, str) else text)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window size; the foreground processes get SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def attributes(self) -> list[object]:
        """Return the terminal's settings (termios)."""
        return termios.tcgetattr(self._master)

    def expect(self, text: bytes, *, timeout: float = 15) -> None:
        """Wait until the screen has ``text`` after what was expected before.

        :raises AssertionError: it has not within ``timeout`` seconds, or the child ended first.
        """
        deadline = time.monotonic() + timeout
        while text not in self.screen:
            assert self._read(deadline), f"{text!r} is not on the screen: {self.screen!r}"
        self.screen = self.screen[self.screen.index(text) + len(text) :]

    def wait(self, *, timeout: float = 15) -> int:
        """Read to the end and return the child's exit code, negative for a signal."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        assert time.monotonic() < deadline, f"still running, screen: {self.screen!r}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last process has closed the terminal
            return False
        self.screen += data
        return bool(data)


@contextlib.contextmanager
def terminal(argv: Sequence[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run ``argv`` on a new terminal of 24 rows and 80 columns; kill it at the end if it still runs."""
    master, slave = os.openpty()
    made = Terminal(0, master)
    made.resize(24, 80)
    made.pid = os.fork()
    if made.pid == 0:
        try:
            os.login_tty(slave)
            os.execve(argv[0], list(argv), {"TERM": "xterm", **environment})
        finally:
            os._exit(127)
    os.close(slave)
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(made.pid, signal.SIGKILL)
            os.waitpid(made.pid, 0)
        os.close(master)
