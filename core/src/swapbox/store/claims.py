"""Who makes a thing that several processes want, so that they share the work: one makes it, the others wait.

A claim is a lock on one byte of a file, at an offset that stands for the name (fcntl(2), "Open file description
locks"): there is one file for all names, nothing to clean up, and a claim ends with its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from pathlib import Path

from swapbox.errors import from_os_error

_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid
_OFFSETS = 2**62


class Claims:
    """Claims of one holder; a context manager that gives them all up.

    :param path: the file, made when it is missing.
    :param kind: keeps names of one kind of thing from those of another.
    """

    def __init__(self, path: Path, *, kind: str) -> None:
        self._kind = kind
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise from_os_error(error, f"open {path}") from error

    def take(self, name: str) -> bool:
        """Claim a name; return False when somebody else has it. One that is claimed already stays so."""
        try:
            self._set(name, fcntl.F_WRLCK)
        except BlockingIOError:
            return False
        return True

    def give_up(self, name: str) -> None:
        """Let others have a name."""
        self._set(name, fcntl.F_UNLCK)

    def close(self) -> None:
        """Let others have everything; calling it twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _set(self, name: str, kind: int) -> None:
        digest = hashlib.sha256(f"{self._kind} {name}".encode()).digest()
        offset = int.from_bytes(digest[:8], "big") % _OFFSETS
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))
