"""The content store: blobs by digest, written once and verified before they are there.

    <root>/blobs/<algorithm>/<hex>    complete and verified
    <root>/ingest/<algorithm>-<hex>   partial: a transfer goes on here, and can be taken up again

A partial file is flocked by whoever writes it, so two processes that want one blob share the work: the second
waits and then finds the blob. Blobs appear by rename(2) after fsync(2): a crash leaves a partial or a blob, never
half a blob.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import math
import os
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from swapbox.descriptors import Descriptor, check_digest, digest_of
from swapbox.errors import AlreadyExists, DataError, NotFound, PermissionDenied, SwapboxError, Unavailable
from swapbox.paths import make_private, sync_directory

CHUNK = 256 * 1024
"""Bytes per read or write: large enough to forget the call, small enough to stay in the processor's cache."""

READ_LIMIT = 16 * 1024 * 1024
"""Bytes that :meth:`ContentStore.read` loads at most; larger blobs are streamed."""

_POLL = 0.05


class ContentStore:
    """Blobs below one directory, which is made (mode 0700) when the first is written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Return where the blob is, or would be.

        :raises DataError: the digest is malformed.
        """
        algorithm, _, value = check_digest(digest).partition(":")
        return self.root / "blobs" / algorithm / value

    def has(self, digest: str) -> bool:
        """Say whether the blob is there, complete."""
        return self.path(digest).is_file()

    def size(self, digest: str) -> int:
        """Return the blob's length in bytes.

        :raises NotFound: it is not there.
        """
        path = self.path(digest)
        with _border(path, missing=f"no such blob: {digest}"):
            return path.stat().st_size

    def read(self, digest: str, *, limit: int = READ_LIMIT) -> bytes:
        """Return a small blob, verified; open :meth:`path` for the others.

        :param limit: bytes.
        :raises NotFound: it is not there.
        :raises DataError: it has rotted on disk, or is longer than ``limit``.
        """
        if self.size(digest) > limit:
            raise DataError(f"blob {digest} is longer than {limit} bytes")
        path = self.path(digest)
        with _border(path, missing=f"no such blob: {digest}"):
            data = path.read_bytes()
        if digest_of(data, digest.partition(":")[0]) != digest:
            raise DataError(f"blob {digest} is damaged on disk", hint="remove the image and pull it again")
        return data

    def put(self, data: bytes) -> str:
        """Store bytes that are in memory already; return their sha256 digest."""
        digest = digest_of(data)
        self.write(Descriptor("", digest, len(data)), data)
        return digest

    def write(self, descriptor: Descriptor, data: bytes) -> None:
        """Store bytes that are in memory already under the digest that is expected of them; raises as Ingest."""
        with contextlib.suppress(AlreadyExists), self.ingest(descriptor) as ingest:
            ingest.write(data[ingest.offset :])
            ingest.commit()

    def ingest(self, descriptor: Descriptor, *, pause: Callable[[float], object] = time.sleep) -> Ingest:
        """Start writing a blob, or go on where an earlier attempt ended.

        :param pause: waits so many seconds while another process writes this blob; may raise to give up.
        :raises AlreadyExists: the blob is there, perhaps because that other process has finished.
        :raises Unavailable: the disk is full.
        """
        final = self.path(descriptor.digest)
        partial = self.root / "ingest" / f"{final.parent.name}-{final.name}"
        with _border(partial):
            make_private(final.parent)
            make_private(partial.parent)
        while not final.is_file():
            with _border(partial):
                fd = _open_locked(partial)
                if fd is not None and not final.is_file():
                    return Ingest(descriptor, partial=partial, final=final, fd=fd)
                if fd is not None:  # committed between the two looks: the partial we locked is a new, empty one
                    partial.unlink()
                    os.close(fd)
                    break
            pause(_POLL)
        raise AlreadyExists(f"blob {descriptor.digest} already exists")

    def remove(self, digest: str, *, before: float = math.inf) -> int:
        """Remove a blob, and return how many bytes that freed; one that is not there is fine.

        :param before: seconds since the epoch; one that was written later stays.
        """
        path = self.path(digest)
        with _border(path), contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if status.st_mtime < before:
                path.unlink()
                return status.st_size
        return 0

    def walk(self) -> Iterator[str]:
        """Yield the digest of every blob, in no promised order."""
        for directory in sorted(_entries(self.root / "blobs")):
            for path in _entries(directory):
                yield f"{directory.name}:{path.name}"

    def clean(self, *, before: float = math.inf, of: Container[str] | None = None) -> int:
        """Remove partial ingests that nobody is writing; return how many bytes that freed.

        :param before: seconds since the epoch; those written to later stay, for a transfer to go on with.
        :param of: digests of the blobs whose ingests to remove; None for all.
        """
        freed = 0
        for partial in _entries(self.root / "ingest"):
            if of is not None and partial.name.replace("-", ":", 1) not in of:
                continue
            with _border(partial):
                fd = _open_locked(partial)
                if fd is None:
                    continue
                status = os.fstat(fd)
                if status.st_mtime < before:
                    freed += status.st_size
                    partial.unlink(missing_ok=True)
                os.close(fd)
        return freed


class Ingest:
    """One blob being written; a context manager that keeps the partial file unless it was committed.

    :ivar offset: bytes written so far, those of earlier attempts included.
    """

    def __init__(self, descriptor: Descriptor, *, partial: Path, final: Path, fd: int) -> None:
        self.descriptor = descriptor
        self.path = partial
        self.final = final
        self.offset = 0
        self._fd = fd
        self._hash = hashlib.new(final.parent.name)
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def _take_up(self) -> None:
        """Hash what is there; a partial that cannot become the blob is emptied."""
        with _border(self.path):
            length = os.fstat(self._fd).st_size
            while self.offset < length and (data := os.read(self._fd, CHUNK)):
                self._hash.update(data)
                self.offset += len(data)
            whole = self.offset >= self.descriptor.size
            if whole and not (self.offset == self.descriptor.size and self._matches()):
                os.ftruncate(self._fd, 0)
                os.lseek(self._fd, 0, os.SEEK_SET)
                self.offset, self._hash = 0, hashlib.new(self.final.parent.name)

    def _matches(self) -> bool:
        return self._hash.hexdigest() == self.final.name

    def write(self, data: bytes) -> None:
        """Append bytes.

        :raises DataError: more came than the descriptor's size; the partial is gone.
        :raises Unavailable: the disk is full; the partial stays.
        """
        if self.offset + len(data) > self.descriptor.size:
            self.abort()
            raise DataError(f"blob {self.descriptor.digest} is longer than its {self.descriptor.size} bytes")
        self._hash.update(data)
        view = memoryview(data)
        with _border(self.path):
            while view:
                count = os.write(self._fd, view)
                self.offset += count
                view = view[count:]

    def verify(self) -> None:
        """Check size and digest.

        :raises DataError: they are not the descriptor's; the partial is gone.
        """
        if self.offset != self.descriptor.size:
            self.abort()
            raise DataError(
                f"blob {self.descriptor.digest} has {self.offset} bytes instead of {self.descriptor.size}"
            )
        if not self._matches():
            self.abort()
            actual = f"{self.final.parent.name}:{self._hash.hexdigest()}"
            raise DataError(
                f"verification failed for blob {self.descriptor.digest}: its bytes have digest {actual}",
                hint="they are removed; pull again, and if it fails again the registry's copy is damaged",
            )

    def commit(self) -> None:
        """Verify, make durable and publish; raises as :meth:`verify`."""
        self.verify()
        with _border(self.path):
            os.fsync(self._fd)
            self.path.rename(self.final)
            sync_directory(self.final.parent)
        self.close()

    def abort(self) -> None:
        """Remove the partial file; without effect once it is closed, and perhaps somebody else's."""
        if self._fd >= 0:
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let others go on with the partial file; calling it twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # Explicitly: a forked child that inherited the descriptor must not keep the lock.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _open_locked(path: Path) -> int | None:
    """Open and lock a partial file; None when somebody else has it, or has just renamed or removed it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), path.stat()):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _border(path: Path, *, missing: str = "") -> Iterator[None]:
    """Translate the kernel's errors."""
    try:
        yield
    except OSError as error:
        raise _translated(error, path, missing) from error


def _translated(error: OSError, path: Path, missing: str) -> SwapboxError:
    reason = os.strerror(error.errno or 0).lower()
    if error.errno == errno.ENOENT and missing:
        return NotFound(missing)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"cannot write {path}: {reason}", hint="free some space, for example with: swapbox rmi")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(f"cannot use {path}: {reason}")
    return Unavailable(f"cannot use {path}: {reason}")
