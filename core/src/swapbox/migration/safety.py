"""What keeps a migration from losing anything: one at a time, and on disk before the original goes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from swapbox.errors import Conflict, Unavailable, from_os_error
from swapbox.linux import syscalls

AGAIN = "nothing was lost; the same command goes on from here"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep other migrations of a store away, and say that a failure loses nothing.

    :raises Conflict: another one is at work.
    """
    path = root / "migrate.lock"
    with border(f"open {path}"):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("another migration of this store is at work", hint="wait for it to end") from None
        yield
    except Unavailable as error:
        error.hint = error.hint or AGAIN
        raise
    finally:
        os.close(fd)


def make_durable(directories: Iterable[Path]) -> None:
    """Wait until the disks have what was written to the file systems of directories."""
    for directory in directories:
        with border(f"write to {directory}"):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                syscalls.syncfs(fd)
            finally:
                os.close(fd)


@contextlib.contextmanager
def border(doing: str) -> Iterator[None]:
    """Translate what a system call's failure means.

    :param doing: what is done meanwhile.
    """
    try:
        yield
    except OSError as error:
        translated: Any = from_os_error(error, doing)
        translated.hint = f"free some space; {AGAIN}" if error.errno in _FULL else AGAIN
        raise translated from error
