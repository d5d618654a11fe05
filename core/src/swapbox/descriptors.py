"""OCI descriptors and the media types of images (OCI image-spec 1.1, Docker image manifest v2 schema 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from swapbox.errors import DataError

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
LAYERS = frozenset(
    {
        OCI_LAYER,
        f"{OCI_LAYER}+gzip",
        f"{OCI_LAYER}+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        DOCKER_LAYER,
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)
"""Layers that are a tar file, plain or compressed: what can be unpacked."""

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes of the largest manifest, index or config that is read (the distribution-spec's limit)."""

_SIZE_LIMIT = 2**63  # an int64 in the specification
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def check_digest(digest: object) -> str:
    """Return the digest when it is a well-formed sha256 or sha512 one.

    :raises DataError: it is not.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise DataError(f"invalid digest {digest!r:.200}")
    return digest


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of bytes in memory."""
    import hashlib

    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Descriptor(NamedTuple):
    """What a blob is, how it is called and how long it is; ``size`` in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Mapping[str, Any] | None = None
    annotations: Mapping[str, str] = {}
    urls: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Read a descriptor object.

        :raises DataError: a field is missing or has the wrong type.
        """
        if not isinstance(value, dict):
            raise DataError(f"invalid descriptor {value!r:.100}")
        media_type, size = value.get("mediaType"), value.get("size")
        if not isinstance(media_type, str) or not media_type:
            raise DataError(f"invalid media type {media_type!r:.100} in descriptor")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _SIZE_LIMIT:
            raise DataError(f"invalid size {size!r:.40} in descriptor")
        return cls(
            media_type=media_type,
            digest=check_digest(value.get("digest")),
            size=size,
            platform=_strings(value, "platform", loose=True) or None,
            annotations=_strings(value, "annotations"),
            urls=_urls(value.get("urls")),
        )

    def bare(self) -> Descriptor:
        """Return the descriptor without what may be of any length: annotations, URLs, platform."""
        return Descriptor(self.media_type, self.digest, self.size)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor object, without empty fields."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform:
            value["platform"] = dict(self.platform)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.urls:
            value["urls"] = list(self.urls)
        return value


def _strings(value: dict[str, Any], key: str, *, loose: bool = False) -> Mapping[str, Any]:
    """Return an object of texts; a ``loose`` one may hold others too (``os.features`` is a list)."""
    found = value.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict) or not (loose or all(isinstance(text, str) for text in found.values())):
        raise DataError(f"invalid {key} {found!r:.100} in descriptor")
    return found


def _urls(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise DataError(f"invalid urls {value!r:.100} in descriptor")
    return tuple(value)
