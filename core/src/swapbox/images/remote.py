"""What a registry has under a reference, without pulling it: ``docker manifest inspect``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.descriptors import MANIFEST_LIMIT, MANIFESTS, Descriptor, digest_of
from swapbox.errors import DataError, NotFound
from swapbox.images import manifests, platforms
from swapbox.images.registries import source
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.drivers.registry import RegistryDriver
    from swapbox.engine import Engine


class Document(NamedTuple):
    """A manifest or index of a registry.

    :param descriptor: its ``platform`` is what an index says of it, or else its config.
    :param data: byte for byte.
    """

    reference: Reference
    descriptor: Descriptor
    data: bytes

    @property
    def value(self) -> dict[str, Any]:
        """The parsed document; it is well formed."""
        value: dict[str, Any] = json.loads(self.data)
        return value


class Remote:
    """What is under one reference.

    :param registry: the registry driver to use instead of the default one.
    """

    def __init__(self, engine: Engine, text: str, *, registry: str | None = None) -> None:
        self._reference = Reference.parse(text).with_default_tag()
        self._driver: RegistryDriver = source(engine, self._reference.transport or registry)

    def tags(self) -> list[str]:
        """Return the tags of the repository, at least one, in its order.

        :raises NotFound: there is no such repository, or it has none.
        """
        if tags := list(self._driver.tags(self._reference)):
            return tags
        raise NotFound(f"repository {self._reference.familiar_name} has no tags")

    def document(self) -> Document:
        """Return the manifest or index that the reference names.

        :raises NotFound: there is none.
        :raises DataError: it is malformed, or not what its digest says.
        """
        return self._fetch(self._reference, self._driver.resolve(self._reference))

    def children(self, index: Document) -> list[Document]:
        """Return the manifests of an index; each platform's, and whatever else it has."""
        parsed = manifests.parse_index(index.data, media_type=index.descriptor.media_type)
        return [
            self._fetch(self._reference._replace(digest=child.digest), child)
            for child in parsed.manifests
            if child.media_type in MANIFESTS
        ]

    def with_platform(self, manifest: Document) -> Document:
        """Return a manifest with the platform that its config says it is for."""
        if manifest.descriptor.platform is not None:
            return manifest
        config = manifests.parse_manifest(manifest.data).config
        with self._driver.open_blob(self._reference, config) as reader:
            data = b"".join(iter(lambda: reader.read(config.size + 1), b""))
        if digest_of(data, config.digest.partition(":")[0]) != config.digest:
            raise DataError(f"verification failed for blob {config.digest}")
        platform = platforms.of(manifests.parse_config(data).value)
        fields = platform._asdict() if platform else {}
        found = {key: value for key, value in sorted(fields.items()) if value}
        return manifest._replace(descriptor=manifest.descriptor._replace(platform=found))

    def _fetch(self, reference: Reference, descriptor: Descriptor) -> Document:
        if descriptor.size > MANIFEST_LIMIT:
            raise DataError(f"manifest {descriptor.digest} is longer than {MANIFEST_LIMIT} bytes")
        data = self._driver.manifest(reference, descriptor)
        manifests.parse(data, descriptor.media_type)
        return Document(reference, descriptor, data)
