"""Write files into a tree whose owner may be writing there too: what ``docker cp`` does at its destination.

:class:`swapbox.images.rooted.RootedTree` keeps every path in the tree. Files are made exclusively and never
opened, and what has been made is described through its descriptor, never by its name: a container that puts a link
in a name's place makes the copy fail, and nothing else. Unlike a layer, an archive here has no whiteouts, and a
directory and something else never replace each other.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from swapbox.errors import Conflict, DataError, from_os_error
from swapbox.images.attributes import Attributes
from swapbox.images.rooted import Directory, RootedTree, split
from swapbox.images.sparse import is_hole
from swapbox.images.tarstream import BLOCK, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK, TarEntry
from swapbox.linux import descent

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 3


class Extractor:
    """Takes entries and writes them below a directory; a context manager that ends with the directories' times.

    :param root: the tree's root; links are resolved inside it.
    :param at: the directory in it, without a ``/`` at its start; empty for the root itself.
    :param shown: that directory as errors show it.
    :param owner: uid and gid of everything; None leaves each entry its own.
    """

    def __init__(
        self,
        root: Path,
        at: bytes,
        *,
        shown: str,
        owner: tuple[int, int] | None,
        unprivileged: bool,
        warn: Callable[[str], None],
    ) -> None:
        self._tree = RootedTree(root)
        self._at = at
        self._shown = shown
        self._owner = owner
        self._attributes = Attributes(unprivileged=unprivileged, warn=warn)
        self._directories: dict[bytes, int] = {}

    def put(self, entry: TarEntry, pieces: Iterable[bytes | memoryview]) -> None:
        """Write one entry.

        :param pieces: a regular file's content.
        :raises Conflict: it would replace a directory, or a directory would replace something else.
        :raises DataError: its name leads out of the tree.
        :raises SwapboxError: it cannot be written.
        """
        *parts, base = split(entry.name) or [b""]
        if not base:
            return
        if self._owner is not None:
            entry = entry._replace(uid=self._owner[0], gid=self._owner[1])
        head = b"/".join((self._at, *parts) if self._at else parts)
        try:
            self._put(entry, self._tree.open(head, create=True), base, pieces)
        except OSError as error:
            plain = OSError(error.errno, os.strerror(error.errno or 0).lower())
            raise from_os_error(plain, f"write {self._path(entry)}") from error

    def _put(self, entry: TarEntry, parent: Directory, base: bytes, pieces: Iterable[bytes | memoryview]) -> None:
        for attempt in range(_ATTEMPTS):
            self._make_room(entry, parent, base)
            try:
                self._write(entry, parent, base, pieces)
                break
            except FileExistsError:  # somebody has made it again
                if attempt == _ATTEMPTS - 1:
                    raise

    def _path(self, entry: TarEntry) -> str:
        return "/".join((self._shown.rstrip("/"), *map(os.fsdecode, split(entry.name))))

    def _make_room(self, entry: TarEntry, parent: Directory, base: bytes) -> None:
        try:
            mode = os.stat(base, dir_fd=parent.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        path, place = self._path(entry), self._shown
        if stat.S_ISDIR(mode):
            if entry.kind != DIRECTORY:
                raise Conflict(f'cannot overwrite directory "{path}" with non-directory "{place}"')
        elif entry.kind == DIRECTORY:
            raise Conflict(f'cannot overwrite non-directory "{path}" with directory "{place}"')
        else:
            if _is_mount_point(parent.fd, base):
                raise Conflict(f"unlinkat {path}: device or resource busy")
            os.unlink(base, dir_fd=parent.fd)
            if stat.S_ISLNK(mode):  # names that led through it lead elsewhere now
                self._tree.forget(but=parent)

    def _write(
        self, entry: TarEntry, parent: Directory, base: bytes, pieces: Iterable[bytes | memoryview]
    ) -> None:
        if entry.kind == REGULAR:
            self._file(entry, parent, base, pieces)
        elif entry.kind == DIRECTORY:
            self._directory(entry, parent, base)
        elif entry.kind == SYMLINK:
            os.symlink(entry.link, base, dir_fd=parent.fd)
            self._attributes.set_at(entry, parent.fd, base)
        elif entry.kind == HARDLINK:
            self._hardlink(entry, parent, base)
        else:
            self._node(entry, parent, base)

    def _file(self, entry: TarEntry, parent: Directory, base: bytes, pieces: Iterable[bytes | memoryview]) -> None:
        fd = os.open(base, _CREATE, 0o600, dir_fd=parent.fd)
        try:
            for piece in pieces:
                _write_all(fd, piece)
            os.ftruncate(fd, entry.size)
            self._attributes.set_open(entry, fd)
        finally:
            os.close(fd)

    def _directory(self, entry: TarEntry, parent: Directory, base: bytes) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(base, 0o700, dir_fd=parent.fd)
        fd = os.open(base, descent.DIRECTORY, dir_fd=parent.fd)
        try:
            self._attributes.set_open(entry, fd)
        finally:
            os.close(fd)
        self._directories[parent.prefix + base] = entry.mtime

    def _hardlink(self, entry: TarEntry, parent: Directory, base: bytes) -> None:
        *parts, target = split(entry.link) or [b"."]
        head = b"/".join((self._at, *parts) if self._at else parts)
        self._tree.reserve(2)
        into = self._tree.open(parent.prefix)
        try:
            source = self._tree.open(head)
            os.link(target, base, src_dir_fd=source.fd, dst_dir_fd=into.fd, follow_symlinks=False)
        except FileNotFoundError:
            name, link = os.fsdecode(entry.name), os.fsdecode(entry.link)
            raise DataError(f"hard link {name!r} leads to {link!r}, which is not there") from None

    def _node(self, entry: TarEntry, parent: Directory, base: bytes) -> None:
        kind = stat.S_IFIFO if entry.kind == FIFO else stat.S_IFBLK if entry.kind == BLOCK else stat.S_IFCHR
        os.mknod(base, kind | 0o600, os.makedev(*entry.device), dir_fd=parent.fd)
        fd = os.open(base, _PIN, dir_fd=parent.fd)
        try:
            if stat.S_IFMT(os.fstat(fd).st_mode) != kind:
                raise Conflict(f"{os.fsdecode(base)!r} was replaced while it was being copied")
            self._attributes.set_pinned(entry, fd)
        finally:
            os.close(fd)

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        try:
            for path in sorted(self._directories, reverse=True) if kind is None else ():
                with contextlib.suppress(OSError):  # somebody has moved or removed it
                    os.utime(self._tree.open(path).fd, ns=(self._directories[path],) * 2)
        finally:
            self._tree.close()


def _is_mount_point(parent: int, base: bytes) -> bool:
    """Say whether something is mounted on a file: the kernel would take that away from the container, too."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(base, _PIN, dir_fd=parent)
        try:
            return _mount_of(fd) != _mount_of(parent)
        finally:
            os.close(fd)
    return False


def _mount_of(fd: int) -> str:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(line for line in file if line.startswith("mnt_id"))


def _write_all(fd: int, piece: bytes | memoryview) -> None:
    """Write a piece; a long one of zeros leaves a hole."""
    if is_hole(piece):
        os.lseek(fd, len(piece), os.SEEK_CUR)
        return
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]
