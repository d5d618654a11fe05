"""Groups as directories: what cgroup drivers of both versions do with the kernel's file system (cgroups(7)).

All of it goes through a :class:`Cgroupfs`, so that a driver can be tested in a temporary folder with
``swapbox.testing.cgroup.FakeCgroupfs``, which plays the kernel's part: a new group has files.
"""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from swapbox.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    SwapboxError,
    Unavailable,
    Unsupported,
)

PATIENCE = 2.0
"""Seconds to wait for processes that were killed to leave a group, or for a group to freeze."""

_FIRST_NAP, _LONGEST_NAP = 0.001, 0.02
_FILE_SIZE = 1 << 16


class Mount(NamedTuple):
    """A mounted hierarchy: where, which directory of it is there, and the file system's own options."""

    point: str
    root: str
    options: frozenset[str]


def mounts(fstype: str, mountinfo: str = "/proc/self/mountinfo") -> Iterator[Mount]:
    """Yield the mounts of type ``cgroup`` or ``cgroup2`` (proc_pid_mountinfo(5))."""
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split()[:3]
            if kind == fstype:
                root, point = left.split()[3:5]
                yield Mount(_unescape(point), _unescape(root), frozenset(options.split(",")))


def _unescape(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


class Cgroupfs:
    """The calls by which groups are made and changed; each raises ``OSError``."""

    def mkdir(self, group: str) -> None:
        """Make a group, whose parent is there."""
        os.mkdir(group)

    def rmdir(self, group: str) -> None:
        """Remove a group without processes and children."""
        os.rmdir(group)

    def read(self, file: str) -> str:
        """Return what a control file says."""
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = b""
            while block := os.read(fd, _FILE_SIZE):
                text += block
            return text.decode()
        finally:
            os.close(fd)

    def write(self, file: str, *values: str) -> None:
        """Write values to a control file, one ``write`` each."""
        fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, value.encode())
        finally:
            os.close(fd)


def make(fs: Cgroupfs, group: str, *, prepare: Callable[[str], object] = str) -> list[str]:
    """Make a group and missing parents; return what was made, parents first.

    :param prepare: called with each new group.
    """
    made: list[str] = []
    try:
        _make(fs, group, prepare, made)
    except BaseException:
        discard(fs, made)
        raise
    return made


def _make(fs: Cgroupfs, group: str, prepare: Callable[[str], object], made: list[str]) -> None:
    try:
        fs.mkdir(group)
    except FileNotFoundError:
        _make(fs, os.path.dirname(group), prepare, made)
        return _make(fs, group, prepare, made)
    except FileExistsError:
        return None
    made.append(group)
    prepare(group)
    return None


def discard(fs: Cgroupfs, made: Sequence[str]) -> None:
    """Remove groups just made, as far as nobody else uses them by now."""
    for group in reversed(made):
        try:
            fs.rmdir(group)
        except OSError:
            continue


def tree(group: str) -> list[str]:
    """Return a group and its descendants, children before parents; nothing when it is not there."""
    return [directory for directory, _, _ in os.walk(group, topdown=False)]


def processes(fs: Cgroupfs, group: str) -> list[int]:
    """Return the pids in a group and its descendants."""
    pids: set[int] = set()
    for member in tree(group):
        try:
            pids.update(map(int, fs.read(f"{member}/cgroup.procs").split()))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
    return sorted(pids)


def remove(fs: Cgroupfs, groups: Sequence[str], *, wait: Callable[[float], None] = time.sleep) -> None:
    """Remove groups with their descendants; those that are gone already are fine.

    A process that was killed holds its group until it is dead, so this waits for a while.

    :param wait: waits until the group may be empty, at most so many seconds.
    :raises Conflict: a process is still inside.
    """
    deadline = time.monotonic() + PATIENCE
    nap = _FIRST_NAP
    for group in groups:
        while not _removed(fs, group):
            if time.monotonic() > deadline:
                raise Conflict(
                    f"cgroup {group} cannot be removed: a process is inside", hint="kill its processes first"
                )
            wait(nap)
            nap = min(2 * nap, _LONGEST_NAP)


def _removed(fs: Cgroupfs, group: str) -> bool:
    for member in tree(group):
        try:
            fs.rmdir(member)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise translated(error, f"remove cgroup {member}") from error
            return False
    return True


def kill(fs: Cgroupfs, group: str) -> None:
    """Send SIGKILL until every process left got it; what forks meanwhile is found in the next round."""
    killed: set[int] = set()
    while new := set(processes(fs, group)) - killed:
        for pid in new:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        killed |= new


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Ask again and again, with naps that grow from 1 to 20 ms.

    :raises Unavailable: the condition did not come true for a while.
    """
    deadline = time.monotonic() + PATIENCE
    nap = _FIRST_NAP
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} did not happen within {PATIENCE:g} seconds")
        time.sleep(nap)
        nap = min(2 * nap, _LONGEST_NAP)


def number(text: str) -> int | None:
    """Return the number in a control file, None for ``max`` and for what version 1 takes as no limit."""
    text = text.strip()
    if not text.lstrip("-").isdecimal():
        return None
    # Version 1 says LONG_MAX rounded down to a page for "no limit".
    return int(text) if 0 <= int(text) < 2**63 - 2**20 else None


def keyed(text: str) -> dict[str, int]:
    """Return the ``key value`` lines of a control file such as ``memory.stat``."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdecimal()}


_KINDS: dict[int, type[SwapboxError]] = {
    errno.ENOENT: NotFound,
    errno.ENODEV: NotFound,
    errno.ESRCH: NotFound,
    errno.EINVAL: InvalidInput,
    errno.ERANGE: InvalidInput,
    errno.EBUSY: Conflict,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EROFS: PermissionDenied,
    errno.EOPNOTSUPP: Unsupported,
}


def translated(error: OSError, action: str) -> SwapboxError:
    """Return the error of ours for one of the kernel's: ``cannot <action>: <reason>``."""
    kind = _KINDS.get(error.errno or 0, Unavailable)
    return kind(f"cannot {action}: {os.strerror(error.errno or 0).lower()}")
