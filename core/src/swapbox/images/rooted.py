"""The directories of a tree that strangers describe: no name leads out of it, whatever links lie in the way.

Every directory is opened from its parent's descriptor without following links; where a link is in the way, the
kernel resolves it with the tree as its root (openat2(2), ``RESOLVE_IN_ROOT``). What is opened is kept open, since
an archive names a directory's files one after another.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Container
from pathlib import Path

from swapbox.errors import DataError
from swapbox.linux.syscalls import RESOLVE_IN_ROOT, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KEPT_OPEN = 128


class Directory:
    """An open directory; ``prefix`` is its path in the tree, free of links, empty or with a ``/`` at its end."""

    __slots__ = ("fd", "prefix")

    def __init__(self, fd: int, prefix: bytes) -> None:
        self.fd = fd
        self.prefix = prefix


class RootedTree:
    """Opens directories below ``root``; a context manager that closes them.

    :ivar opened: the directories that are open, by the name they were asked for: a look-up here saves a call.
    """

    def __init__(self, root: Path) -> None:
        self.opened: dict[bytes, Directory] = {}
        self._root = os.open(root, _DIRECTORY)

    def open(self, name: bytes, *, create: bool = False) -> Directory:
        """Return the directory ``name``; it is open until the next call that has to open another.

        :param create: make what is missing, mode 0755, owned by the caller.
        :raises DataError: the name leads out of the tree.
        :raises OSError: it is missing, or something in the way is no directory.
        """
        known = self.opened.get(name)
        if known is not None:
            return known
        parts = split(name)
        count, prefix, fd = self._nearest(parts)
        try:
            for part in parts[count:]:
                prefix, below = self._step(fd, prefix, part, create=create)
                fd = _replaced(fd, below)
        except BaseException:
            os.close(fd)
            raise
        if len(self.opened) >= _KEPT_OPEN:
            self.forget()
        directory = self.opened[name] = Directory(fd, prefix)
        return directory

    def reserve(self, count: int) -> None:
        """See to it that the next ``count`` directories opened stay open together."""
        if len(self.opened) + count > _KEPT_OPEN:
            self.forget()

    def forget(self, *, but: Directory | None = None) -> None:
        """Close what is open: a directory or link was removed, so names may lead elsewhere now."""
        kept = {}
        for name, directory in self.opened.items():
            if directory is but:
                kept[name] = directory
            else:
                os.close(directory.fd)
        self.opened = kept

    def close(self) -> None:
        """Close everything."""
        self.forget()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> RootedTree:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _nearest(self, parts: list[bytes]) -> tuple[int, bytes, int]:
        """Return how many parts an open directory is past, its prefix, and a descriptor of it to close."""
        for count in range(len(parts), 0, -1):
            if directory := self.opened.get(b"/".join(parts[:count])):
                return count, directory.prefix, os.dup(directory.fd)
        return 0, b"", os.dup(self._root)

    def _step(self, fd: int, prefix: bytes, part: bytes, *, create: bool) -> tuple[bytes, int]:
        try:
            return prefix + part + b"/", os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        except FileNotFoundError:
            if not create:
                raise
            return prefix + part + b"/", make_directory(fd, part)
        except NotADirectoryError:
            if not stat.S_ISLNK(os.lstat(part, dir_fd=fd).st_mode):
                raise
        below = openat2(self._root, prefix + part, _DIRECTORY, resolve=RESOLVE_IN_ROOT)
        return self._path(below), below

    def _path(self, fd: int) -> bytes:
        """Return the prefix of what a link led to."""
        root, path = (os.readlink(b"/proc/self/fd/%d" % number) for number in (self._root, fd))
        return b"" if path == root else path[len(root.rstrip(b"/")) + 1 :] + b"/"


def split(name: bytes) -> list[bytes]:
    """Return the parts of a name after ``.``, ``..`` and repeated or leading slashes are worked off.

    :raises DataError: it leads out of the tree.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise DataError(f"path {os.fsdecode(name)!r} leads out of the tree")
            parts.pop()
        elif part and part != b".":
            parts.append(part)
    return parts


def make_directory(parent: int, name: bytes) -> int:
    """Make a directory with mode 0755 owned by the caller, whatever umask and parent say, and open it."""
    os.mkdir(name, 0o700, dir_fd=parent)
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    with contextlib.suppress(PermissionError):
        os.fchown(fd, -1, os.getegid())  # a set-gid parent hands its group down
    os.fchmod(fd, 0o755)
    return fd


def remove(parent: int, name: bytes) -> None:
    """Delete a file or a directory and all below it, to any depth and without following links."""
    try:
        os.unlink(name, dir_fd=parent)
    except (IsADirectoryError, PermissionError):
        clear(parent, name)
        os.rmdir(name, dir_fd=parent)


def clear(parent: int, name: bytes, *, prefix: bytes = b"", kept: Container[bytes] = ()) -> None:
    """Empty the directory ``name``, but for what is in ``kept``; directories in ``kept`` are emptied likewise.

    It goes down and up again without recursion and with one descriptor, since a hostile tree may be deeper than
    Python's stack and longer than PATH_MAX. Nobody else may write there meanwhile.

    :param prefix: path of the directory, with a ``/`` at its end, as the paths in ``kept`` begin.
    """
    fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        levels = [(name, prefix, _remove_files(fd, prefix, kept))]
        while True:
            _, path, directories = levels[-1]
            if directories:
                below = directories.pop()
                path += below + b"/"
                fd = _replaced(fd, os.open(below, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd))
                levels.append((below, path, _remove_files(fd, path, kept)))
            elif len(levels) > 1:
                fd = _replaced(fd, os.open(b"..", _DIRECTORY, dir_fd=fd))
                if path[:-1] not in kept:
                    os.rmdir(levels[-1][0], dir_fd=fd)
                levels.pop()
            else:
                return
    finally:
        os.close(fd)


def _remove_files(fd: int, prefix: bytes, kept: Container[bytes]) -> list[bytes]:
    """Delete what is not a directory and not kept; return the directories."""
    directories = []
    with os.scandir(fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                directories.append(name)
            elif prefix + name not in kept:
                os.unlink(name, dir_fd=fd)
    return directories


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new
