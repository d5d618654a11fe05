"""The body of a request (RFC 9112 sections 6 and 7): with a length, or in chunks, as Docker sends layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.message import Message
from io import BufferedIOBase
from typing import IO

_CHUNK = 256 * 1024
_LINE = 4096
_TRAILERS = 100


class Received:
    """Keeps :class:`swapbox.distribution.messages.Body`.

    :ivar length: bytes, if the client has said so.
    :ivar broken_after: bytes after which the connection is made to break; None for never.
    :ivar throttle: told how many bytes have come; may wait.
    """

    def __init__(self, file: IO[bytes] | BufferedIOBase, headers: Message) -> None:
        self._file = file
        self._chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        text = headers.get("Content-Length", "0" if not self._chunked else "")
        self.length = int(text) if text.isdecimal() and len(text) < 19 and not self._chunked else None
        self.broken_after: int | None = None
        self.throttle: Callable[[int], object] = lambda _count: None
        if self.length is None and not self._chunked:
            raise ConnectionAbortedError  # nobody knows where the next request begins
        self._left = self.length or 0
        self._ended = False

    def chunks(self) -> Iterator[bytes]:
        """Yield what is left of the bytes; raises ``ConnectionError`` when they end early."""
        for data in self._chunks():
            self.throttle(len(data))
            if self.broken_after is not None:
                if len(data) > self.broken_after:
                    yield data[: self.broken_after]
                    raise ConnectionAbortedError
                self.broken_after -= len(data)
            yield data

    def _chunks(self) -> Iterator[bytes]:
        while not self._ended:
            if not self._left and self._chunked:
                self._left = self._next_size()
            if not self._left:
                self._ended = True
                return
            data = self._file.read1(min(self._left, _CHUNK))  # type: ignore[union-attr]
            if not data:
                raise ConnectionResetError
            self._left -= len(data)
            yield data
            if not self._left and self._chunked:
                self._line()

    def _next_size(self) -> int:
        """Read the line before a chunk; after the last one, what comes behind it."""
        digits = self._line().partition(b";")[0].strip()
        try:
            size = int(digits, 16) if len(digits) < 16 else -1
        except ValueError:
            size = -1
        if size < 0:
            raise ConnectionAbortedError
        if size == 0:
            for _ in range(_TRAILERS):
                if not self._line().strip():
                    return 0
            raise ConnectionAbortedError
        return size

    def _line(self) -> bytes:
        line = self._file.readline(_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionResetError
        return line
