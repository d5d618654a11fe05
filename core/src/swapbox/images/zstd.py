"""Decompression of zstd (RFC 8878), any number of frames.

The library's stream reader bounds the memory but takes the end of its input for the end of the data, whole or not.
So the frames are followed here as well, block by block, only to know whether the last one is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from swapbox.errors import DataError, Unsupported

_CHUNK = 256 * 1024
_MAX_WINDOW = 128 * 1024 * 1024
_MAGIC = b"\x28\xb5\x2f\xfd"
_RLE = 1


def decompress_zstd(feed: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the uncompressed bytes of what ``feed`` returns piece by piece until it returns none.

    :raises DataError: the data is corrupt or truncated, or needs a window of more than 128 MiB.
    :raises Unsupported: the library is not installed.
    """
    try:
        import zstandard
    except ImportError as error:
        raise Unsupported("data is compressed with zstd", hint="pip install zstandard") from error
    source = _Source(feed)
    decoder = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader = decoder.stream_reader(source, read_size=_CHUNK, read_across_frames=True)  # type: ignore[arg-type]
    try:
        while piece := reader.read(_CHUNK):
            yield piece
    except zstandard.ZstdError as error:
        raise DataError(f"corrupt zstd data: {error}") from error
    if not source.whole:
        raise DataError("truncated zstd data")


class _Source:
    """What the library reads from; follows the frames in passing."""

    def __init__(self, feed: Callable[[], bytes]) -> None:
        self._feed = feed
        self._rest = b""
        self._frames = _follow()
        self._want = next(self._frames)
        self._have = b""

    @property
    def whole(self) -> bool:
        """The data ends where a frame ends."""
        return self._want == 0 and not self._have

    def read(self, size: int) -> bytes:
        data = self._rest or self._feed()
        self._rest, data = data[size:], data[:size]
        at = 0
        while at < len(data):
            step = (self._want or len(_MAGIC)) - len(self._have)
            self._have += data[at : at + step]
            at += step
            if at <= len(data):
                self._want, self._have = self._frames.send(self._have), b""
        return data


def _follow() -> Generator[int, bytes, None]:
    """Ask for so many bytes at a time; 0 asks for the 4 bytes of a frame's magic, or for the end."""
    while True:
        magic = yield 0
        if magic == _MAGIC:
            yield from _follow_blocks()
        elif magic[1:] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50:
            yield from _skip(int.from_bytes((yield 4), "little"))
        else:
            while True:
                yield _CHUNK  # not a frame: the library will say so


def _follow_blocks() -> Generator[int, bytes, None]:
    descriptor = (yield 1)[0]
    single_segment, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    yield (1 - single_segment) + (0, 1, 2, 4)[descriptor & 3] + (single_segment, 2, 4, 8)[descriptor >> 6]
    last = 0
    while not last:
        header = int.from_bytes((yield 3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        yield from _skip(1 if kind == _RLE else size)
    if checksum:
        yield 4


def _skip(size: int) -> Generator[int, bytes, None]:
    while size:
        step = min(size, _CHUNK)
        yield step
        size -= step
