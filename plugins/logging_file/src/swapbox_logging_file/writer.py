"""Write Docker's json-file format: one JSON object a line, rotated by size.

This module runs inside every container's monitor, perhaps in an interpreter that has loaded nothing else, so it
imports ``os``, ``sys`` and ``time`` and nothing of ours. It works on chunks of many lines with a handful of passes
in C: for plain text, one search for bytes that need an escape and one replacement of the newlines. A real newline
occurs only at the end of a record, which is what makes cutting at a record cheap.
"""

# Neither pathlib nor contextlib is worth its memory here.
# ruff: noqa: SIM105

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPENING = b'{"log":"'
_SAFE = bytes(byte for byte in range(0x20, 0x80) if byte not in b'"\\<>&') + b"\n"
_NOT_CONTROL = bytes(byte for byte in range(256) if byte >= 0x20 or byte == 0x0A)
_MARKUP = tuple((bytes([byte]), b"\\u%04x" % byte) for byte in b"<>&")
# The separators that JavaScript takes for the end of a line.
_SEPARATORS = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))
# What "surrogateescape" makes of a byte that is no UTF-8; Docker writes one replacement character for each.
_INVALID = {0xDC00 + byte: "\\ufffd" for byte in range(0x80, 0x100)}


def escape(chunk: bytes) -> bytes:
    """Return the chunk as the inside of JSON strings, byte for byte as Docker writes it; newlines stay."""
    if not chunk.translate(None, _SAFE):
        return chunk
    chunk = chunk.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\r", b"\\r")
    for byte in set(chunk.translate(None, _NOT_CONTROL)):
        chunk = chunk.replace(bytes([byte]), b"\\u%04x" % byte)
    for plain, escaped in _MARKUP:
        chunk = chunk.replace(plain, escaped)
    return chunk if chunk.isascii() else _escape_text(chunk)


def _escape_text(chunk: bytes) -> bytes:
    for plain, escaped in _SEPARATORS:
        chunk = chunk.replace(plain, escaped)
    try:
        chunk.decode()
    except UnicodeDecodeError:
        return chunk.decode("utf-8", "surrogateescape").translate(_INVALID).encode()
    return chunk


def rfc3339(nanoseconds: int) -> bytes:
    """Return a time since the epoch as Go's RFC3339Nano: UTC, trailing zeros dropped."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    text = b"%d-%02d-%02dT%02d:%02d:%02d" % time.gmtime(seconds)[:6]
    if fraction:
        text += (b".%09d" % fraction).rstrip(b"0")
    return text + b"Z"


def open_writer(path: str, max_size: int | None, max_file: int, compress: bool, attributes: str) -> Writer:
    """Open a log for appending.

    :param path: the current file; rotated ones are ``path.1`` (the newest) to ``path.<max_file - 1>``.
    :param max_size: bytes after which a file is rotated; None for never.
    :param max_file: how many files are kept, the current one included.
    :param compress: whether rotated files are compressed.
    :param attributes: JSON object to put into each record, or nothing.
    """
    return Writer(path, max_size=max_size, max_file=max_file, compress=compress, attributes=attributes)


class Writer:
    """The write end of one log; see :func:`open_writer`."""

    def __init__(self, path: str, *, max_size: int | None, max_file: int, compress: bool, attributes: str) -> None:
        self._path = path
        self._max_size = max_size
        self._max_file = max_file
        self._compress = compress
        self._compressor = 0
        middle = f'"attrs":{attributes},"time":"'.encode() if attributes else b'"time":"'
        self._middle = {name: b'","stream":"%s",%s' % (name.encode(), middle) for name in ("stdout", "stderr")}
        self._fd, self._size, self._torn = -1, 0, False
        self._open()

    def write(self, stream: str, chunk: bytes, time: int) -> None:
        """Append a chunk of lines that arrived at ``time``, nanoseconds since the epoch.

        :raises OSError: the disk is full or failed.
        """
        if not chunk:
            return
        closing = self._middle[stream] + rfc3339(time) + b'"}\n'
        body, line_end = escape(chunk), b"\\n" + closing
        if body.endswith(b"\n"):
            self._append(_OPENING + body[:-1].replace(b"\n", line_end + _OPENING) + line_end)
        else:
            self._append(_OPENING + body.replace(b"\n", line_end + _OPENING) + closing)

    def close(self) -> None:
        """Close the file and wait for a compression under way; calling it twice is fine."""
        self._wait_for_compressor()
        self._close_file()

    def _append(self, records: bytes) -> None:
        """Write whole records; as with Docker, the one that reaches the size is the last of its file."""
        if self._fd < 0:  # The last rotation found no place for a new file; another one would cost an old file.
            self._open()
        if self._max_size is None or self._size + len(records) < self._max_size:
            self._write_all(records)
            return
        start = 0
        while start < len(records):
            if self._size >= self._max_size:
                self._rotate()
            end = records.find(b"\n", start + self._max_size - self._size - 1) + 1 or len(records)
            self._write_all(records[start:end])
            start = end

    def _write_all(self, records: bytes) -> None:
        """Write after ending a record that a crash or a full disk cut short, so that only that one is lost.

        Cutting it off instead would confuse a reader that has already read it.
        """
        data = b"\n" + records if self._torn else records
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:] if done else data)
        finally:
            self._size += done
            if done:
                self._torn = done < len(data)

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size
        self._torn = self._size > 0 and os.pread(self._fd, 1, self._size - 1) != b"\n"

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self) -> None:
        """Move every file one further. Readers hold files open and find their place again by inode."""
        self._wait_for_compressor()
        self._close_file()
        names = [self._path, *(f"{self._path}.{number}" for number in range(1, self._max_file))]
        for suffix in ("", ".gz"):
            _unless_missing(os.unlink, names[-1] + suffix)
            for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
                _unless_missing(os.rename, newer + suffix, older + suffix)
        self._open()
        if self._compress:
            self._compressor = _start_compressor(names[1])

    def _wait_for_compressor(self) -> None:
        if self._compressor:
            # A monitor reaps every child it has, and may have come first.
            _unless_missing(os.waitpid, self._compressor, 0, missing=ChildProcessError)
            self._compressor = 0


def _unless_missing(
    call: Callable[..., object], *arguments: object, missing: type[OSError] = FileNotFoundError
) -> None:
    try:
        call(*arguments)
    except missing:
        pass


def _start_compressor(path: str) -> int:
    """Compress a file in a process of its own: it must neither stop the log nor swell the monitor."""
    program = os.path.join(os.path.dirname(__file__), "compress.py")
    return os.posix_spawn(sys.executable, [sys.executable, "-IS", program, path], {})
