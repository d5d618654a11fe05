"""A fast streaming reader of tar archives: ustar, GNU and PAX (POSIX.1-2017 pax, the GNU tar manual's appendix D).

Entries come as they are in the archive, names and all: where they may be written is :mod:`swapbox.images.apply`'s
business. Names, link targets and extended attributes are bytes, as the kernel takes them. It does a third of
the work per entry that the standard library's ``tarfile`` does, and a layer has ten thousand of them.

What is malformed raises ``DataError``, whatever it is: an archive is written by strangers.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from swapbox.errors import DataError
from swapbox.images import sparse
from swapbox.images.compression import CHUNK, ByteSource
from swapbox.images.pax import Records, parse_records, parse_size, parse_time

REGULAR = ord("0")
HARDLINK = ord("1")
SYMLINK = ord("2")
CHARACTER = ord("3")
BLOCK = ord("4")
DIRECTORY = ord("5")
FIFO = ord("6")

_OLD_REGULAR, _CONTIGUOUS, _GNU_SPARSE = ord("\0"), ord("7"), ord("S")
_KINDS = {kind: kind for kind in b"0123456"} | dict.fromkeys((_OLD_REGULAR, _CONTIGUOUS, _GNU_SPARSE), REGULAR)
_GNU_NAME, _GNU_LINK = ord("L"), ord("K")
_PAX, _PAX_SOLARIS, _PAX_GLOBAL = ord("x"), ord("X"), ord("g")
_METADATA = frozenset({_GNU_NAME, _GNU_LINK, _PAX, _PAX_SOLARIS, _PAX_GLOBAL})

_BLOCK_SIZE = 512
_ZEROS = bytes(_BLOCK_SIZE)
_METADATA_LIMIT = 1024 * 1024  # as Go's archive/tar: what Docker reads, we read
_ID_LIMIT = 2**32 - 1  # the last id means "leave it" to chown(2)
_SIZE_LIMIT = 2**63
_ADLER_MODULUS = 65521
_NUMBERS_KEPT = 4096
_NOTHING = memoryview(b"")
_XATTR = b"SCHILY.xattr."
_NO_XATTRS: Mapping[bytes, bytes] = {}

# name mode uid gid size mtime checksum type link magic+version [uname gname] major minor prefix
_fields = struct.Struct("100s8s8s8s12s12s8sB100s8s64x8s8s155s12x").unpack


class TarEntry(NamedTuple):
    """One file of an archive.

    :param name: as in the archive: perhaps absolute, with ``..``, ``./`` or a ``/`` at its end; never empty.
    :param kind: ``REGULAR``, ``HARDLINK``, ... of this module.
    :param mode: permission bits, set-id and sticky bits included.
    :param size: bytes of a regular file once written, 0 for every other kind.
    :param mtime: nanoseconds since the epoch.
    :param link: target of a hard or symbolic link.
    :param device: major and minor number of a device node.
    :param sparse: where the data of the body belongs, as (offset, length); None for a file without holes.
    """

    name: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = _NO_XATTRS
    sparse: sparse.Segments | None = None


class TarStream:
    """Iterates over the entries; :meth:`read` gives the body of the current one, and what is not read is skipped.

    At the archive's end the source is read to *its* end. Missing end blocks are forgiven, as GNU tar does.

    :param source: uncompressed bytes.
    :param seek: passes over so many bytes of the source; given when that is cheaper than reading them.
    :ivar bytes_read: how many bytes the source gave so far.
    """

    def __init__(self, source: ByteSource, *, seek: Callable[[int], object] | None = None) -> None:
        self.bytes_read = 0
        self._source = source
        self._seek = seek
        self._buffer = b""
        self._view = _NOTHING
        self._at = 0  # in the buffer
        self._left = 0  # of the current body
        self._padding = 0  # behind it
        self._globals: Records = {}
        self._numbers: dict[bytes, int] = {}

    def __iter__(self) -> Iterator[TarEntry]:
        return self

    def __next__(self) -> TarEntry:
        name = link = b""
        records: Records | None = None
        while header := self._header():
            fields = _fields(header)
            kind = fields[7]
            if kind not in _METADATA:
                entry = self._entry(header, fields)
                if records or self._globals:
                    entry = self._extended(entry, {**self._globals, **(records or {})})
                if name or link:
                    entry = entry._replace(name=name or entry.name, link=link or entry.link)
                return _checked(entry)
            data = self._metadata(fields)
            if kind == _GNU_NAME:
                name = data.rstrip(b"\0")
            elif kind == _GNU_LINK:
                link = data.rstrip(b"\0")
            elif kind == _PAX_GLOBAL:
                self._globals.update(parse_records(data))
            else:
                records = parse_records(data)
        if name or link or records:
            raise DataError("invalid tar archive: it ends after an extended header")
        raise StopIteration

    @property
    def offset(self) -> int:
        """Where in the source the rest of the current entry's body begins, in bytes."""
        return self.bytes_read - (len(self._buffer) - self._at)

    def read(self, size: int = CHUNK, /) -> memoryview:
        """Return up to ``size`` bytes of the current entry's body, without a copy; none at its end.

        :raises DataError: the archive is truncated.
        """
        left = self._left
        if not left:
            return _NOTHING
        if self._at == len(self._buffer):
            self._refill()
        at = self._at
        piece = self._view[at : at + (size if size < left else left)]
        self._at += len(piece)
        self._left = left - len(piece)
        return piece

    def _entry(self, header: bytes, fields: tuple[Any, ...]) -> TarEntry:
        """Read the fields of a header block and set up its body."""
        name, mode, uid, gid, size, mtime, _, flag, link, magic, major, minor, prefix = fields
        kind = _KINDS.get(flag)
        name = name.partition(b"\0")[0]
        if prefix[0] and magic.startswith(b"ustar\0"):
            name = prefix.partition(b"\0")[0] + b"/" + name
        if kind is None:
            raise DataError(f"tar entry {_show(name)} has unknown type {chr(flag)!r}")
        if flag == _OLD_REGULAR and name.endswith(b"/"):
            kind = DIRECTORY
        number = self._number
        length = number(size) if kind == REGULAR else 0
        device, segments, real_size = (0, 0), None, length
        if kind in (CHARACTER, BLOCK):
            device = number(major), number(minor)
        elif flag == _GNU_SPARSE:
            segments, real_size = sparse.from_header(header, self._block, number)
            sparse.check(segments, size=real_size, stored=length)
        self._set_body(length)
        return TarEntry(
            name,
            kind,
            number(mode) & 0o7777,
            number(uid),
            number(gid),
            real_size,
            number(mtime) * 1_000_000_000,
            link.partition(b"\0")[0],
            device,
            _NO_XATTRS,
            segments,
        )

    def _extended(self, entry: TarEntry, records: Records) -> TarEntry:
        """Override what the header block says with extended records; an empty value overrides nothing."""
        changes: dict[str, Any] = {}
        for key, value in records.items():
            if not value:
                continue
            if key == b"path":
                changes["name"] = value
            elif key == b"linkpath":
                changes["link"] = value
            elif key in (b"uid", b"gid"):
                changes[key.decode()] = parse_size(value, key.decode())
            elif key == b"mtime":
                changes["mtime"] = parse_time(value)
            elif key == b"size" and entry.kind == REGULAR:
                changes["size"] = parse_size(value, "size")
                self._set_body(changes["size"])
            elif key.startswith(_XATTR):
                changes.setdefault("xattrs", {})[key[len(_XATTR) :]] = value
        if entry.kind == REGULAR and entry.sparse is None:
            changes |= self._sparse(records)
        return entry._replace(**changes)

    def _sparse(self, records: Records) -> dict[str, Any]:
        found = sparse.from_records(records, self._body_block)
        if found is None:
            return {}
        segments, size = found
        changes: dict[str, Any] = {"sparse": sparse.check(segments, size=size, stored=self._left), "size": size}
        if name := records.get(b"GNU.sparse.name"):
            changes["name"] = name
        return changes

    def _set_body(self, size: int) -> None:
        if not 0 <= size < _SIZE_LIMIT:
            raise DataError(f"invalid tar archive: an entry of {size} bytes")
        self._left = size
        self._padding = -size % _BLOCK_SIZE

    def _metadata(self, fields: tuple[Any, ...]) -> bytes:
        """Read the body of an extended header or long name."""
        size = self._number(fields[4])
        if not 0 <= size <= _METADATA_LIMIT:
            raise DataError(f"invalid tar archive: an extended header of {size} bytes")
        data = self._take(size + -size % _BLOCK_SIZE)
        return data[:size]

    def _number(self, field: bytes) -> int:
        """Read a numeric field; few values make up most of an archive, so they are remembered."""
        value = self._numbers.get(field)
        if value is None:
            if len(self._numbers) >= _NUMBERS_KEPT:
                self._numbers.clear()
            value = self._numbers[field] = _parse_number(field)
        return value

    def _header(self) -> bytes:
        """Take the next header block, its checksum verified; empty at the end of the archive."""
        skip = self._left + self._padding
        if skip:
            self._skip(skip)
        if self._at == len(self._buffer) and not self._read_more():
            return b""
        header = self._take(_BLOCK_SIZE)
        if header == _ZEROS:
            return self._end()
        _check_sum(header)
        return header

    def _end(self) -> bytes:
        """Make sure that nothing but an end follows the first block of zeros."""
        if (self._at < len(self._buffer) or self._read_more()) and self._take(_BLOCK_SIZE) != _ZEROS:
            raise DataError("invalid tar archive: data after its end")
        while self._read_more():
            pass
        self._at = len(self._buffer)
        return b""

    def _block(self) -> bytes:
        return self._take(_BLOCK_SIZE)

    def _body_block(self) -> bytes:
        """Take a block of the current body."""
        if self._left < _BLOCK_SIZE:
            raise DataError("invalid tar archive: sparse map is longer than the entry")
        self._left -= _BLOCK_SIZE
        return self._take(_BLOCK_SIZE)

    def _take(self, size: int) -> bytes:
        """Return exactly ``size`` bytes."""
        while (end := self._at + size) > len(self._buffer):
            self._refill()
        data = self._buffer[self._at : end]
        self._at = end
        return data

    def _skip(self, size: int) -> None:
        beyond = size - (len(self._buffer) - self._at)
        if beyond > 0 and self._seek is not None:
            self._seek(beyond)
            self.bytes_read += beyond
            self._at, size = len(self._buffer), 0
        while size > (there := len(self._buffer) - self._at):
            size -= there
            self._at = len(self._buffer)
            self._refill()
        self._at += size
        self._left = self._padding = 0

    def _refill(self) -> None:
        """Get more bytes behind those not taken yet."""
        if not self._read_more():
            raise DataError("truncated tar archive")

    def _read_more(self) -> bool:
        data = self._source.read(CHUNK)
        self.bytes_read += len(data)
        if data:
            rest = self._buffer[self._at :]
            self._buffer = rest + data if rest else data
            self._view = memoryview(self._buffer)
            self._at = 0
        return bool(data)


def _check_sum(header: bytes) -> None:
    """Compare the header's checksum: the sum of its bytes, where the checksum's own eight count as spaces.

    Adler-32's low half is that sum plus one, modulo a prime, and many times as fast as ``sum``.
    """
    stored = _parse_number(header[148:156])
    own = sum(header[148:156]) - 8 * 0x20
    if ((zlib.adler32(header) & 0xFFFF) - 1 - own - stored) % _ADLER_MODULUS:
        # Some historical archivers summed signed bytes.
        signed = sum(byte - ((byte & 0x80) << 1) for byte in header[:148] + b" " * 8 + header[156:])
        if signed != stored:
            raise DataError("invalid tar archive: wrong header checksum")


def _parse_number(field: bytes) -> int:
    """Read octal digits, or GNU's base-256 where the first bit is set."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    text = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
    if not text:
        return 0
    if text.isdigit() and b"8" not in text and b"9" not in text:
        return int(text, 8)
    raise DataError(f"invalid tar archive: malformed number {field!r} in a header")


def _checked(entry: TarEntry) -> TarEntry:
    """Return the entry when every value is one that the kernel can be given."""
    if not entry.name or b"\0" in entry.name or b"\0" in entry.link:
        raise DataError(f"tar entry {_show(entry.name)} has an empty name or a null byte in it")
    if not (0 <= entry.uid < _ID_LIMIT and 0 <= entry.gid < _ID_LIMIT):
        raise DataError(f"tar entry {_show(entry.name)} has owner {entry.uid}:{entry.gid}, which is out of range")
    if not entry.link and entry.kind in (HARDLINK, SYMLINK):
        raise DataError(f"tar entry {_show(entry.name)} is a link to nothing")
    if entry.xattrs and any(not key or b"\0" in key for key in entry.xattrs):
        raise DataError(f"tar entry {_show(entry.name)} has an invalid extended attribute")
    if not -_SIZE_LIMIT <= entry.mtime < _SIZE_LIMIT:
        return entry._replace(mtime=0)  # as Docker does
    return entry


def _show(name: bytes) -> str:
    return repr(os.fsdecode(name[:200]))
