"""The store of :class:`swapbox.testing.registry_server.RegistryServer`: in memory, and open to tests."""

from __future__ import annotations

import hashlib

from swapbox.distribution.documents import read_subject
from swapbox.distribution.store import Manifest, Source
from swapbox.testing.registry_contents import RegistryContents


class RegistryStore(RegistryContents):
    """Keeps :class:`swapbox.distribution.store.Store` over contents that tests may change.

    :ivar homes: the repositories that a pushed blob is in; one that a test has added is in all.
    """

    def __init__(self, host: str = "") -> None:
        super().__init__(host)
        self.homes: dict[str, set[str]] = {}

    def repositories(self) -> list[str]:
        """Return the names of the repositories."""
        return sorted({where for where, _ in self.manifests})

    def tags(self, repository: str) -> list[str] | None:
        """Return the tags of a repository; None when there is no such repository."""
        return self.tags_of(repository) if repository in self.repositories() else None

    def manifest(self, repository: str, name: str) -> Manifest | None:
        """Return a manifest by tag or digest."""
        return self.manifests.get((repository, name))

    def put_manifest(self, repository: str, name: str, digest: str, manifest: Manifest, *, subject: str) -> None:
        """Keep a manifest."""
        self.manifests[repository, digest] = self.manifests[repository, name] = manifest

    def delete_manifest(self, repository: str, name: str) -> bool:
        """Remove a tag, or a manifest with every tag of it."""
        found = self.manifests.pop((repository, name), None)
        for key, manifest in list(self.manifests.items()) if ":" in name else ():
            if key[0] == repository and manifest == found:
                del self.manifests[key]
        return found is not None

    def referrers(self, repository: str, digest: str) -> dict[str, Manifest]:
        """Return the manifests whose subject that digest is, by their digests."""
        return {
            name: manifest
            for (where, name), manifest in sorted(self.manifests.items())
            if where == repository and ":" in name and read_subject(manifest.data) == digest
        }

    def blob(self, repository: str, digest: str) -> Source | None:
        """Return a blob of a repository."""
        homes = self.homes.get(digest)
        return self.blobs.get(digest) if homes is None or repository in homes else None

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Make a blob of another repository one of this."""
        there = self.blob(source, digest) is not None
        if there and digest in self.homes:
            self.homes[digest].add(repository)
        return there

    def delete_blob(self, repository: str, digest: str) -> bool:
        """Take a blob from a repository."""
        there = self.blob(repository, digest) is not None
        self.homes.setdefault(digest, set()).discard(repository)
        return there

    def receive(self) -> _Incoming:
        """Begin to receive a blob."""
        return _Incoming(self)


class _Incoming:
    """A blob being received."""

    def __init__(self, contents: RegistryStore) -> None:
        self._contents = contents
        self._data = bytearray()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._data += data

    def hash(self, algorithm: str) -> str:
        """Return the hash of all bytes."""
        return hashlib.new(algorithm, self._data).hexdigest()

    def keep(self, repository: str, digest: str) -> None:
        """Make the bytes a blob of a repository."""
        if digest not in self._contents.blobs or digest in self._contents.homes:
            self._contents.homes.setdefault(digest, set()).add(repository)
        self._contents.blobs[digest] = bytes(self._data)

    def drop(self) -> None:
        """Do nothing: it is forgotten."""
