"""What a registry holds: blobs and manifests, added by tests or read from an OCI image layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

from swapbox.descriptors import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    digest_of,
)
from swapbox.distribution.store import Manifest, Source
from swapbox.references import Reference


class RegistryContents:
    """Blobs by digest, shared by all repositories; manifests by repository and tag or digest.

    :param host: what references to it begin with.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.blobs: dict[str, Source] = {}
        self.manifests: dict[tuple[str, str], Manifest] = {}

    def tags_of(self, repository: str) -> list[str]:
        """Return the tags of a repository, sorted."""
        return sorted(name for where, name in self.manifests if where == repository and ":" not in name)

    def reference(self, repository: str, tag: str = "latest") -> Reference:
        """Return the reference of a tag in this registry."""
        return Reference(self.host, repository, tag)

    def add_blob(self, source: Source) -> str:
        """Add a blob; return its digest."""
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            digest = _file_digest(file)
        self.blobs[digest] = source
        return digest

    def add_manifest(self, repository: str, tag: str | None, media_type: str, data: bytes) -> Descriptor:
        """Add a manifest or index under its digest, and under a tag if there is one."""
        digest = digest_of(data)
        for name in filter(None, (digest, tag)):
            self.manifests[repository, name] = Manifest(media_type, data)
        return Descriptor(media_type, digest, len(data))

    def add_image(
        self,
        repository: str,
        tag: str | None = "latest",
        *,
        layers: Sequence[Source] = (),
        config: Mapping[str, Any] | None = None,
        docker: bool = False,
    ) -> Descriptor:
        """Add an image of gzip-compressed (or plain) tar layers; return its manifest's descriptor.

        :param config: fields that replace those of the config made for the layers.
        :param docker: use Docker's media types instead of OCI's.
        """
        layer_type = DOCKER_LAYER if docker else f"{OCI_LAYER}+gzip"
        entries = [Descriptor(layer_type, self.add_blob(layer), _length(layer)).to_json() for layer in layers]
        made = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": [_diff_id(layer) for layer in layers]},
        }
        text = json.dumps({**made, **(config or {})}).encode()
        manifest_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        manifest = {
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": Descriptor(
                DOCKER_CONFIG if docker else OCI_CONFIG, self.add_blob(text), len(text)
            ).to_json(),
            "layers": entries,
        }
        return self.add_manifest(repository, tag, manifest_type, json.dumps(manifest).encode())

    def add_index(
        self, repository: str, tag: str | None, manifests: Sequence[Descriptor], *, docker: bool = False
    ) -> Descriptor:
        """Add an index of manifests that carry their ``platform``."""
        media_type = DOCKER_INDEX if docker else OCI_INDEX
        index = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": [manifest.to_json() for manifest in manifests],
        }
        return self.add_manifest(repository, tag, media_type, json.dumps(index).encode())


def _length(source: Source) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _file_digest(file: IO[bytes] | gzip.GzipFile) -> str:
    digest = hashlib.sha256()
    while data := file.read(1 << 20):
        digest.update(data)
    return f"sha256:{digest.hexdigest()}"


def _diff_id(source: Source) -> str:
    """Return the digest of a layer's tar; of its bytes as they are when they are not gzip."""
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _file_digest(file)
        with gzip.open(file) as tar:
            return _file_digest(tar)
