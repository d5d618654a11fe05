"""The files of an archive that is read once, from a pipe perhaps: documents in memory, the rest as leased blobs.

What an archive says about itself stands at its end, so every file is taken before it is known what it is for. A
file whose name is a digest is verified against it; one that is in the content store already is not written again.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

from swapbox.descriptors import MANIFEST_LIMIT, Descriptor
from swapbox.errors import AlreadyExists, DataError, NotFound, from_os_error
from swapbox.images import tarstream
from swapbox.images.lease import Lease
from swapbox.images.tarstream import TarEntry, TarStream
from swapbox.layouts import INDEX, LAYOUT_FILE, MANIFEST, File
from swapbox.store.staging import StagedBlob

_DOCUMENTS = frozenset({INDEX, LAYOUT_FILE, MANIFEST})
_LEGACY = re.compile(r"repositories|[0-9a-f]{64}/(?:json|VERSION)")
"""What images before Docker 1.10 were made of, and is still written beside the rest."""
_BLOB = re.compile(r"blobs/(sha256/[0-9a-f]{64}|sha512/[0-9a-f]{128})")
_ENTRIES = 20_000
_LINKS = 40


class _Kept(NamedTuple):
    digest: str
    size: int


class ArchiveFiles:
    """Keeps :class:`swapbox.layouts.Contents`.

    :param lease: takes every blob, so that nobody removes it; whoever has read the archive uses
        :meth:`Lease.remove_unused` for those that nothing needs.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._documents: dict[str, bytes] = {}
        self._blobs: dict[str, _Kept] = {}
        self._links: dict[str, str] = {}
        self._names: set[str] = set()

    def take(self, archive: TarStream) -> None:
        """Take every file of an archive.

        :raises DataError: it is malformed or truncated, a file is not what its name says, or there is something in
            it that no image consists of.
        :raises Unavailable: the disk is full.
        """
        for entry in archive:
            name = _name(entry)
            if entry.kind == tarstream.DIRECTORY:
                continue
            if name in self._names:
                raise DataError(f"invalid archive: {name!r} is in it twice")
            self._names.add(name)
            if len(self._names) > _ENTRIES:
                raise DataError(f"invalid archive: it has more than {_ENTRIES} files")
            self._take(name, entry, archive)
        for name in self._links:
            self._resolved(name)

    def _take(self, name: str, entry: TarEntry, archive: TarStream) -> None:
        if entry.kind == tarstream.SYMLINK:
            self._links[name] = _inside(name, posixpath.join(posixpath.dirname(name), _text(entry.link)))
        elif entry.kind == tarstream.HARDLINK:
            self._links[name] = _inside(name, _text(entry.link))
        elif entry.kind != tarstream.REGULAR or entry.sparse is not None:
            raise DataError(f"invalid archive: {name!r} is not a plain file")
        elif name in _DOCUMENTS:
            self._documents[name] = _whole(name, entry, archive)
        elif match := _BLOB.fullmatch(name):
            self._take_blob(name, match[1].replace("/", ":"), entry, archive)
        elif not _LEGACY.fullmatch(name):
            self._stage(name, entry, archive)

    def _take_blob(self, name: str, digest: str, entry: TarEntry, archive: TarStream) -> None:
        """Write a blob whose digest is known; the body is skipped when it is here."""
        content = self._lease.content
        self._blobs[name] = _Kept(digest, entry.size)
        if content.has(digest):
            if content.size(digest) != entry.size:
                raise DataError(f"blob {digest} of {entry.size} bytes has {content.size(digest)} bytes here")
            return
        try:
            with content.ingest(Descriptor("", digest, entry.size)) as ingest:
                known = ingest.offset  # a transfer that broke off has written so much
                while piece := archive.read():
                    if len(piece) > known:
                        ingest.write(bytes(piece[known:]))
                    known = max(0, known - len(piece))
                ingest.commit()
        except AlreadyExists:
            return

    def _stage(self, name: str, entry: TarEntry, archive: TarStream) -> None:
        with StagedBlob(self._lease.content.root) as blob:
            while piece := archive.read():
                blob.write(bytes(piece))
            self._lease.take(blob.digest)
            blob.publish()
            self._blobs[name] = _Kept(blob.digest, blob.size)

    # -- Contents -----------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        """Return a document; see :class:`swapbox.layouts.Contents`."""
        name = self._resolved(name)
        if name in self._documents:
            return self._documents[name]
        kept = self._kept(name)
        return self._lease.content.read(kept.digest, limit=MANIFEST_LIMIT)

    def file(self, name: str) -> File:
        """Describe a file; see :class:`swapbox.layouts.Contents`."""
        kept = self._kept(self._resolved(name))
        with self._opened(kept.digest) as file:
            return File(kept.digest, kept.size, file.read(4))

    def _kept(self, name: str) -> _Kept:
        if name not in self._blobs:
            raise NotFound(f"there is no {name!r:.200} in it")
        return self._blobs[name]

    @contextmanager
    def _opened(self, digest: str) -> Iterator[BinaryIO]:
        path = self._lease.content.path(digest)
        try:
            with path.open("rb") as file:
                yield file
        except OSError as error:
            raise from_os_error(error, f"read {path}") from error

    def _resolved(self, name: str) -> str:
        """Follow links, none of which leads out of the archive."""
        name = posixpath.normpath(name)
        for _ in range(_LINKS):
            if name not in self._links:
                return name
            name = self._links[name]
        raise DataError(f"invalid archive: {name!r} is a loop of links")


def _name(entry: TarEntry) -> str:
    """Return the name without ``./``.

    :raises DataError: it is absolute or leads out of the archive.
    """
    text = _text(entry.name)
    return _inside(text, text)


def _inside(name: str, path: str) -> str:
    """Return a normal form of a path, which stays in the archive."""
    normal = posixpath.normpath(path)
    if normal.startswith(("/", "../")) or normal == "..":
        raise DataError(f"invalid archive: {name!r:.200} leads out of it")
    return normal


def _text(name: bytes) -> str:
    return os.fsdecode(name)


def _whole(name: str, entry: TarEntry, archive: TarStream) -> bytes:
    if entry.size > MANIFEST_LIMIT:
        raise DataError(f"invalid archive: {name} is longer than {MANIFEST_LIMIT} bytes")
    pieces = []
    while piece := archive.read():
        pieces.append(bytes(piece))
    return b"".join(pieces)
