"""Read indexes, manifests and image configs that somebody else wrote: the result is well typed, or ``DataError``.

OCI image-spec 1.1; Docker image manifest version 2 schema 2. Schema 1 is refused.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from swapbox.descriptors import (
    CONFIGS,
    INDEXES,
    LAYERS,
    MANIFEST_LIMIT,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    check_digest,
)
from swapbox.errors import DataError, Unsupported


class Index(NamedTuple):
    """One entry per platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]


class Manifest(NamedTuple):
    """One image for one platform; the first layer is the lowest."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


class ImageConfig(NamedTuple):
    """The config object, its known fields checked for their types, and its diffIDs, the lowest layer's first."""

    value: dict[str, Any]
    diff_ids: tuple[str, ...]


def parse(data: bytes, media_type: str) -> Index | Manifest:
    """Read a document that a descriptor calls an index or a manifest.

    :raises DataError: it is malformed, too long, or not what the descriptor says.
    :raises Unsupported: it is a schema 1 manifest, or not about an image at all.
    """
    if media_type in INDEXES:
        return parse_index(data, media_type=media_type)
    if media_type in MANIFESTS:
        return parse_manifest(data, media_type=media_type)
    if media_type.startswith("application/vnd.docker.distribution.manifest.v1"):
        raise _schema_1()
    raise Unsupported(f"unsupported manifest media type {media_type!r:.100}")


def parse_index(data: bytes, *, media_type: str | None = None) -> Index:
    """Read an index, or Docker's manifest list; raises as :func:`parse`."""
    value, media_type = _document(data, "index", media_type, INDEXES, OCI_INDEX)
    # A document that can be read both ways would be a different image to different readers (CVE-2021-41190).
    if "layers" in value or "config" in value:
        raise DataError("invalid index: it has the fields of a manifest")
    return Index(media_type, _descriptors(value, "manifests", "index"))


def parse_manifest(data: bytes, *, media_type: str | None = None) -> Manifest:
    """Read an image manifest; raises as :func:`parse`.

    :param media_type: what its descriptor says it is, if there is one.
    """
    value, media_type = _document(data, "manifest", media_type, MANIFESTS, OCI_MANIFEST)
    if "manifests" in value:
        raise DataError("invalid manifest: it has the fields of an index")
    config = Descriptor.from_json(value.get("config"))
    if config.media_type not in CONFIGS:
        raise Unsupported(f"not a container image: its config has media type {config.media_type!r:.100}")
    if config.size > MANIFEST_LIMIT:
        raise DataError(f"config {config.digest} is longer than {MANIFEST_LIMIT} bytes")
    layers = _descriptors(value, "layers", "manifest")
    for layer in layers:
        if layer.media_type not in LAYERS:
            raise Unsupported(f"unsupported media type {layer.media_type!r:.100} of layer {layer.digest}")
    return Manifest(media_type, config, layers)


def parse_config(data: bytes) -> ImageConfig:
    """Read an image config.

    :raises DataError: it is malformed: what is there has the type the specification gives it.
    """
    value = _object(data, "image config")
    for key in ("os", "architecture", "variant", "created", "author"):
        _check(value, key, "text", where="")
    settings = value.get("config")
    if settings is not None:
        _check(value, "config", "object", where="")
        for key, kind in _SETTINGS.items():
            _check(settings, key, kind, where="config.")
    _check(value, "history", "objects", where="")
    return ImageConfig(value, _diff_ids(value))


def _diff_ids(value: dict[str, Any]) -> tuple[str, ...]:
    """Check ``rootfs``, and fill in the list that an image without layers may leave out."""
    rootfs = value.get("rootfs")
    if not isinstance(rootfs, dict):
        raise DataError(f"invalid image config: rootfs is {rootfs!r:.100}")
    if rootfs.get("type", "layers") != "layers":
        raise DataError(f"invalid image config: rootfs type {rootfs['type']!r:.100} is not 'layers'")
    rootfs["diff_ids"] = rootfs.get("diff_ids") or []
    if not isinstance(rootfs["diff_ids"], list):
        raise DataError(f"invalid image config: rootfs is {rootfs!r:.100}")
    return tuple(check_digest(diff_id) for diff_id in rootfs["diff_ids"])


_SETTINGS = {
    "User": "text",
    "WorkingDir": "text",
    "StopSignal": "text",
    "Env": "texts",
    "Cmd": "texts",
    "Entrypoint": "texts",
    "Shell": "texts",
    "OnBuild": "texts",
    "ExposedPorts": "object",
    "Volumes": "object",
    "Labels": "labels",
    "Healthcheck": "object",
}


def _check(value: dict[str, Any], key: str, kind: str, *, where: str) -> None:
    """Refuse a field that is there, not null, and of another type."""
    found = value.get(key)
    if found is not None and not _is(found, kind):
        raise DataError(f"invalid image config: {where}{key} is {found!r:.100}")


def _is(found: object, kind: str) -> bool:
    match kind:
        case "text":
            return isinstance(found, str)
        case "texts":
            return isinstance(found, list) and all(isinstance(item, str) for item in found)
        case "objects":
            return isinstance(found, list) and all(isinstance(item, dict) for item in found)
        case "labels":
            return isinstance(found, dict) and all(isinstance(item, str) for item in found.values())
    return isinstance(found, dict)


def _document(
    data: bytes, what: str, expected: str | None, allowed: frozenset[str], default: str
) -> tuple[dict[str, Any], str]:
    value = _object(data, what)
    version = value.get("schemaVersion")
    if version == 1:
        raise _schema_1()
    if version != 2 or isinstance(version, bool | float):
        raise DataError(f"invalid {what}: schemaVersion is {version!r:.100} instead of 2")
    claimed = value.get("mediaType") or expected or default
    if claimed != (expected or claimed) or not isinstance(claimed, str) or claimed not in allowed:
        raise DataError(
            f"invalid {what}: its media type is {claimed!r:.100} instead of {expected or default!r:.100}"
        )
    return value, claimed


def _object(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > MANIFEST_LIMIT:
        raise DataError(f"invalid {what}: longer than {MANIFEST_LIMIT} bytes")
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"invalid {what}: not JSON ({str(error)[:200]})") from error
    if not isinstance(value, dict):
        raise DataError(f"invalid {what}: not a JSON object")
    return value


def _descriptors(value: dict[str, Any], key: str, what: str) -> tuple[Descriptor, ...]:
    found = value.get(key)
    if not isinstance(found, list):
        raise DataError(f"invalid {what}: {key} is {found!r:.100}")
    return tuple(Descriptor.from_json(item) for item in found)


def _schema_1() -> Unsupported:
    return Unsupported(
        "manifest schema 1 is not supported",
        hint="push the image again with a current Docker, which writes schema 2",
    )
