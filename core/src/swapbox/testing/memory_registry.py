"""A registry driver without a network, for tests of what uses one; it passes the contract like any other."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from swapbox.descriptors import Descriptor, digest_of
from swapbox.distribution.store import Manifest
from swapbox.errors import DataError, NotFound, Unavailable, Unsupported
from swapbox.references import Reference
from swapbox.testing.registry_contents import RegistryContents

_PIECE = 64 * 1024


class MemoryReader:
    """A blob in memory; ``before`` is called before each read, and may raise."""

    def __init__(self, data: bytes, offset: int, before: Callable[[int], None]) -> None:
        self.offset = offset
        self._data = io.BytesIO(data)
        self._data.seek(offset)
        self._before = before

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        if self._data.closed:
            raise Unavailable("the reader is closed")
        self._before(self._data.tell())
        return self._data.read(size)

    def close(self) -> None:
        """End the transfer."""
        self._data.close()

    def __enter__(self) -> MemoryReader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class MemoryRegistry(RegistryContents):
    """Keeps :class:`swapbox.drivers.registry.RegistryDriver` over its own contents.

    :ivar opened: digest and offset of every blob that was asked for.
    :ivar before_read: is called with digest and position before each read of a blob, and may raise or wait.
    :ivar received: blobs that were pushed, by repository and digest.
    :ivar before_write: is called with digest and position before each piece of a pushed blob, and may raise.
    :ivar resumes: can start a blob at an offset.
    """

    def __init__(self, host: str = "memory.example") -> None:
        super().__init__(host)
        self.opened: list[tuple[str, int]] = []
        self.before_read: Callable[[str, int], None] = lambda _digest, _position: None
        self.resumes = True
        self.received: dict[tuple[str, str], bytes] = {}
        self.partial: dict[tuple[str, str], bytearray] = {}
        self.before_write: Callable[[str, int], None] = lambda _digest, _position: None

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor of what the reference names."""
        found = self._manifest(reference, reference.digest or reference.tag or "latest")
        return Descriptor(found.media_type, digest_of(found.data), len(found.data))

    def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return the manifest, verified."""
        found = self._manifest(reference, descriptor.digest)
        if digest_of(found.data) != descriptor.digest:
            raise DataError(f"manifest verification failed for digest {descriptor.digest}")
        return found.data

    def open_blob(self, reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> MemoryReader:
        """Start receiving a blob."""
        digest = descriptor.digest
        source = self.blobs.get(digest)
        if source is None:
            raise NotFound(f"blob {digest} of {reference.familiar_name} not found: blob unknown")
        self.opened.append((digest, offset))
        data = source if isinstance(source, bytes) else source.read_bytes()
        return MemoryReader(
            data, offset if self.resumes else 0, lambda position: self.before_read(digest, position)
        )

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags of the reference's repository."""
        tags = self.tags_of(reference.path)
        if not tags:
            raise NotFound(f"repository {reference.familiar_name} not found: name unknown")
        yield from tags

    def has_blob(self, reference: Reference, descriptor: Descriptor) -> bool:
        """Say whether the repository has a blob."""
        return (reference.path, descriptor.digest) in self.received

    def push_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        sent: Callable[[int], object] = lambda _offset: None,
    ) -> str | None:
        """Take a blob, in pieces."""
        key = reference.path, descriptor.digest
        for source in mount_from:
            if (source, descriptor.digest) in self.received:
                self.received[key] = self.received[source, descriptor.digest]
                return source
        partial = self.partial.setdefault(key, bytearray())
        with open_at(len(partial)) as file:
            while data := file.read(_PIECE):
                self.before_write(descriptor.digest, len(partial))
                sent(len(partial))
                partial += data
        if digest_of(bytes(partial)) != descriptor.digest:
            raise Unsupported(f"blob {descriptor.digest} has another digest")
        self.received[key] = bytes(self.partial.pop(key))
        self.add_blob(self.received[key])
        return None

    def push_manifest(self, reference: Reference, descriptor: Descriptor, data: bytes) -> None:
        """Take a manifest."""
        self.add_manifest(reference.path, reference.tag, descriptor.media_type, data)

    def close(self) -> None:
        """Do nothing."""

    def _manifest(self, reference: Reference, name: str) -> Manifest:
        found = self.manifests.get((reference.path, name))
        if found is None:
            wanted = reference.familiar if name in reference else f"{reference.familiar_name}@{name}"
            raise NotFound(f"manifest for {wanted} not found: manifest unknown")
        return found
