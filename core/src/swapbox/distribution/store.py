"""What a registry holds, behind a Protocol: one keeps it in a directory, one in memory for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

Source = bytes | Path
"""The bytes of a blob, in memory or in a file."""


class Manifest(NamedTuple):
    """A manifest as it was pushed."""

    media_type: str
    data: bytes


class Incoming(Protocol):
    """A blob being received; one thread at a time."""

    def write(self, data: bytes) -> None:
        """Append bytes."""
        ...

    def hash(self, algorithm: str) -> str:
        """Return the hash of all bytes, in hexadecimal digits."""
        ...

    def keep(self, repository: str, digest: str) -> None:
        """Make the bytes a blob of a repository; the caller has verified the digest."""
        ...

    def drop(self) -> None:
        """Forget the bytes; after :meth:`keep`, or twice, it does nothing."""
        ...


class Store(Protocol):
    """Repositories of blobs, manifests and tags. Names and digests given are well formed.

    Every method may be called from several threads at once.
    """

    def repositories(self) -> Sequence[str]:
        """Return the names of the repositories that have a manifest, sorted."""
        ...

    def tags(self, repository: str) -> Sequence[str] | None:
        """Return the tags of a repository, sorted; None when there is no such repository."""
        ...

    def manifest(self, repository: str, name: str) -> Manifest | None:
        """Return a manifest by tag or digest."""
        ...

    def put_manifest(self, repository: str, name: str, digest: str, manifest: Manifest, *, subject: str) -> None:
        """Keep a manifest under its digest, and under ``name`` when that is a tag.

        :param subject: the digest of what it is about; empty for nothing.
        """
        ...

    def delete_manifest(self, repository: str, name: str) -> bool:
        """Remove a tag, or a manifest with every tag of it; return whether it was there."""
        ...

    def referrers(self, repository: str, digest: str) -> Mapping[str, Manifest]:
        """Return the manifests whose subject that digest is, by the digests they were pushed under."""
        ...

    def blob(self, repository: str, digest: str) -> Source | None:
        """Return a blob of a repository."""
        ...

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Make a blob of the repository ``source`` one of ``repository`` too; return whether it was there."""
        ...

    def delete_blob(self, repository: str, digest: str) -> bool:
        """Take a blob from a repository; return whether it was there."""
        ...

    def receive(self) -> Incoming:
        """Begin to receive a blob."""
        ...
