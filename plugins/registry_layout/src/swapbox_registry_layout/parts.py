"""A part of an open file."""

from __future__ import annotations

import os
import threading

from swapbox.errors import Unavailable, from_os_error

_CHUNK = 1024 * 1024


class Part:
    """Keeps :class:`swapbox.drivers.registry.BlobReader`.

    :param fd: is closed with the part.
    :param start: where the part begins in the file; ``size`` in bytes.
    :ivar offset: where in the part reading began.
    """

    def __init__(self, fd: int, start: int, size: int) -> None:
        self.size = size
        self.offset = 0
        self._fd = fd
        self._start = start
        self._at = 0
        self._lock = threading.Lock()  # a descriptor that another thread closes could be another file's at once

    def at(self, offset: int) -> Part:
        """Go to an offset."""
        self.offset = self._at = min(offset, self.size)
        return self

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end; see :class:`swapbox.drivers.registry.BlobReader`."""
        left = self.size - self._at
        count = min(_CHUNK if size < 0 else size, left)
        with self._lock:
            if self._fd < 0:
                raise Unavailable("the file was closed while it was read")
            try:
                data = os.pread(self._fd, count, self._start + self._at)
            except OSError as error:
                raise from_os_error(error, "read an image") from error
        self._at += len(data)
        return data

    def whole(self) -> bytes:
        """Return everything from here on."""
        return b"".join(iter(self.read, b""))

    def close(self) -> None:
        """Close the file; calling it twice is fine."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
