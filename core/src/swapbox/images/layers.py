"""Layers on their way: read while they are still being downloaded.

:class:`Feed` joins the two ends. The downloading thread says how far the file has grown; readers wait for that,
read the file themselves, and see the end only after the digest was verified.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from swapbox.descriptors import Descriptor
from swapbox.errors import NotFound

_BUFFER = 256 * 1024


class Layer(NamedTuple):
    """One layer to unpack.

    :param diff_id: digest of the uncompressed tar.
    :param open: gives the compressed bytes; a read waits for bytes that are not there yet, and raises the
        download's error when they will never be. Only the calling process may read, not a forked child.
    :param feed: says how many bytes there are, for whoever reads the file in another process.
    """

    descriptor: Descriptor
    diff_id: str
    open: Callable[[], BinaryIO]
    feed: Feed | None = None

    @classmethod
    def of(cls, feed: Feed, diff_id: str) -> Layer:
        """Return the layer that arrives by a feed."""
        return cls(feed.descriptor, diff_id, feed.open, feed)


class Feed:
    """A blob that grows.

    :param blob: where it is when it is complete.
    """

    def __init__(self, descriptor: Descriptor, blob: Path) -> None:
        self.descriptor = descriptor
        self._blob = blob
        self._changed = threading.Condition()
        self._partial: Path | None = None
        self._length = 0
        self._complete = False
        self._error: BaseException | None = None
        self._watcher: Callable[[], object] | None = None

    @classmethod
    def stored(cls, descriptor: Descriptor, blob: Path) -> Feed:
        """Return the feed of a blob that is all there."""
        feed = cls(descriptor, blob)
        feed.finish()
        return feed

    @property
    def complete(self) -> bool:
        """Every byte is there and verified."""
        return self._complete

    def grow(self, partial: Path, length: int) -> None:
        """Say that the first ``length`` bytes are in the file ``partial``."""
        with self._changed:
            self._partial, self._length = partial, length
            self._notify()

    def finish(self) -> None:
        """Say that every byte is there and verified."""
        with self._changed:
            self._length, self._complete = self.descriptor.size, True
            self._notify()

    def fail(self, error: BaseException) -> None:
        """Say that the rest will not come; without effect on a blob that is complete."""
        with self._changed:
            if not self._complete and self._error is None:
                self._error = error
                self._notify()

    def watch(self, watcher: Callable[[], object] | None) -> None:
        """Call a function, which must not block, at every change from now on; None for none any more."""
        with self._changed:
            self._watcher = watcher

    def _notify(self) -> None:
        self._changed.notify_all()
        if self._watcher is not None:
            self._watcher()

    def open(self) -> BinaryIO:
        """Return a reader from the first byte on; waits until the download has started."""
        with self._changed:
            self._changed.wait_for(lambda: self._partial or self._complete or self._error)
            if self._error is not None:
                raise self._error
            complete = self._complete
        if (file := self._opened()) is None:
            self.wait(self.descriptor.size)
            raise NotFound(f"no such blob: {self.descriptor.digest}", hint="it has got lost: pull it again")
        return io.BufferedReader(file if complete else _Tail(self, file), _BUFFER)

    def open_raw(self) -> io.FileIO:
        """Return the file itself, of a blob that has :attr:`begun`; only what is :meth:`there` may be read."""
        if self._error is not None and not self._complete:
            raise self._error
        if (file := self._opened()) is None:
            raise NotFound(f"no such blob: {self.descriptor.digest}", hint="it has got lost: pull it again")
        return file

    def _opened(self) -> io.FileIO | None:
        for path in filter(None, (self._partial, self._blob)):
            with contextlib.suppress(FileNotFoundError):  # the partial may just have been renamed
                return path.open("rb", buffering=0)
        return None

    @property
    def begun(self) -> bool:
        """There is something to read, or an error to be had."""
        return bool(self._partial or self._complete or self._error)

    def there(self, position: int) -> int | None:
        """Return how many bytes there are if that is more than ``position`` or everything; None if not yet.

        :raises BaseException: what the download failed with.
        """
        with self._changed:
            if self._length > position or self._complete:
                return self._length
            if self._error is not None:
                raise self._error
            return None

    def wait(self, position: int) -> int:
        """Return how many bytes there are, once that is more than ``position`` or everything."""
        with self._changed:
            self._changed.wait_for(lambda: self._length > position or self._complete or self._error)
            if self._error is not None and self._length <= position:
                raise self._error
            return self._length


class _Tail(io.RawIOBase):
    """Reads a growing file no further than its feed allows."""

    def __init__(self, feed: Feed, file: io.FileIO) -> None:
        self._feed = feed
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        there = self._feed.wait(self._position) - self._position
        count = os.preadv(self._file.fileno(), [memoryview(buffer)[:there]], self._position) if there > 0 else 0
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
