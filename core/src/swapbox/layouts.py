"""Images in directories and archives: OCI image layouts, and what ``docker save`` writes.

Both are files with names: an image layout (OCI image-spec, ``image-layout.md``) has ``index.json`` and ``blobs``,
a docker-archive has ``manifest.json``, which names each image's config and layers. What holds the files, a
directory, a tar archive or the content store, is a :class:`Contents`; which images there are is the same for all.

Nothing here trusts anything: what is malformed is ``DataError``, and whoever takes the blobs verifies them.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol

from swapbox.descriptors import (
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    digest_of,
)
from swapbox.errors import DataError, NotFound

LAYOUT_FILE = "oci-layout"
INDEX = "index.json"
MANIFEST = "manifest.json"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class File(NamedTuple):
    """A file that is a blob, or may become one.

    :param head: its first four bytes, or all when it has fewer.
    """

    digest: str
    size: int
    head: bytes


class Contents(Protocol):
    """Files by the names that they have in a layout or archive."""

    def read(self, name: str) -> bytes:
        """Return a document.

        :raises NotFound: there is no such file.
        :raises DataError: it is longer than a document may be.
        """
        ...

    def file(self, name: str) -> File:
        """Describe a file; raises as :meth:`read`."""
        ...


class Found(NamedTuple):
    """An image of a layout or archive.

    :param descriptor: of its manifest or index.
    :param names: what it is called there, as it is written there.
    :param document: the manifest, where none is among the files.
    """

    descriptor: Descriptor
    names: tuple[str, ...]
    document: bytes | None = None


def blob_name(digest: str) -> str:
    """Return the name of a blob's file in an image layout."""
    return f"blobs/{digest.replace(':', '/')}"


def images(contents: Contents) -> list[Found]:
    """Return the images, those of the image layout where the files are both.

    :raises DataError: it is neither, or malformed.
    """
    if has(contents, LAYOUT_FILE) and has(contents, INDEX):
        return oci_images(contents)
    if has(contents, MANIFEST):
        return docker_images(contents)
    raise DataError(
        f"invalid archive: it has neither {MANIFEST} nor {LAYOUT_FILE} and {INDEX}",
        hint="a file system, such as 'export' writes, is for 'import'",
    )


def has(contents: Contents, name: str) -> bool:
    """Say whether there is such a document."""
    try:
        contents.read(name)
    except NotFound:
        return False
    return True


def oci_images(contents: Contents) -> list[Found]:
    """Return the images of an image layout; one that is there under several names comes once.

    :raises NotFound: it has no index.
    :raises DataError: its version is unknown, or it is malformed.
    """
    version = _object(contents.read(LAYOUT_FILE), LAYOUT_FILE).get("imageLayoutVersion")
    if version != "1.0.0":
        raise DataError(f"invalid {LAYOUT_FILE}: imageLayoutVersion is {version!r:.100} instead of '1.0.0'")
    entries = _object(contents.read(INDEX), INDEX).get("manifests")
    if not isinstance(entries, list):
        raise DataError(f"invalid {INDEX}: manifests is {entries!r:.100}")
    found: dict[str, Found] = {}
    for descriptor in map(Descriptor.from_json, entries):
        if descriptor.media_type not in INDEXES | MANIFESTS:
            continue
        before = found.setdefault(descriptor.digest, Found(descriptor, ()))
        names = (*before.names, *_annotated(descriptor))
        found[descriptor.digest] = before._replace(names=tuple(dict.fromkeys(names)))
    return list(found.values())


def _annotated(descriptor: Descriptor) -> list[str]:
    """Return the full name and the one that most give, which is a tag or a full name too."""
    names = (descriptor.annotations.get(key, "") for key in (IMAGE_NAME, REF_NAME))
    return [name for name in names if name]


def docker_images(contents: Contents) -> list[Found]:
    """Return the images of a docker-archive, each with a manifest made for it.

    :raises NotFound: it has no ``manifest.json``.
    :raises DataError: that is malformed, or names a file that is not there.
    """
    value = _json(contents.read(MANIFEST), MANIFEST)
    if not isinstance(value, list):
        raise DataError(f"invalid {MANIFEST}: not a JSON list")
    return [_docker_image(contents, item) for item in value]


def _docker_image(contents: Contents, value: object) -> Found:
    if not isinstance(value, dict):
        raise DataError(f"invalid {MANIFEST}: {value!r:.100} is no image")
    config, layers, names = value.get("Config"), value.get("Layers") or [], value.get("RepoTags") or []
    if not isinstance(config, str) or not _texts(layers) or not _texts(names):
        raise DataError(f"invalid {MANIFEST}: {value!r:.200} is no image")
    try:
        described = _described(contents.file(config), OCI_CONFIG)
        stack = [_described(file, _layer_type(file.head)) for file in map(contents.file, layers)]
    except NotFound as error:
        raise DataError(f"invalid archive: {error.message}") from error
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described.to_json(),
        "layers": [layer.to_json() for layer in stack],
    }
    data = json.dumps(document, separators=(",", ":")).encode()
    return Found(Descriptor(OCI_MANIFEST, digest_of(data), len(data)), tuple(names), data)


def _described(file: File, media_type: str) -> Descriptor:
    return Descriptor(media_type, file.digest, file.size)


def _layer_type(head: bytes) -> str:
    """Return a layer's media type; bzip2 and xz have none, and whoever unpacks tells them by their bytes."""
    if head.startswith(_GZIP):
        return f"{OCI_LAYER}+gzip"
    return f"{OCI_LAYER}+zstd" if head.startswith(_ZSTD) else OCI_LAYER


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _object(data: bytes, name: str) -> dict[str, Any]:
    value = _json(data, name)
    if not isinstance(value, dict):
        raise DataError(f"invalid {name}: not a JSON object")
    return value


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"invalid {name}: not JSON ({str(error)[:200]})") from error
