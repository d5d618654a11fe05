"""A registry in a directory.

    blobs/<algorithm>/<hex>                 blobs and manifests, shared by all repositories
    repositories/<name>/_blobs/<digest>     empty: the repository has this blob
    repositories/<name>/_manifests/<digest> the media type of a manifest that it has
    repositories/<name>/_tags/<tag>         the digest of a manifest
    repositories/<name>/_referrers/<digest>/<digest>
                                            empty: the second is a manifest whose subject is the first
    uploads/                                what is being received or written: garbage after a crash
    swapbox-registry                        says that all this is ours; locked by the one process that serves it

In file names a digest has ``-`` for its colon. No part of a repository's name begins with ``_``. Everything
appears by rename(2) after fsync(2): blob before link, manifest before tag.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from swapbox.descriptors import Descriptor
from swapbox.distribution.store import Manifest, Source
from swapbox.errors import Conflict, NotFound, from_os_error
from swapbox.paths import make_private, sync_directory
from swapbox.store.content import ContentStore

MARKER = "swapbox-registry"


class DirectoryStore:
    """Keeps :class:`swapbox.distribution.store.Store`; a context manager while which no other process has it.

    :param root: made when it is not there; else empty, or what this class has made of it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._content = ContentStore(root)
        self._lock = threading.Lock()
        self._fd = -1

    def __enter__(self) -> DirectoryStore:
        """Take the directory, and remove what an earlier server has left half done.

        :raises Conflict: another process serves it, or there are files of somebody else in it.
        """
        try:
            self._check_ours()
            make_private(self.root)
            self._fd = os.open(self.root / MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            raise Conflict(f"{self.root} is served by another process") from error
        except OSError as error:
            raise from_os_error(error, f"open {self.root}") from error
        self._clean()
        self._content.clean()
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    def _check_ours(self) -> None:
        """Refuse a directory with other files, an image layout say: :meth:`_clean` would remove them."""
        names = set(os.listdir(self.root)) if self.root.exists() else set()
        if names and MARKER not in names:
            raise Conflict(
                f"{self.root} is no registry: it has {sorted(names)[0]!r} and no {MARKER!r} in it",
                hint="name a directory that is new or empty; images come into it by push",
            )

    def _clean(self) -> None:
        for upload in _entries(self.root / "uploads"):
            upload.unlink(missing_ok=True)
        linked = {
            link.name for one in self._all() for kind in ("_blobs", "_manifests") for link in _entries(one / kind)
        }
        for digest in list(self._content.walk()):
            if _file_name(digest) not in linked:
                self._content.remove(digest)

    # -- repositories -------------------------------------------------------------------------------------------

    def _of(self, repository: str) -> Path:
        return self.root / "repositories" / repository

    def _all(self) -> Iterator[Path]:
        """Yield the directory of every repository."""
        pending = _entries(self.root / "repositories")
        while pending:
            directory = pending.pop()
            if directory.is_dir() and not directory.name.startswith("_"):
                yield directory
                pending += _entries(directory)

    def repositories(self) -> list[str]:
        """Return the names of the repositories that have a manifest."""
        base = self.root / "repositories"
        return sorted(str(one.relative_to(base)) for one in self._all() if _entries(one / "_manifests"))

    def tags(self, repository: str) -> list[str] | None:
        """Return the tags of a repository; None when there is no such repository."""
        directory = self._of(repository)
        if not _entries(directory / "_manifests"):
            return None
        return sorted(tag.name for tag in _entries(directory / "_tags") if not tag.name.startswith("."))

    # -- manifests ----------------------------------------------------------------------------------------------

    def manifest(self, repository: str, name: str) -> Manifest | None:
        """Return a manifest by tag or digest."""
        directory = self._of(repository)
        digest = name if ":" in name else _text(directory / "_tags" / name)
        media_type = _text(directory / "_manifests" / _file_name(digest)) if digest else ""
        if not media_type:
            return None
        with contextlib.suppress(NotFound):  # deleted just now
            return Manifest(media_type, self._content.read(digest))
        return None

    def put_manifest(self, repository: str, name: str, digest: str, manifest: Manifest, *, subject: str) -> None:
        """Keep a manifest under its digest, and under ``name`` when that is a tag."""
        directory = self._of(repository)
        with self._lock:
            self._content.write(Descriptor(manifest.media_type, digest, len(manifest.data)), manifest.data)
            self._write(directory / "_manifests" / _file_name(digest), manifest.media_type)
            if subject:
                self._write(directory / "_referrers" / _file_name(subject) / _file_name(digest), "")
            if ":" not in name:
                self._write(directory / "_tags" / name, digest)

    def delete_manifest(self, repository: str, name: str) -> bool:
        """Remove a tag, or a manifest with every tag of it."""
        directory = self._of(repository)
        with self._lock:
            if ":" not in name:
                return _unlink(directory / "_tags" / name)
            for tag in _entries(directory / "_tags"):
                if _text(tag) == name:
                    _unlink(tag)
            for subject in _entries(directory / "_referrers"):
                _unlink(subject / _file_name(name))
            return self._unlinked(directory / "_manifests" / _file_name(name), name)

    def referrers(self, repository: str, digest: str) -> dict[str, Manifest]:
        """Return the manifests whose subject that digest is, by their digests."""
        links = _entries(self._of(repository) / "_referrers" / _file_name(digest))
        names = [link.name.replace("-", ":", 1) for link in sorted(links)]
        return {name: found for name in names if (found := self.manifest(repository, name)) is not None}

    # -- blobs --------------------------------------------------------------------------------------------------

    def blob(self, repository: str, digest: str) -> Source | None:
        """Return a blob of a repository."""
        link = self._of(repository) / "_blobs" / _file_name(digest)
        return self._content.path(digest) if link.exists() and self._content.has(digest) else None

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Make a blob of the repository ``source`` one of ``repository`` too."""
        with self._lock:
            if self.blob(source, digest) is None:
                return False
            self._write(self._of(repository) / "_blobs" / _file_name(digest), "")
            return True

    def delete_blob(self, repository: str, digest: str) -> bool:
        """Take a blob from a repository."""
        with self._lock:
            return self._unlinked(self._of(repository) / "_blobs" / _file_name(digest), digest)

    def _unlinked(self, link: Path, digest: str) -> bool:
        """Remove a link, and what it stood for when nothing else does."""
        if not _unlink(link):
            return False
        if not any((one / kind / link.name).exists() for one in self._all() for kind in ("_blobs", "_manifests")):
            self._content.remove(digest)
        return True

    def _write(self, path: Path, text: str) -> None:
        """Write a small file so that it is there whole or not at all."""
        make_private(path.parent)
        partial = self._partial()
        try:
            with partial.open("x") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)

    def _partial(self) -> Path:
        """Return a new name for what is not whole yet."""
        make_private(self.root / "uploads")
        return self.root / "uploads" / secrets.token_hex(16)

    def receive(self) -> _Incoming:
        """Begin to receive a blob."""
        return _Incoming(self._partial(), self._publish)

    def _publish(self, file: Path, repository: str, digest: str) -> None:
        final = self._content.path(digest)
        make_private(final.parent)
        with self._lock:
            file.rename(final)
            sync_directory(final.parent)
            self._write(self._of(repository) / "_blobs" / _file_name(digest), "")


class _Incoming:
    """A blob being received into a file."""

    def __init__(self, path: Path, publish: Callable[[Path, str, str], None]) -> None:
        self._path = path
        self._publish = publish
        self._file = path.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) or 0 :]

    def hash(self, algorithm: str) -> str:
        """Return the hash of all bytes."""
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()

    def keep(self, repository: str, digest: str) -> None:
        """Make the bytes durable, and a blob of a repository."""
        os.fsync(self._file.fileno())
        self._file.close()
        self._publish(self._path, repository, digest)

    def drop(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _file_name(digest: str) -> str:
    return digest.replace(":", "-", 1)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _entries(directory: Path) -> list[Path]:
    try:
        return [entry for entry in directory.iterdir() if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
