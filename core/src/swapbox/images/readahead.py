"""Decompress and hash in a helper thread, a few pieces ahead of whoever writes the files.

Both let other threads run meanwhile, so with two processors the slower half of the work is all one waits for.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Callable

from swapbox.images.compression import CHUNK, ByteSource

_DEPTH = 8
_PATIENCE = 2.0


def _nothing() -> None:
    """Release nothing."""


class ReadAhead:
    """Reads a source ahead of time and computes its digest; a context manager that ends the helper thread.

    :param algorithm: of the digest: ``sha256`` or ``sha512``.
    :param release: is called once nobody reads the source any more, in the helper thread.
    """

    def __init__(
        self, source: ByteSource, *, algorithm: str = "sha256", release: Callable[[], None] = _nothing
    ) -> None:
        self._source = source
        self._algorithm = algorithm
        self._release = release
        self._hash = hashlib.new(algorithm)
        self._pieces: queue.Queue[bytes | BaseException] = queue.Queue(_DEPTH)
        self._ended = self._stopped = False
        self._thread = threading.Thread(target=self._run, name="swapbox-readahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopped and (piece := self._source.read(CHUNK)):
                self._hash.update(piece)
                self._pieces.put(piece)
            last: bytes | BaseException = b""
        except BaseException as error:
            last = error
        with contextlib.suppress(Exception):
            self._release()
        self._pieces.put(last)

    def read(self, _size: int = CHUNK, /) -> bytes:
        """Return the next piece, of 1 MiB at most; none at the end. Raises what reading the source raised."""
        if self._ended:
            return b""
        piece = self._pieces.get()
        if self._stopped:
            raise KeyboardInterrupt
        if isinstance(piece, BaseException):
            self._ended = True
            raise piece
        self._ended = not piece
        return piece

    @property
    def digest(self) -> str:
        """The digest of everything; meaningful once :meth:`read` has returned the end."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def cancel(self) -> None:
        """Make a read that waits in another thread, or the next one, raise ``KeyboardInterrupt``."""
        self._stopped = True
        with contextlib.suppress(queue.Full):
            self._pieces.put_nowait(b"")

    def close(self) -> None:
        """End the helper thread, also in the middle.

        While the source waits for a network that has gone quiet, the thread is left to end by itself.
        """
        self._stopped = True
        with contextlib.suppress(queue.Empty):
            while not self._ended:
                piece = self._pieces.get(timeout=_PATIENCE)
                self._ended = not piece or isinstance(piece, BaseException)
        self._thread.join(_PATIENCE)

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
