"""Decompression of layers and archives: gzip, zstd, bzip2, xz or none, told apart by their first bytes.

The media type is a claim. Registries hold plain tars labelled ``+gzip``, and every engine takes them, so only a
claim of one compression over the bytes of another is an error.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from swapbox.errors import DataError, Unsupported
from swapbox.images.zstd import decompress_zstd

CHUNK = 1024 * 1024
"""Bytes per piece: every piece costs its thread a wait for the interpreter lock."""

RATIO_FREE = 1024**3
"""Bytes that may come out whatever the ratio is."""

_GZIP_WITH_HEADER = 31  # zlib's wbits: the largest window, gzip framing
_LZMA_MEMORY = 1024**3
_GZIP_MAGIC = b"\x1f\x8b"
_BZIP2_MAGIC = b"BZh"
_XZ_MAGIC = b"\xfd7zXZ\0"


class ByteSource(Protocol):
    """Anything bytes can be read from; a read may return fewer than asked for, and none at the end only."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes."""
        ...


class Decompressed:
    """The uncompressed bytes of a source.

    :ivar compressed_bytes: how many were read from the source so far.
    :ivar uncompressed_bytes: how many came out so far.
    """

    def __init__(self, source: ByteSource, media_type: str, max_ratio: int | None) -> None:
        self.compressed_bytes = 0
        self.uncompressed_bytes = 0
        self._source = source
        self._max_ratio = max_ratio
        self._pieces = self._decode(media_type)
        self._rest = b""

    def read(self, size: int = CHUNK, /) -> bytes:
        """Return up to ``size`` bytes, none at the end.

        :raises DataError: the data is corrupt or truncated, grows more than the ratio allows, or is compressed in
            another way than was claimed.
        :raises Unsupported: it is encrypted.
        """
        if not self._rest:
            self._rest = next(self._pieces, b"")
            self.uncompressed_bytes += len(self._rest)
            self._check_ratio()
        piece = self._rest
        if 0 <= size < len(piece):
            self._rest = piece[size:]
            return piece[:size]
        self._rest = b""
        return piece

    def _decode(self, media_type: str) -> Iterator[bytes]:
        if media_type.endswith("+encrypted"):
            raise Unsupported(f"layer of type {media_type} is encrypted")
        head = b""
        while len(head) < 6 and (data := self._feed()):
            head += data
        name, decoder = _recognize(head)
        claimed = media_type.rpartition("+")[2]
        if claimed in ("gzip", "zstd") and name not in (claimed, "tar"):
            raise DataError(f"data of type {media_type} is compressed with {name}")
        yield from decoder(_Pushed(head, self._feed).read)

    def _feed(self) -> bytes:
        data = self._source.read(CHUNK)
        self.compressed_bytes += len(data)
        return data

    def _check_ratio(self) -> None:
        size = self.uncompressed_bytes
        if self._max_ratio is not None and size > max(RATIO_FREE, self.compressed_bytes * self._max_ratio):
            raise DataError(
                f"{self.compressed_bytes} compressed bytes grow to more than {size} bytes, "
                f"over {self._max_ratio} times as many",
                hint="if you trust where it comes from, raise limits.max-ratio",
            )


def decompress(source: ByteSource, media_type: str = "", *, max_ratio: int | None = None) -> Decompressed:
    """Return a reader of the uncompressed bytes; nothing is read yet, and the source stays the caller's to close.

    :param media_type: what the data claims to be; empty when nothing is claimed.
    :param max_ratio: how many bytes one compressed byte may become, on average, once more than 1 GiB came out.
    """
    return Decompressed(source, media_type, max_ratio)


_Feed = Callable[[], bytes]


class _Pushed:
    """Gives back what was read to recognize the format, then the rest."""

    def __init__(self, head: bytes, feed: _Feed) -> None:
        self._head = head
        self._feed = feed

    def read(self) -> bytes:
        head, self._head = self._head, b""
        return head or self._feed()


def _recognize(head: bytes) -> tuple[str, Callable[[_Feed], Iterator[bytes]]]:
    if head.startswith(_GZIP_MAGIC):
        return "gzip", _gunzip
    # A zstd frame, or one of the sixteen kinds of skippable frame that may come before it (RFC 8878).
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd", decompress_zstd
    if head.startswith(_BZIP2_MAGIC):
        return "bzip2", _bunzip2
    if head.startswith(_XZ_MAGIC):
        return "xz", _unxz
    return "tar", lambda feed: iter(feed, b"")


def _gunzip(feed: _Feed) -> Iterator[bytes]:
    """Decompress with isal where it is installed: five times as fast as zlib."""
    try:
        from isal.igzip_lib import DECOMP_GZIP, IgzipDecompressor, IsalError
    except ImportError:
        return _pump(feed, _Gunzip, "gzip", zlib.error, magic=_GZIP_MAGIC)
    # Not isal_zlib: it gives the interpreter lock away every 16 KiB, and waits to get it back each time.
    return _pump(feed, lambda: IgzipDecompressor(flag=DECOMP_GZIP), "gzip", IsalError, magic=_GZIP_MAGIC)


class _Gunzip:
    """``zlib`` with the interface of ``bz2`` and ``lzma``."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WITH_HEADER)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._full and not self._member.unconsumed_tail

    def decompress(self, data: bytes, size: int) -> bytes:
        piece = self._member.decompress(self._member.unconsumed_tail + data, size)
        self._full = len(piece) == size  # then zlib may hold more
        return piece


def _bunzip2(feed: _Feed) -> Iterator[bytes]:
    from bz2 import BZ2Decompressor

    return _pump(feed, BZ2Decompressor, "bzip2", OSError, magic=_BZIP2_MAGIC)


def _unxz(feed: _Feed) -> Iterator[bytes]:
    from lzma import FORMAT_XZ, LZMADecompressor, LZMAError

    return _pump(
        feed, lambda: LZMADecompressor(FORMAT_XZ, memlimit=_LZMA_MEMORY), "xz", LZMAError, magic=_XZ_MAGIC
    )


def _pump(feed: _Feed, decoder: Callable[[], Any], name: str, failure: Any, *, magic: bytes) -> Iterator[bytes]:
    """Decompress one stream after the other; what follows and is not another is ignored, as gzip(1) does.

    :param decoder: makes a decompressor with the interface of those in ``bz2`` and ``lzma``.
    :param failure: the class of its errors.
    :param magic: what every stream begins with.
    """
    data = feed()
    while data.startswith(magic):
        stream = decoder()
        while not stream.eof:
            if stream.needs_input and not data and not (data := feed()):
                raise DataError(f"truncated {name} data")
            try:
                piece = stream.decompress(data, CHUNK)
            except (failure, EOFError) as error:
                raise DataError(f"corrupt {name} data: {error}") from error
            data = b""
            if piece:
                yield piece
        data = stream.unused_data
        while len(data) < len(magic) and (more := feed()):
            data += more
    while feed():
        pass  # the source is read to its end: whoever hashes it must see all of it
