"""A lock for each volume's name, held by one process at a time and freed by its death.

All are ranges of one file (``F_OFD_SETLKW`` of fcntl(2)), so none leaves a file behind. Two names may share a
range: a process that holds one lock must not ask for another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from swapbox.errors import from_os_error

_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux; native alignment fills the gap after l_whence


@contextlib.contextmanager
def name_lock(path: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a name; yield False when another process holds it and ``wait`` is false.

    :param path: the file, made when it is not there.
    """
    start = zlib.crc32(os.fsencode(name))
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise from_os_error(error, f"open {path}") from error
    try:
        yield _set(fd, fcntl.F_WRLCK, start, wait=wait)
    finally:
        # Explicitly: a forked child that inherited the descriptor must not keep the lock.
        _set(fd, fcntl.F_UNLCK, start, wait=True)
        os.close(fd)


def _set(fd: int, kind: int, start: int, *, wait: bool) -> bool:
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    try:
        fcntl.fcntl(fd, command, struct.pack(_FLOCK, kind, os.SEEK_SET, start, 1, 0))
    except BlockingIOError:
        return False
    return True
