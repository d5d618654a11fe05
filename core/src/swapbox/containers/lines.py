"""Cut the bytes of a pipe into the chunks of lines that log drivers get.

This runs in every monitor for every byte a container prints, so it imports nothing and looks at newlines only:
one search backwards per 16 KiB.
"""

from __future__ import annotations

LIMIT = 16384
"""The longest record in bytes, newline included. A longer line becomes several records, as with Docker."""


class LineSplitter:
    """Turns reads of any size into chunks (see :mod:`swapbox.drivers.logging`) and keeps the incomplete line.

    :param pending: the incomplete line that another process' splitter had left, when a monitor hands over.
    """

    __slots__ = ("_pending",)

    def __init__(self, pending: bytes = b"") -> None:
        self._pending = bytearray(pending)

    @property
    def pending(self) -> bytes:
        """The line that has begun and not ended; at most ``LIMIT`` bytes."""
        return bytes(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the chunks that ``data`` completes."""
        if self._pending:
            if len(self._pending) + len(data) <= LIMIT and b"\n" not in data:
                self._pending += data
                return []
            data = bytes(self._pending) + data
            self._pending.clear()
        chunks, start = self._cut_long_lines(data)
        end = data.rfind(b"\n", start) + 1
        if end > start:
            chunks.append(data[start:end])
        self._pending += data[max(start, end) :]
        return chunks

    def flush(self) -> list[bytes]:
        """Return the incomplete line, at the end of the output."""
        rest = bytes(self._pending)
        self._pending.clear()
        return [rest] if rest else []

    @staticmethod
    def _cut_long_lines(data: bytes) -> tuple[list[bytes], int]:
        """Return the chunks up to the last line longer than ``LIMIT``, and where the rest begins."""
        chunks: list[bytes] = []
        start = line = 0
        while len(data) - line > LIMIT:
            newline = data.rfind(b"\n", line, line + LIMIT)
            if newline >= 0:
                line = newline + 1
                continue
            cut = _character_start(data, line + LIMIT)
            chunks += _with_line_apart(data, start, line, cut)
            start = line = cut
        return chunks, start


def _with_line_apart(data: bytes, start: int, line: int, cut: int) -> list[bytes]:
    """Return the lines before ``line`` as one chunk, and the part of the long line as another."""
    return [data[start:line], data[line:cut]] if line > start else [data[line:cut]]


def _character_start(data: bytes, cut: int) -> int:
    """Move ``cut`` back to the start of the UTF-8 character it would split, so that no log has halves of it."""
    for back in range(4):
        if data[cut - back] & 0xC0 != 0x80:
            return cut - back
    return cut
