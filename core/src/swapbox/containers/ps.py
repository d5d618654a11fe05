"""``ps -ef`` for hosts without ps(1): the same columns from ``/proc``, see proc_pid_stat(5)."""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from collections.abc import Iterable

TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
_DAY = 24 * 3600
# Device numbers: virtual consoles have major 4, pseudo-terminals 136 to 143.
_CONSOLE, _FIRST_PTS, _LAST_PTS = 4, 136, 143


def table(pids: Iterable[int]) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows of those processes that still run."""
    rows = []
    for pid in sorted(pids):
        with contextlib.suppress(OSError):
            rows.append(_row(pid))
    return TITLES, rows


def _row(pid: int) -> list[str]:
    owner = os.stat(f"/proc/{pid}").st_uid
    name, fields = _stat(pid)
    ticks = os.sysconf("SC_CLK_TCK")
    used = (int(fields[11]) + int(fields[12])) / ticks
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / ticks
    lived = max(1.0, time.time() - started)
    return [
        _user(owner),
        str(pid),
        fields[1],
        str(min(99, int(used * 100 / lived))),
        _start(started),
        _terminal(int(fields[4])),
        time.strftime("%H:%M:%S", time.gmtime(used)),
        _command(pid) or f"[{name}]",
    ]


def _stat(pid: int) -> tuple[str, list[str]]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="surrogateescape") as file:
        before, _, after = file.read().rpartition(")")
    return before.partition("(")[2], after.split()


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as file:
        return " ".join(file.read().rstrip("\0").replace("\0", " ").split())


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _start(seconds: float) -> str:
    return time.strftime("%H:%M" if time.time() - seconds < _DAY else "%b%d", time.localtime(seconds))


def _terminal(device: int) -> str:
    major, minor = os.major(device), os.minor(device)
    if _FIRST_PTS <= major <= _LAST_PTS:
        return f"pts/{minor + (major - _FIRST_PTS) * 256}"
    return f"tty{minor}" if major == _CONSOLE else "?"
