"""Make one directory tree like another, and touch nothing in it that is like it already.

Both are walked side by side. What differs is removed and made anew, since to change one name of a file through
overlayfs would part it from its other names; directories are changed where they are. So the target may be a mount
of any storage driver that shows the layers below: what is not touched stays theirs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from swapbox.errors import DataError
from swapbox.images.rooted import remove
from swapbox.linux import syscalls
from swapbox.linux.descent import Descent, walk
from swapbox.migration.trees import READ, attributes, is_linked, place
from swapbox.volumes.copying import copy_data

_INSIDE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


def mirror(source: int, target: int, *, thorough: bool, marks: str | None = None) -> None:
    """Make the tree of one directory equal to that of another; nobody else changes either.

    :param source: descriptor of the directory to copy; ``target`` of the one to change.
    :param thorough: compare the content of files that look alike, too; else what has the same size, time, owner,
        mode and attributes is taken to be the same.
    :param marks: how names of attributes begin that the target would take for its own: an error.
    :raises OSError: something cannot be read or written.
    :raises DataError: something cannot be kept.
    """
    with Descent(source) as here, Descent(target) as there:
        _Mirror(here, there, target, _regrouped(source, target), thorough=thorough, marks=marks).run()


def _regrouped(source: int, target: int) -> set[bytes]:
    """Return the names that share a file with others in one tree, but not with the very same in the other."""
    ours, theirs = _groups(source), _groups(target)
    return {path for path in {*ours, *theirs} if ours.get(path) != theirs.get(path)}


def _groups(root: int) -> dict[bytes, tuple[bytes, ...]]:
    found: dict[tuple[int, int], list[bytes]] = {}
    for node in walk(root):
        if is_linked(node.info):
            found.setdefault((node.info.st_dev, node.info.st_ino), []).append(node.path)
    return {path: tuple(paths) for paths in found.values() if len(paths) > 1 for path in paths}


class _Mirror:
    """``here`` and ``there`` are always in the same place of either tree."""

    def __init__(
        self,
        here: Descent,
        there: Descent,
        target: int,
        regrouped: set[bytes],
        *,
        thorough: bool,
        marks: str | None,
    ) -> None:
        self._here = here
        self._there = there
        self._target = target
        self._regrouped = regrouped
        self._thorough = thorough
        self._marks = marks
        self._path = b""
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        waiting = [self._names()]
        while waiting:
            if waiting[-1]:
                if self._one(waiting[-1].pop()):
                    waiting.append(self._names())
                continue
            waiting.pop()
            # After the content: to fill a directory changes its time, and may need more permission than it has.
            if not self._looks_alike(b"."):
                self._dress(b".")
            if waiting:
                self._path = self._path.rpartition(b"/")[0]
                self._here.leave()
                self._there.leave()

    def _names(self) -> list[bytes]:
        """Remove what is not to be here, and return what is, the next one last.

        Overlay lists names that are not there: marks of deletions in a directory that no layer below has.
        """
        names = [name for name in self._here.names() if self._here.look(name) is not None]
        for name in set(self._there.names()).difference(names):
            with contextlib.suppress(FileNotFoundError):
                remove(self._there.fd, name)
        return names[::-1]

    def _one(self, name: bytes) -> bool:
        """Make one name alike; True when it is a directory, into which the walk has gone."""
        info = os.stat(name, dir_fd=self._here.fd, follow_symlinks=False)
        old = self._there.look(name)
        path = self._path + b"/" + name if self._path else name
        if stat.S_ISDIR(info.st_mode):
            self._enter(name, old)
            self._path = path
            return True
        if old is None or path in self._regrouped or not self._is_alike(name, info):
            if old is not None:
                remove(self._there.fd, name)
            self._make(name, path, info)
        if is_linked(info):
            self._links.setdefault((info.st_dev, info.st_ino), path)
        return False

    def _enter(self, name: bytes, old: os.stat_result | None) -> None:
        if old is not None and not stat.S_ISDIR(old.st_mode):
            remove(self._there.fd, name)
            old = None
        if old is None:
            os.mkdir(name, 0o700, dir_fd=self._there.fd)
        if not (self._here.enter(name) and self._there.enter(name)):
            raise OSError(errno.ESTALE, "a directory was moved while it was read")

    # Comparing.

    def _is_alike(self, name: bytes, info: os.stat_result) -> bool:
        if not self._looks_alike(name):
            return False
        if stat.S_ISLNK(info.st_mode):
            return os.readlink(name, dir_fd=self._here.fd) == os.readlink(name, dir_fd=self._there.fd)
        return not (self._thorough and stat.S_ISREG(info.st_mode)) or self._same_content(name)

    def _looks_alike(self, name: bytes) -> bool:
        one, other = (os.stat(name, dir_fd=at.fd, follow_symlinks=False) for at in (self._here, self._there))
        return _look(one) == _look(other) and (
            attributes(place(self._here.fd, name)) == attributes(place(self._there.fd, name))
        )

    def _same_content(self, name: bytes) -> bool:
        one, other = (os.open(name, READ, dir_fd=at.fd) for at in (self._here, self._there))
        try:
            while (piece := os.read(one, _CHUNK)) == os.read(other, _CHUNK):
                if not piece:
                    return True
            return False
        finally:
            os.close(one)
            os.close(other)

    # Making.

    def _make(self, name: bytes, path: bytes, info: os.stat_result) -> None:
        first = self._links.get((info.st_dev, info.st_ino)) if is_linked(info) else None
        if first is not None:
            fd = syscalls.openat2(self._target, first, _PATH, resolve=_INSIDE)
            try:
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self._there.fd, follow_symlinks=True)
            finally:
                os.close(fd)
            return
        if stat.S_ISREG(info.st_mode):
            self._copy_file(name, info.st_size)
        elif stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=self._here.fd), name, dir_fd=self._there.fd)
        elif stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
            shown = os.fsdecode(path)
            raise DataError(f"device {shown!r} has number 0:0, the mark by which overlay knows deleted files")
        else:
            os.mknod(name, stat.S_IFMT(info.st_mode) | 0o600, info.st_rdev, dir_fd=self._there.fd)
        self._dress(name)

    def _copy_file(self, name: bytes, size: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(name, flags, 0o600, dir_fd=self._there.fd)
        try:
            copy_data(self._here.fd, name, made, size)
        finally:
            os.close(made)

    def _dress(self, name: bytes) -> None:
        """Give a file owner, mode, attributes and times.

        In this order: a new owner clears set-user-ID bits and capabilities, and each step changes the time.
        """
        here, there = place(self._here.fd, name), place(self._there.fd, name)
        info = os.lstat(here)
        os.chown(there, info.st_uid, info.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(there, stat.S_IMODE(info.st_mode))
        wanted, present = attributes(here), attributes(there)
        for key in present.keys() - wanted.keys():
            os.removexattr(there, key, follow_symlinks=False)
        for key, value in wanted.items():
            if present.get(key) != value:
                self._set_attribute(name, key, value)
        os.utime(there, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)

    def _set_attribute(self, name: bytes, key: str, value: bytes) -> None:
        try:
            if self._marks is not None and key.startswith(self._marks):
                raise OSError(errno.ENOTSUP, "overlay would take it for a mark of its own")
            os.setxattr(place(self._there.fd, name), key, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
            shown = os.fsdecode(b"/".join(part for part in (self._path, name) if part not in (b"", b".")))
            raise DataError(f"attribute {key} of {shown!r} cannot be kept: {error.strerror}") from error


def _look(info: os.stat_result) -> tuple[int, ...]:
    size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
    return (info.st_mode, info.st_uid, info.st_gid, info.st_rdev, info.st_mtime_ns, size)
