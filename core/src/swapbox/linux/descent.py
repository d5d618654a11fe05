"""Walk down and up a directory tree by descriptors while strangers rename and link in it.

Every step opens one name below an open directory and follows no symbolic link, so the walk never leaves the tree
it began in. A tree may be deeper than there are descriptors: beyond :data:`KEPT` levels the way up is ``..``, and
counts only when it leads to the very directory that the walk came from.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
KEPT = 64
"""Levels whose directories are kept open."""

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Node(NamedTuple):
    """One file of a tree.

    :param path: below the root of the walk, without a ``/`` at its start.
    :param parent: descriptor of the directory that holds it, open until the walk goes on.
    :param info: from lstat(2).
    """

    path: bytes
    name: bytes
    parent: int
    info: os.stat_result


class Descent:
    """Where a walk is: a directory below the one it began in. A context manager that closes what it holds.

    :param root: descriptor of a directory; the caller's to close. It may be one of ``O_PATH``.
    :ivar fd: descriptor of the directory where the walk is.
    """

    def __init__(self, root: int) -> None:
        self.fd = os.open(".", DIRECTORY, dir_fd=root)
        self._above: list[tuple[int, tuple[int, int]]] = []

    def enter(self, name: bytes) -> bool:
        """Go into a directory; False when there is none of this name, perhaps any more."""
        try:
            below = os.open(name, DIRECTORY, dir_fd=self.fd)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        kept = self.fd
        identity = _identity(kept)
        if len(self._above) >= KEPT:
            os.close(kept)
            kept = -1
        self._above.append((kept, identity))
        self.fd = below
        return True

    def leave(self) -> None:
        """Go back to where :meth:`enter` was called.

        :raises OSError: (ESTALE) somebody has moved the directory meanwhile, and the way back is not known.
        """
        above, identity = self._above.pop()
        if above < 0:
            above = os.open(b"..", DIRECTORY, dir_fd=self.fd)
            if _identity(above) != identity:
                os.close(above)
                raise OSError(errno.ESTALE, "a directory was moved while it was read")
        os.close(self.fd)
        self.fd = above

    def names(self) -> list[bytes]:
        """Return what the directory holds, in order."""
        return sorted(os.fsencode(name) for name in os.listdir(self.fd))

    def look(self, name: bytes) -> os.stat_result | None:
        """Return what lstat(2) says of a name; None when there is nothing."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def close(self) -> None:
        """Close what is open, but for the root."""
        for fd in (self.fd, *(fd for fd, _ in self._above)):
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)
        self.fd, self._above = -1, []

    def __enter__(self) -> Descent:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def walk(root: int) -> Iterator[Node]:
    """Yield all below a directory, parents before children and names in order; what vanishes is left out.

    :param root: descriptor of the directory.
    """
    with Descent(root) as place:
        waiting, path = [place.names()[::-1]], b""
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                if waiting:
                    place.leave()
                    path = path.rpartition(b"/")[0]
                continue
            name = waiting[-1].pop()
            info = place.look(name)
            if info is None:
                continue
            here = path + b"/" + name if path else name
            yield Node(here, name, place.fd, info)
            if info.st_mode & 0o170000 == 0o040000 and place.enter(name):
                waiting.append(place.names()[::-1])
                path = here


def _identity(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino
