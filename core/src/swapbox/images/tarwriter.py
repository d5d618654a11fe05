"""Write tar archives from open directories: ustar headers, and PAX records where those have no room (POSIX, pax).

As Docker's archives: whole seconds, no names of users, after the first of several hard links only links to it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from swapbox.errors import from_os_error
from swapbox.images.tarstream import BLOCK, CHARACTER, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK, TarEntry

END = bytes(1024)
"""What an archive ends with."""

_BLOCK = 512
_EXTENDED = ord("x")
_CHUNK = 256 * 1024
_ZEROS = bytes(_CHUNK)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}
_KEPT_XATTRS = ("user.", "trusted.", "system.posix_acl_")
_CAPABILITY = "security.capability"
_MARKS = ("trusted.overlay.", "user.overlay.")
_GONE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV})
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.ENOENT, errno.EACCES})

# name mode uid gid size mtime checksum type link magic version uname gname major minor prefix
_pack = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x").pack


class Packer:
    """Turns files into entries, and remembers the first of several hard links."""

    def __init__(self) -> None:
        self._links: dict[tuple[int, int], bytes] = {}

    def entry(self, name: bytes, parent: int, base: bytes, info: os.stat_result) -> tuple[TarEntry, int] | None:
        """Return an entry and a descriptor to read its content from and to close, or -1.

        None for sockets, and for what is another file meanwhile.

        :param name: in the archive; a directory gets its ``/``.
        :param parent: descriptor of the directory that holds it under ``base``.
        :param info: from lstat(2).
        """
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            return None
        if kind == DIRECTORY:
            return _entry(name.rstrip(b"/") + b"/", kind, info, xattrs=_xattrs(parent, base)), -1
        if (first := self._first(name, info)) is not None:
            return _entry(name, HARDLINK, info, link=first), -1
        if kind == REGULAR:
            found = _regular(name, parent, base)
        elif kind == SYMLINK:
            found = _symlink(name, parent, base, info)
        else:
            found = _entry(name, kind, info, xattrs=_xattrs(parent, base)), -1
        if found is None:
            self._links.pop((info.st_dev, info.st_ino), None)
        return found

    def _first(self, name: bytes, info: os.stat_result) -> bytes | None:
        """Return the name that a file with several already has in the archive."""
        if info.st_nlink < 2:
            return None
        known = self._links.setdefault((info.st_dev, info.st_ino), name)
        return None if known is name else known


class TarWriter:
    """Writes entries one after the other.

    :param write: takes the archive's bytes; it may be called with any number of them.
    :ivar size: bytes written so far.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.size = 0
        self._sink = write
        self._packer = Packer()

    def add(self, name: bytes, parent: int, base: bytes, info: os.stat_result) -> None:
        """Write one file; the parameters are those of :meth:`Packer.entry`."""
        packed = self._packer.entry(name, parent, base, info)
        if packed is None:
            return
        entry, fd = packed
        try:
            self.put(entry, fd)
        finally:
            if fd >= 0:
                os.close(fd)

    def put(self, entry: TarEntry, fd: int = -1) -> None:
        """Write an entry.

        :param fd: where a regular file's content is; as many bytes as the entry says are written.
        """
        self.put_pieces(entry, content(fd, entry.size) if entry.kind == REGULAR and entry.size else ())

    def put_pieces(self, entry: TarEntry, pieces: Iterable[bytes]) -> None:
        """Write an entry whose content, of the size that it says, comes in pieces."""
        self._write(_header(entry))
        for piece in pieces:
            self._write(piece)
        if padding := -entry.size % _BLOCK:
            self._write(_ZEROS[:padding])

    @staticmethod
    def length(entry: TarEntry) -> int:
        """Return how many bytes an entry takes in an archive."""
        return len(_header(entry)) + entry.size + -entry.size % _BLOCK

    def mark(self, name: bytes) -> None:
        """Write an empty file: a whiteout (OCI image-spec, ``layer.md``)."""
        self.put(TarEntry(name, REGULAR, 0, 0, 0, 0, 0))

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(END)

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        self._sink(data)


def content(fd: int, size: int) -> Iterator[bytes]:
    """Yield so many bytes of a file: holes, and what is cut off meanwhile, as zeros."""
    status = os.fstat(fd)
    sparse = status.st_blocks * _BLOCK < status.st_size
    at = 0
    while at < size:
        hole, end = _next_extent(fd, at, size) if sparse else (False, size)
        while at < end:
            want = min(_CHUNK, end - at)
            piece = _ZEROS[:want] if hole else os.pread(fd, want, at) or _ZEROS[:want]
            yield piece
            at += len(piece)


def _entry(
    name: bytes,
    kind: int,
    info: os.stat_result,
    *,
    size: int = 0,
    link: bytes = b"",
    xattrs: Mapping[bytes, bytes] | None = None,
) -> TarEntry:
    device = (os.major(info.st_rdev), os.minor(info.st_rdev)) if kind in (CHARACTER, BLOCK) else (0, 0)
    mode, mtime = stat.S_IMODE(info.st_mode), info.st_mtime_ns // 10**9 * 10**9
    return TarEntry(name, kind, mode, info.st_uid, info.st_gid, size, mtime, link, device, xattrs or {})


def _regular(name: bytes, parent: int, base: bytes) -> tuple[TarEntry, int] | None:
    try:
        fd = os.open(base, _READ, dir_fd=parent)
    except OSError as error:
        # A device cannot be opened where devices do not work; was it a file a moment ago?
        if error.errno not in _GONE and not (error.errno == errno.EACCES and _is_no_file(parent, base)):
            raise from_os_error(OSError(error.errno, error.strerror), f"read {os.fsdecode(name)}") from error
        return None
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        return None
    return _entry(name, REGULAR, info, size=info.st_size, xattrs=_xattrs_of(fd)), fd


def _is_no_file(parent: int, base: bytes) -> bool:
    try:
        return not stat.S_ISREG(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return True


def _symlink(name: bytes, parent: int, base: bytes, info: os.stat_result) -> tuple[TarEntry, int] | None:
    try:
        link = os.readlink(base, dir_fd=parent)
    except OSError:
        return None
    return _entry(name, SYMLINK, info, link=link, xattrs=_xattrs(parent, base)), -1


def _next_extent(fd: int, at: int, size: int) -> tuple[bool, int]:
    """Say whether there is a hole, and where it, or the data, ends."""
    try:
        data = os.lseek(fd, at, os.SEEK_DATA)
        if data > at:
            return True, min(data, size)
        return False, min(os.lseek(fd, at, os.SEEK_HOLE), size)
    except OSError:  # nothing but a hole is left, or the file is shorter now
        return True, size


def _xattrs(parent: int, base: bytes) -> Mapping[bytes, bytes]:
    return _read_xattrs(b"/proc/self/fd/%d/%b" % (parent, base), follow=False)


def _xattrs_of(fd: int) -> Mapping[bytes, bytes]:
    return _read_xattrs(fd, follow=True)


def _read_xattrs(file: int | bytes, *, follow: bool) -> Mapping[bytes, bytes]:
    found = {}
    try:
        for key in os.listxattr(file, follow_symlinks=follow):
            if key == _CAPABILITY or (key.startswith(_KEPT_XATTRS) and not key.startswith(_MARKS)):
                found[os.fsencode(key)] = os.getxattr(file, key, follow_symlinks=follow)
    except OSError as error:
        if error.errno not in _NO_XATTRS:
            raise
    return found


def _header(entry: TarEntry) -> bytes:
    """Return the header of one entry, with an extended one before it when it needs that."""
    mtime = entry.mtime // 10**9
    records = {b"SCHILY.xattr." + key: value for key, value in entry.xattrs.items()}
    for key, text in ((b"path", entry.name), (b"linkpath", entry.link)):
        if len(text) > 100:
            records[key] = text
    numbers = ((b"uid", entry.uid, 7), (b"gid", entry.gid, 7), (b"size", entry.size, 11), (b"mtime", mtime, 11))
    for key, number, digits in numbers:
        if not 0 <= number < 8**digits:
            records[key] = b"%d" % number
    header = _ustar(entry)
    if not records:
        return header
    data = b"".join(_record(key, value) for key, value in sorted(records.items()))
    extended = _ustar(TarEntry(b"PaxHeaders.0/" + entry.name[-80:], _EXTENDED, 0, 0, 0, len(data), 0))
    return extended + data + bytes(-len(data) % _BLOCK) + header


def _ustar(entry: TarEntry) -> bytes:
    fields: list[Any] = [entry.name[:100], _octal(entry.mode, 7), _octal(entry.uid, 7), _octal(entry.gid, 7)]
    fields += [_octal(entry.size, 11), _octal(entry.mtime // 10**9, 11), b" " * 8, bytes((entry.kind,))]
    fields += [entry.link[:100], b"ustar\0", b"00", b"", b"", *(_octal(number, 7) for number in entry.device), b""]
    block = _pack(*fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _octal(number: int, digits: int) -> bytes:
    return b"%0*o" % (digits, number if 0 <= number < 8**digits else 0)


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``length key=value\\n``, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
