"""A blob being received."""

from __future__ import annotations

import contextlib
import re
import urllib.parse

import requests

from swapbox.descriptors import Descriptor
from swapbox.errors import DataError, Unavailable
from swapbox_registry_hub.wire import BROKEN, content_length, translated

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]+/([0-9]{1,19}|\*)")


class HttpBlob:
    """Reads the body of an answer as it was sent; keeps :class:`swapbox.drivers.registry.BlobReader`."""

    def __init__(self, response: requests.Response, descriptor: Descriptor, *, timeout: float) -> None:
        self._response = response
        self._digest = descriptor.digest
        self._timeout = timeout
        self.offset = _start(response, descriptor)
        self._left = descriptor.size - self.offset

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, b"" at the end; raises ``Unavailable`` when the connection breaks."""
        try:
            # Straight from urllib3: requests' own iterator would copy every chunk once more.
            data: bytes = self._response.raw.read(size if size >= 0 else None, decode_content=False)
        except BROKEN as error:
            host = urllib.parse.urlsplit(self._response.url).netloc
            raise translated(error, host, self._timeout) from error
        self._left -= len(data)
        if not data and size != 0 and self._left > 0:
            raise Unavailable(f"blob {self._digest} ended {self._left} bytes early")
        return data

    def close(self) -> None:
        """End the transfer, also from another thread: a read that waits there ends at once."""
        with contextlib.suppress(*BROKEN, RuntimeError):
            self._response.raw.shutdown()  # RuntimeError: everything was read, the connection is kept
        with contextlib.suppress(*BROKEN):
            self._response.close()

    def __enter__(self) -> HttpBlob:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _start(response: requests.Response, descriptor: Descriptor) -> int:
    """Return the offset of the body's first byte; raise when the blob's length is not the descriptor's."""
    start, total = 0, content_length(response)
    if response.status_code == requests.codes.partial_content:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            response.close()
            raise DataError(f"registry sent a part of blob {descriptor.digest} and not which")
        start, total = int(match[1]), None if match[2] == "*" else int(match[2])
    if total not in (None, descriptor.size):
        response.close()
        raise DataError(f"blob {descriptor.digest} has {total} bytes instead of {descriptor.size}")
    return start
