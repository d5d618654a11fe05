"""Send blobs of the content store to a registry: five at a time, gone on with where they broke, ended together.

As with downloads, a transfer is tried five times, and only the registry's failures are tried again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from swapbox.descriptors import Descriptor
from swapbox.drivers.registry import PushDriver
from swapbox.drivers.waiting import pausing_by
from swapbox.errors import NotFound, Unavailable
from swapbox.images import progress as words
from swapbox.images.progress import Progress
from swapbox.references import Reference
from swapbox.store.content import ContentStore

_THREADS = 5
_ATTEMPTS = 5
_PATIENCE = 2.0
"""Seconds that an interrupted user waits at most for transfers to end."""


class Upload(NamedTuple):
    """A blob to send.

    :param key: what its progress is told under: a layer's diffID, as with Docker; empty for what is not told.
    :param mount_from: repositories of the same registry that may have it.
    """

    descriptor: Descriptor
    key: str = ""
    mount_from: tuple[str, ...] = ()


class Uploads:
    """The uploads of one push.

    :param retry_delay: seconds before a broken upload goes on, times the number of the attempt.
    """

    def __init__(
        self,
        reference: Reference,
        *,
        registry: PushDriver,
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
        self._error: BaseException | None = None

    def run(self, uploads: Sequence[Upload]) -> None:
        """Send them in threads, those that come first first. The first error ends them all and is raised."""
        queue = deque(uploads)
        for upload in list(queue)[_THREADS:]:
            self._tell(upload, words.WAITING)
        threads = [
            threading.Thread(target=self._work, args=(queue,), name=f"upload-{number}", daemon=True)
            for number in range(min(_THREADS, len(queue)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:
            self._cancel(error)
            deadline = time.monotonic() + _PATIENCE
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(deadline - time.monotonic(), 0.0))
            raise
        if self._error is not None:
            raise self._error

    def _work(self, queue: deque[Upload]) -> None:
        try:
            with pausing_by(self._pause):
                while not self._stop.is_set():
                    try:
                        upload = queue.popleft()
                    except IndexError:
                        return
                    self.send(upload)
        except BaseException as error:
            self._cancel(error)

    def _cancel(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
            self._stop.set()

    def send(self, upload: Upload) -> None:
        """Send one blob in the calling thread, unless the registry has it."""
        if upload.descriptor.urls:
            self._tell(upload, words.FOREIGN)
            return
        if self._registry.has_blob(self._reference, upload.descriptor):
            self._tell(upload, words.THERE)
            return
        self.deliver(upload)

    def deliver(self, upload: Upload) -> None:
        """Send one blob that the registry is known not to have."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                # It may have arrived in spite of all: when it was the answer that did not.
                again = attempt > 1 and self._registry.has_blob(self._reference, upload.descriptor)
                mounted = None if again else self._push(upload)
            except Unavailable:
                if attempt == _ATTEMPTS:
                    raise
                self._wait_to_retry(upload, attempt)
            else:
                self._tell(upload, words.mounted(mounted) if mounted else words.PUSHED)
                return

    def _push(self, upload: Upload) -> str | None:
        size = upload.descriptor.size

        def sent(offset: int) -> None:
            self._check()
            self._tell(upload, words.PUSHING, offset, size)

        return self._registry.push_blob(
            self._reference,
            upload.descriptor,
            lambda offset: self._open(upload.descriptor, offset),
            mount_from=upload.mount_from,
            sent=sent,
        )

    def _open(self, descriptor: Descriptor, offset: int) -> BinaryIO:
        try:
            file = self._content.path(descriptor.digest).open("rb")
        except FileNotFoundError as error:
            raise NotFound(
                f"no such blob: {descriptor.digest}", hint="it has got lost: pull the image again"
            ) from error
        file.seek(offset)
        return file

    def _wait_to_retry(self, upload: Upload, attempt: int) -> None:
        delay = self._retry_delay * attempt
        while delay > 0:
            self._tell(upload, words.retrying(round(delay)))
            self._pause(min(delay, 1.0))
            delay -= 1.0

    def _pause(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self._check()

    def _tell(self, upload: Upload, status: str, current: int = 0, total: int = 0) -> None:
        if upload.key:
            self._progress.layer(upload.key, status, current, total)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped


class _Stopped(Exception):
    """Another upload failed, or the caller gave up."""
