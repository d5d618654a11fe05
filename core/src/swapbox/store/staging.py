"""Blobs whose digest is known only when they are written: layers that are being made."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path

from swapbox.errors import from_os_error
from swapbox.paths import make_private, sync_directory


class StagedBlob:
    """A blob on its way into the content store; a context manager that leaves nothing unless it was published.

    It is a partial ingest like any other, locked while it is written: what a crash leaves is found by the content
    store's clean-up.

    :param root: the content store's.
    :ivar size: bytes written so far.
    """

    def __init__(self, root: Path) -> None:
        self.size = 0
        self._root = root
        self._path = root / "ingest" / f"new-{os.urandom(16).hex()}"
        self._hash = hashlib.sha256()
        try:
            make_private(self._path.parent)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise from_os_error(error, f"write {self._path}") from error
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Append bytes.

        :raises Unavailable: the disk is full.
        """
        self._hash.update(data)
        self.size += len(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise from_os_error(error, f"write {self._path}") from error

    def publish(self) -> None:
        """Make it durable and a blob by its digest, which is leased; one that is there already is as good."""
        final = self._root / "blobs" / self.digest.replace(":", "/")
        try:
            make_private(final.parent)
            os.fsync(self._fd)
            os.rename(self._path, final)
            sync_directory(final.parent)
        except OSError as error:
            raise from_os_error(error, f"write {final}") from error

    def __enter__(self) -> StagedBlob:
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._fd)
