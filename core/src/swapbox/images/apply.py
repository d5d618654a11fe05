"""Write a layer's tar archive into a directory, after the rules of the OCI image-spec (``layer.md``).

The archive is hostile: :class:`swapbox.images.rooted.RootedTree` keeps every path inside the target, and files are
created exclusively, never opened, so nothing is written through a link or a device.

How a few things that the specification leaves open are done, after Docker where Docker has an answer:

- ``/etc/x`` means ``etc/x``; ``a/../b`` means ``b``; ``../x`` is an error. Missing parents are made, mode 0755.
- A whiteout, opaque or not, hides what lower layers have and nothing of its own layer, whatever their order.
- Entries replace what is there; a directory keeps what is in it.
- A device that may not be made is left out when unprivileged, as Docker does in user namespaces.
- The 0:0 character device, by which overlay marks deletions, is never taken from an archive.
- Owner, mode and times of directories are set when all is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

from swapbox.config import Limits
from swapbox.drivers.storage import LayerTarget
from swapbox.errors import DataError, PermissionDenied, SwapboxError, Unavailable, Unsupported
from swapbox.images import sparse
from swapbox.images.attributes import Attributes, forget_xattrs
from swapbox.images.compression import RATIO_FREE, ByteSource
from swapbox.images.rooted import Directory, RootedTree, clear, make_directory, remove, split
from swapbox.images.tarstream import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARDLINK,
    REGULAR,
    SYMLINK,
    TarEntry,
    TarStream,
)

_WHITEOUT = b".wh."
_RESERVED = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PARENT_NAMES = frozenset({b"", b".", b".."})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HOST = frozenset({errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_SHOWN = 200
_DEFAULT_LIMITS = Limits()


class NeedsLower(Exception):
    """The layer refers to a directory or file of the layers below, which the target does not have."""


def _ignore(_message: str) -> None:
    """Drop a warning."""


def apply_layer(
    source: ByteSource,
    target: LayerTarget,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    unprivileged: bool = False,
    has_lower: bool = False,
    warn: Callable[[str], None] = _ignore,
) -> int:
    """Write a layer, reading the archive to its end; return the bytes of its files and symbolic links.

    :param source: the uncompressed archive.
    :param unprivileged: the caller lacks root's powers, or has them in a user namespace only.
    :param has_lower: there are layers below, and the target, an overlay directory, does not show them.
    :param warn: told, once, that the owners of files are left out.
    :raises NeedsLower: only with ``has_lower``: written here the layer would hide what it means to add to. The
        target has to be emptied, and the layer written where all layers show.
    :raises DataError: the archive is malformed, breaks a limit or tries to leave the target.
    :raises PermissionDenied: the caller may not write something, or not give it to its owner.
    :raises Unavailable: the disk is full or fails.
    """
    stream = TarStream(source)
    with RootedTree(target.path) as tree:
        attributes = Attributes(unprivileged=unprivileged, warn=warn)
        layer = _Layer(
            stream,
            tree,
            target=target,
            limits=limits,
            attributes=attributes,
            unprivileged=unprivileged,
            has_lower=has_lower,
        )
        layer.write()
    return layer.size


class _Layer:
    """One layer on its way to disk.

    ``_made`` holds every path of this layer, parents included; ``_directories`` the attributes to set at the end;
    ``_kept`` directories that were there before; ``_hidden`` the whiteout devices made in an overlay directory.
    Paths have no ``/`` at either end. ``size`` counts as Docker does: not directories, and hard links once.
    """

    def __init__(
        self,
        stream: TarStream,
        tree: RootedTree,
        *,
        target: LayerTarget,
        limits: Limits,
        attributes: Attributes,
        unprivileged: bool,
        has_lower: bool,
    ) -> None:
        self.size = 0
        self._stream = stream
        self._tree = tree
        self._limits = limits
        self._unprivileged = unprivileged
        self._attributes = attributes
        self._full_tree = target.whiteouts == "remove"
        self._alone = self._full_tree or not has_lower
        self._opaque = "user.overlay.opaque" if target.whiteouts == "overlay-user" else "trusted.overlay.opaque"
        self._made: set[bytes] = set()
        self._hidden: set[bytes] = set()
        self._kept: set[bytes] = set()
        self._directories: dict[bytes, TarEntry] = {}

    def write(self) -> None:
        name = b""
        try:
            for count, entry in enumerate(self._stream):
                name = entry.name
                if count == self._limits.max_entries:
                    raise DataError(
                        f"layer has more than {count} entries",
                        hint="if you trust where it comes from, raise limits.max-entries",
                    )
                self._entry(entry)
            self._finish_directories()
        except OSError as error:
            raise _translated(error, name) from error

    def _entry(self, entry: TarEntry) -> None:
        name = entry.name
        if len(name) > self._limits.max_path:
            raise DataError(
                f"path {_show(name)} has {len(name)} bytes, more than {self._limits.max_path}",
                hint="if you trust where it comes from, raise limits.max-path",
            )
        head, _, base = name.rpartition(b"/")
        if base in _PARENT_NAMES:
            *parts, base = split(name) or [b""]
            head = b"/".join(parts)
            if not base:
                self._root(entry)
                return
        if base.startswith(_WHITEOUT):
            self._whiteout(head, base)
            return
        if name.startswith(_RESERVED):
            return  # below the directory where aufs kept its own files
        parent = self._tree.opened.get(head) or self._parent(head)
        path = parent.prefix + base
        self._write(entry, parent, base, path)
        self._made.add(path)

    def _write(self, entry: TarEntry, parent: Directory, base: bytes, path: bytes) -> None:
        kind = entry.kind
        if kind == REGULAR:
            self.size += entry.size
            self._file(entry, parent, base, path)
        elif kind == DIRECTORY:
            self._directory(entry, parent, base, path)
        elif kind == SYMLINK:
            self.size += len(entry.link)
            self._replacing(parent, base, path, lambda: os.symlink(entry.link, base, dir_fd=parent.fd))
            self._attributes.set_at(entry, parent.fd, base)
        elif kind == HARDLINK:
            self._hardlink(entry, parent, base, path)
        else:
            self._node(entry, parent, base, path)

    def _file(self, entry: TarEntry, parent: Directory, base: bytes, path: bytes) -> None:
        try:
            fd = os.open(base, _CREATE, 0o600, dir_fd=parent.fd)
        except FileExistsError:
            self._vacate(parent, base, path)
            fd = os.open(base, _CREATE, 0o600, dir_fd=parent.fd)
        try:
            if entry.sparse is None:
                self._copy(fd, entry.size)
                if entry.size >= sparse.HOLE:
                    os.ftruncate(fd, entry.size)  # it may end with a hole
            else:
                self._copy_sparse(fd, entry)
            self._attributes.set_open(entry, fd)
        finally:
            os.close(fd)

    def _copy(self, fd: int, length: int) -> None:
        read = self._stream.read
        while length:
            piece = read(length)
            length -= len(piece)
            if sparse.is_hole(piece):
                os.lseek(fd, len(piece), os.SEEK_CUR)
                continue
            while piece:
                piece = piece[os.write(fd, piece) :]

    def _copy_sparse(self, fd: int, entry: TarEntry) -> None:
        segments = entry.sparse or ()
        stored = sum(length for _, length in segments)
        if entry.size > max(RATIO_FREE, stored * self._limits.max_ratio):
            raise DataError(
                f"sparse file {_show(entry.name)} has {stored} bytes of data and is {entry.size} bytes long",
                hint="if you trust where it comes from, raise limits.max-ratio",
            )
        for offset, length in segments:
            os.lseek(fd, offset, os.SEEK_SET)
            self._copy(fd, length)
        os.ftruncate(fd, entry.size)

    def _directory(self, entry: TarEntry, parent: Directory, base: bytes, path: bytes) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=parent.fd)
        except FileExistsError:
            if path in self._hidden:
                self._reveal(parent, base, path)
            elif not _is_directory(parent, base):
                self._vacate(parent, base, path)
                os.mkdir(base, 0o700, dir_fd=parent.fd)
            elif path not in self._made:
                self._kept.add(path)
        self._directories[path] = entry

    def _hardlink(self, entry: TarEntry, parent: Directory, base: bytes, path: bytes) -> None:
        *parts, target = split(entry.link) or [b"."]
        head = b"/".join(parts)

        def link() -> None:
            self._tree.reserve(2)
            into = self._tree.open(parent.prefix)
            source = self._tree.open(head)
            if source.prefix + target in self._hidden:
                raise FileNotFoundError
            os.link(target, base, src_dir_fd=source.fd, dst_dir_fd=into.fd, follow_symlinks=False)

        try:
            self._replacing(self._tree.open(parent.prefix), base, path, link)
        except (FileNotFoundError, NotADirectoryError) as error:
            if not self._alone:
                raise NeedsLower from error
            raise DataError(
                f"hard link {_show(entry.name)} leads to {_show(entry.link)}, which this layer does not have"
            ) from error

    def _node(self, entry: TarEntry, parent: Directory, base: bytes, path: bytes) -> None:
        if entry.kind == FIFO:
            self._replacing(parent, base, path, lambda: os.mkfifo(base, 0o600, dir_fd=parent.fd))
            self._attributes.set_at(entry, parent.fd, base)
            return
        major, minor = entry.device
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise DataError(f"device {_show(entry.name)} has number {major}:{minor}, which is out of range")
        if (entry.kind, major, minor) == (CHARACTER, 0, 0):
            raise DataError(f"device {_show(entry.name)} is the mark by which overlay knows deleted files")
        mode = 0o600 | (stat.S_IFBLK if entry.kind == BLOCK else stat.S_IFCHR)
        try:
            self._replacing(
                parent, base, path, lambda: os.mknod(base, mode, os.makedev(major, minor), dir_fd=parent.fd)
            )
        except PermissionError:
            if not self._unprivileged:
                raise
        else:
            self._attributes.set_at(entry, parent.fd, base)

    def _finish_directories(self) -> None:
        """Set attributes below before above: one may close a directory to its owner."""
        for path in sorted(self._directories, reverse=True):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # replaced later in the layer
                directory = self._tree.open(path).fd
                if path in self._kept:
                    forget_xattrs(directory)
                self._attributes.set_open(self._directories[path], directory)

    def _root(self, entry: TarEntry) -> None:
        if entry.kind != DIRECTORY:
            raise DataError(f"tar entry {_show(entry.name)} is the root of the tree and no directory")
        self._directories[b""] = entry
        self._kept.add(b"")

    # Parents, and what is in the way.

    def _parent(self, head: bytes) -> Directory:
        """Open a directory of this layer, making what is missing."""
        try:
            parent = self._open_parent(head)
        except (NotADirectoryError, FileNotFoundError) as error:
            if not self._alone and isinstance(error, FileNotFoundError):
                raise NeedsLower from error
            raise DataError(f"parent {_show(head)} is no directory") from error
        parts = parent.prefix.split(b"/")[:-1]
        self._made.update(b"/".join(parts[: count + 1]) for count in range(len(parts)))
        return parent

    def _open_parent(self, head: bytes) -> Directory:
        parts = split(head)
        if any(part.startswith(_WHITEOUT) for part in parts):
            raise DataError(f"parent {_show(head)} is a whiteout")
        try:
            return self._tree.open(head, create=self._alone)
        except NotADirectoryError:
            for count in range(len(parts)):
                path = b"/".join(parts[: count + 1])
                if path in self._hidden:
                    self._reveal(self._tree.open(b"/".join(parts[:count])), parts[count], path)
            return self._tree.open(head, create=self._alone)

    def _replacing(self, parent: Directory, base: bytes, path: bytes, make: Callable[[], None]) -> None:
        try:
            make()
        except FileExistsError:
            self._vacate(parent, base, path)
            make()

    def _vacate(self, parent: Directory, base: bytes, path: bytes) -> None:
        mode = os.lstat(base, dir_fd=parent.fd).st_mode
        remove(parent.fd, base)
        self._hidden.discard(path)
        self._directories.pop(path, None)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._tree.forget(but=parent)

    # Whiteouts.

    def _whiteout(self, head: bytes, base: bytes) -> None:
        name = base[len(_WHITEOUT) :]
        if base == _OPAQUE:
            self._hide_below(head)
        elif base.startswith(_RESERVED):
            return
        elif name in _PARENT_NAMES:
            raise DataError(f"whiteout {_show(head + b'/' + base)} names no file")
        elif self._full_tree:
            self._delete(head, name)
        else:
            self._hide(head, name)

    def _hide_below(self, head: bytes) -> None:
        """Make a directory opaque: nothing of the lower layers shows in it."""
        if not self._full_tree:
            self._mark_opaque(self._parent(head).fd)
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            directory = self._tree.open(head)
            clear(directory.fd, b".", prefix=directory.prefix, kept=self._made)
            self._tree.forget()

    def _delete(self, head: bytes, name: bytes) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            parent = self._tree.open(head)
            path = parent.prefix + name
            if path not in self._made:
                self._vacate(parent, name, path)
            elif _is_directory(parent, name):
                clear(parent.fd, name, prefix=path + b"/", kept=self._made)
                self._tree.forget()

    def _hide(self, head: bytes, name: bytes) -> None:
        parent = self._parent(head)
        path = parent.prefix + name
        if path in self._hidden:
            return
        if path not in self._made:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent.fd)
            self._hidden.add(path)
        elif _is_directory(parent, name):
            self._mark_opaque(self._tree.open(path).fd)

    def _reveal(self, parent: Directory, name: bytes, path: bytes) -> None:
        """Put a directory where a whiteout is; nothing of the lower layers shows in it."""
        os.unlink(name, dir_fd=parent.fd)
        self._hidden.discard(path)
        fd = make_directory(parent.fd, name)
        try:
            self._mark_opaque(fd)
        finally:
            os.close(fd)

    def _mark_opaque(self, fd: int) -> None:
        try:
            os.setxattr(fd, self._opaque, b"y")
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
            raise Unsupported(f"the file system does not take the attribute {self._opaque}") from error


def _is_directory(parent: Directory, name: bytes) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=parent.fd).st_mode)


def _show(name: bytes) -> str:
    return repr(os.fsdecode(name if len(name) <= _SHOWN else name[:_SHOWN] + b"..."))


def _translated(error: OSError, name: bytes) -> SwapboxError:
    """Tell what the host lacks from what the archive asks for in vain."""
    reason = os.strerror(error.errno or 0).lower()
    if error.errno in _FULL:
        return Unavailable(f"cannot unpack {_show(name)}: {reason}", hint="free some with: swapbox system prune")
    if error.errno in _HOST:
        return Unavailable(f"cannot unpack {_show(name)}: {reason}")
    if error.errno in (errno.EPERM, errno.EACCES):
        return PermissionDenied(f"cannot unpack {_show(name)}: {reason}")
    return DataError(f"cannot unpack {_show(name)}: {reason}")
