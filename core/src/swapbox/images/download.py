"""Download blobs into the content store: three threads, resumed where they broke, ended together.

A download is tried five times; each attempt goes on at the byte where the last one ended. Only the registry's
failures are tried again: a full disk, a wrong digest or a refusal ends the pull at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from swapbox.descriptors import Descriptor
from swapbox.drivers.registry import BlobReader, RegistryDriver
from swapbox.drivers.waiting import pausing_by
from swapbox.errors import AlreadyExists, DataError, Unavailable
from swapbox.images import progress as words
from swapbox.images.layers import Feed
from swapbox.images.progress import Progress, Silent
from swapbox.references import Reference
from swapbox.store.content import CHUNK, ContentStore, Ingest

_THREADS = 3
_ATTEMPTS = 5
_PATIENCE = 2.0


class Downloads:
    """The downloads of one pull."""

    def __init__(
        self,
        reference: Reference,
        *,
        registry: RegistryDriver,
        content: ContentStore,
        progress: Progress,
        retry_delay: float,
    ) -> None:
        self._reference = reference
        self._registry = registry
        self._content = content
        self._progress = progress
        self._retry_delay = retry_delay
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._readers: set[BlobReader] = set()
        self._error: BaseException | None = None

    def fetch(self, descriptor: Descriptor) -> None:
        """Fetch one blob in the calling thread, without a word unless it has to be tried again."""
        if not self._content.has(descriptor.digest):
            self._download(Feed(descriptor, self._content.path(descriptor.digest)), Silent())

    def feeds(self, layers: Sequence[Descriptor]) -> dict[str, Feed]:
        """Return a feed per distinct layer, in order; those in the store are complete.

        :raises DataError: the size of a layer is not what the manifest says.
        """
        feeds: dict[str, Feed] = {}
        for layer in layers:
            feed = feeds.setdefault(layer.digest, Feed(layer, self._content.path(layer.digest)))
            there = self._content.has(layer.digest)
            size = self._content.size(layer.digest) if there else feed.descriptor.size
            if size != layer.size:
                raise DataError(f"layer {layer.digest} has {size} bytes, the manifest says {layer.size}")
            if there:
                feed.finish()
            self._progress.layer(layer.digest, words.EXISTS if there else words.PULLING)
        return feeds

    def run(self, feeds: Sequence[Feed], *, meanwhile: Callable[[], None] | None) -> None:
        """Fetch what is missing in threads, and call ``meanwhile`` in this one.

        Returns when every download has ended. The first error, of either side, ends them all and is raised.
        """
        queue = deque(feed for feed in feeds if not feed.complete)
        for feed in list(queue)[_THREADS:]:
            self._progress.layer(feed.descriptor.digest, words.WAITING)
        threads = [
            threading.Thread(target=self._work, args=(queue, feeds), name=f"download-{number}", daemon=True)
            for number in range(min(_THREADS, len(queue)))
        ]
        try:
            for thread in threads:
                thread.start()
            if meanwhile is not None:
                meanwhile()
            for thread in threads:
                thread.join()
        except BaseException as error:
            self._cancel(feeds, error)
            _wait_for(threads, seconds=None if isinstance(error, Exception) else _PATIENCE)
            if not isinstance(error, Exception):
                raise
        if self._error is not None:
            raise self._error

    def _work(self, queue: deque[Feed], feeds: Sequence[Feed]) -> None:
        try:
            with pausing_by(self._pause):
                while not self._stop.is_set():
                    try:
                        feed = queue.popleft()
                    except IndexError:
                        return
                    self._download(feed, self._progress)
        except BaseException as error:
            self._cancel(feeds, error)

    def _cancel(self, feeds: Sequence[Feed], error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
            self._stop.set()
            for reader in self._readers:
                reader.close()
        for feed in feeds:
            feed.fail(self._error)

    def _download(self, feed: Feed, progress: Progress) -> None:
        try:
            while not self._transfer(feed, progress):
                pass
        except AlreadyExists:
            feed.finish()
        progress.layer(feed.descriptor.digest, words.DOWNLOADED)

    def _transfer(self, feed: Feed, progress: Progress) -> bool:
        """Receive what is missing of a blob; return False when what an earlier pull has left is no part of it.

        Nobody is given bytes of an earlier pull before the whole is verified: the blob starts over then.
        """
        with self._content.ingest(feed.descriptor, pause=self._leaving(feed, progress)) as ingest:
            taken_up = ingest.offset > 0
            try:
                self._receive(feed, ingest, progress, grow=_withhold if taken_up else feed.grow)
                progress.layer(feed.descriptor.digest, words.VERIFYING)
                ingest.verify()
            except DataError:
                if not taken_up:
                    raise
                ingest.abort()
                return False
            feed.grow(ingest.path, ingest.offset)
            feed.finish()  # readers need not wait for the disk
            ingest.commit()
            return True

    def _receive(
        self, feed: Feed, ingest: Ingest, progress: Progress, *, grow: Callable[[Path, int], object]
    ) -> None:
        """Append to the ingest until it has all bytes."""
        digest, size = feed.descriptor.digest, feed.descriptor.size
        grow(ingest.path, ingest.offset)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with contextlib.closing(self._chunks(feed.descriptor, ingest.offset)) as chunks:
                    for data in chunks:
                        ingest.write(data)
                        grow(ingest.path, ingest.offset)
                        progress.layer(digest, words.DOWNLOADING, ingest.offset, size)
                return
            except _Broken as broken:
                if attempt == _ATTEMPTS:
                    raise broken.error from None
                self._wait_to_retry(digest, attempt)

    def _chunks(self, descriptor: Descriptor, offset: int) -> Generator[bytes, None, None]:
        """Yield the blob's bytes from ``offset`` on.

        :raises _Broken: the registry failed in a way that may pass.
        """
        if offset == descriptor.size:
            return
        try:
            with self._opened(descriptor, offset) as reader:
                # A source that cannot resume sends from the start what is here already.
                position = reader.offset
                if position > offset:
                    raise DataError(
                        f"registry sent blob {descriptor.digest} from byte {position} on instead of {offset}"
                    )
                while data := reader.read(CHUNK):
                    position += len(data)
                    if position > offset:
                        yield data[-(position - offset) :]
                        offset = position
                    self._check()
            if offset < descriptor.size:
                raise Unavailable(f"blob {descriptor.digest} ended after {offset} of {descriptor.size} bytes")
        except Unavailable as error:
            raise _Broken(error) from error

    @contextlib.contextmanager
    def _opened(self, descriptor: Descriptor, offset: int) -> Iterator[BlobReader]:
        """Open a blob; :meth:`_cancel` closes it."""
        self._check()
        with self._registry.open_blob(self._reference, descriptor, offset=offset) as reader:
            with self._lock:
                self._readers.add(reader)
            try:
                self._check()
                yield reader
            finally:
                with self._lock:
                    self._readers.discard(reader)

    def _wait_to_retry(self, digest: str, attempt: int) -> None:
        delay = self._retry_delay * attempt
        while delay > 0:
            self._progress.layer(digest, words.retrying(round(delay)))
            self._pause(min(delay, 1.0))
            delay -= 1.0
        self._check()

    def _leaving(self, feed: Feed, progress: Progress) -> Callable[[float], None]:
        """Return what waits for another process that downloads a blob, and says so."""

        def pause(seconds: float) -> None:
            progress.layer(feed.descriptor.digest, words.LEFT)
            self._pause(seconds)

        return pause

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self._check()

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped


def _withhold(_partial: Path, _length: int) -> None:
    """Let nobody read bytes that are not verified."""


def _wait_for(threads: Sequence[threading.Thread], *, seconds: float | None) -> None:
    """Wait for threads that were told to stop.

    Closing its reader ends a thread that receives. One that still waits for an answer ends within the driver's
    timeout: worth waiting for after an error, but not when the user wants the prompt back.
    """
    for thread in threads:
        if thread.ident is not None:  # it was started
            thread.join(seconds)


class _Broken(Exception):
    """The registry failed in a way that may pass."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(error)
        self.error = error


class _Stopped(Exception):
    """Another download failed, or the caller gave up."""
