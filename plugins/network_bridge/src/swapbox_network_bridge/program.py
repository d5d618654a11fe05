"""Programs of the host, run without :mod:`subprocess`, which a monitor has no time to import."""

from __future__ import annotations

import os
from functools import lru_cache

from swapbox.errors import Unavailable

_PATH = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin")


@lru_cache(maxsize=8)
def find(name: str) -> str | None:
    """Return where a program is; None when it is not installed."""
    for directory in _PATH:
        path = f"{directory}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def run(arguments: list[str], text: str = "") -> tuple[int, str, str]:
    """Run a program with a text as its input; return its exit code, output and errors.

    :raises Unavailable: it cannot be run.
    """
    files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
    try:
        os.pwrite(files[0], text.encode(), 0)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files)]
        try:
            pid = os.posix_spawn(arguments[0], arguments, {"PATH": ":".join(_PATH)}, file_actions=actions)
        except OSError as error:
            raise Unavailable(f"cannot run {arguments[0]}: {error.strerror}") from error
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return code, _read(files[1]), _read(files[2])
    finally:
        for fd in files:
            os.close(fd)


def _read(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")
