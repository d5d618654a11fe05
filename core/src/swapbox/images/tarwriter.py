"""Write tar archives from open directories: ustar headers, and PAX records where those have no room (POSIX, pax).

As Docker's archives: whole seconds, no names of users, after the first of several hard links only links to it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Mapping
from typing import Any

from swapbox.images.tarstream import BLOCK, CHARACTER, DIRECTORY, FIFO, HARDLINK, REGULAR, SYMLINK

END = bytes(1024)
"""What an archive ends with."""

_BLOCK = 512
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
_GONE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.ENODEV})
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.ENOENT, errno.EACCES})

# name mode uid gid size mtime checksum type link magic version uname gname major minor prefix
_pack = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x").pack


class TarWriter:
    """Writes entries one after the other.

    :param write: takes the archive's bytes; it may be called with any number of them.
    :ivar size: bytes written so far.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.size = 0
        self._sink = write
        self._links: dict[tuple[int, int], bytes] = {}

    def add(self, name: bytes, parent: int, base: bytes, info: os.stat_result) -> None:
        """Write one file; sockets, and what is another file meanwhile, are left out.

        :param name: in the archive; a directory gets its ``/``.
        :param parent: descriptor of the directory that holds it under ``base``.
        :param info: from lstat(2).
        """
        kind = _KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            return
        if kind == DIRECTORY:
            self._entry(name.rstrip(b"/") + b"/", kind, info, xattrs=_xattrs(parent, base))
        elif (first := self._first(name, info)) is not None:
            self._entry(name, HARDLINK, info, link=first)
        elif kind == REGULAR:
            self._file(name, parent, base, info)
        elif kind == SYMLINK:
            self._symlink(name, parent, base, info)
        else:
            self._entry(name, kind, info, xattrs=_xattrs(parent, base))

    def mark(self, name: bytes, mtime: int = 0) -> None:
        """Write an empty file of root's: a whiteout (OCI image-spec, ``layer.md``)."""
        self._write(_header(name, REGULAR, mode=0, mtime=mtime))

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(END)

    def _first(self, name: bytes, info: os.stat_result) -> bytes | None:
        """Return the name that a file with several already has in the archive."""
        if info.st_nlink < 2:
            return None
        known = self._links.setdefault((info.st_dev, info.st_ino), name)
        return None if known is name else known

    def _file(self, name: bytes, parent: int, base: bytes, info: os.stat_result) -> None:
        try:
            fd = os.open(base, _READ, dir_fd=parent)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._forget(info)
            return
        try:
            now = os.fstat(fd)
            if not stat.S_ISREG(now.st_mode):
                self._forget(info)
                return
            self._entry(name, REGULAR, now, size=now.st_size, xattrs=_xattrs_of(fd))
            self._body(fd, now.st_size, sparse=now.st_blocks * _BLOCK < now.st_size)
        finally:
            os.close(fd)

    def _forget(self, info: os.stat_result) -> None:
        self._links.pop((info.st_dev, info.st_ino), None)

    def _body(self, fd: int, size: int, *, sparse: bool) -> None:
        """Write as many bytes as were announced: holes, and what is cut off meanwhile, as zeros."""
        at = 0
        while at < size:
            hole, end = _next_extent(fd, at, size) if sparse else (False, size)
            while at < end:
                want = min(_CHUNK, end - at)
                piece = _ZEROS[:want] if hole else os.pread(fd, want, at) or _ZEROS[:want]
                self._write(piece)
                at += len(piece)
        self._write(_ZEROS[: -size % _BLOCK])

    def _symlink(self, name: bytes, parent: int, base: bytes, info: os.stat_result) -> None:
        try:
            link = os.readlink(base, dir_fd=parent)
        except OSError:
            return self._forget(info)
        self._entry(name, SYMLINK, info, link=link, xattrs=_xattrs(parent, base))
        return None

    def _entry(
        self,
        name: bytes,
        kind: int,
        info: os.stat_result,
        *,
        size: int = 0,
        link: bytes = b"",
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        device = (0, 0)
        if kind in (CHARACTER, BLOCK):
            device = os.major(info.st_rdev), os.minor(info.st_rdev)
        self._write(
            _header(
                name,
                kind,
                mode=stat.S_IMODE(info.st_mode),
                uid=info.st_uid,
                gid=info.st_gid,
                size=size,
                mtime=info.st_mtime_ns // 10**9,
                link=link,
                device=device,
                xattrs=xattrs or {},
            )
        )

    def _write(self, data: bytes) -> None:
        self.size += len(data)
        self._sink(data)


def _next_extent(fd: int, at: int, size: int) -> tuple[bool, int]:
    """Say whether there is a hole, and where it, or the data, ends."""
    try:
        data = os.lseek(fd, at, os.SEEK_DATA)
    except OSError:  # nothing but a hole is left, or the file is shorter now
        return True, size
    if data > at:
        return True, min(data, size)
    return False, min(os.lseek(fd, at, os.SEEK_HOLE), size)


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


def _header(
    name: bytes,
    kind: int,
    *,
    mode: int,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[bytes, bytes] | None = None,
) -> bytes:
    """Return the header of one entry, with an extended one before it when it needs that."""
    records = {b"SCHILY.xattr." + key: value for key, value in (xattrs or {}).items()}
    for key, text in ((b"path", name), (b"linkpath", link)):
        if len(text) > 100:
            records[key] = text
    for key, number, digits in ((b"uid", uid, 7), (b"gid", gid, 7), (b"size", size, 11), (b"mtime", mtime, 11)):
        if not 0 <= number < 8**digits:
            records[key] = b"%d" % number
    header = _ustar(name, kind, mode, uid, gid, size, mtime, link, device)
    if not records:
        return header
    data = b"".join(_record(key, value) for key, value in sorted(records.items()))
    extended = _ustar(b"PaxHeaders.0/" + name[-80:], ord("x"), 0, 0, 0, len(data), 0, b"", (0, 0))
    return extended + data + bytes(-len(data) % _BLOCK) + header


def _ustar(
    name: bytes,
    kind: int,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime: int,
    link: bytes,
    device: tuple[int, int],
) -> bytes:
    fields: list[Any] = [name[:100], _octal(mode, 7), _octal(uid, 7), _octal(gid, 7), _octal(size, 11)]
    fields += [_octal(mtime, 11), b" " * 8, bytes((kind,)), link[:100], b"ustar\0", b"00", b"", b""]
    fields += [_octal(device[0], 7), _octal(device[1], 7), b""]
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
