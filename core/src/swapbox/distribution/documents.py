"""Names, digests and manifests as clients send them: hostile until they are read here."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any, NamedTuple

from swapbox.descriptors import INDEXES, MANIFEST_LIMIT, MANIFESTS, Descriptor
from swapbox.distribution import refusals
from swapbox.distribution.messages import Body, Call
from swapbox.distribution.refusals import Refusal
from swapbox.distribution.store import Manifest
from swapbox.errors import DataError

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_REPOSITORY_LIMIT = 255
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def is_repository(name: str) -> bool:
    """Say whether this may be the name of a repository; one that may leads nowhere else in a file system."""
    return len(name) <= _REPOSITORY_LIMIT and _REPOSITORY.fullmatch(name) is not None


def is_tag(name: str) -> bool:
    """Say whether this may be a tag."""
    return _TAG.fullmatch(name) is not None


def is_digest(text: str) -> bool:
    """Say whether this is a digest of an algorithm that is known here."""
    return _DIGEST.fullmatch(text) is not None


class Pushed(NamedTuple):
    """A manifest or index, and the digests that it names.

    :param subject: what it is about; empty for nothing. That need not be there.
    """

    manifest: Manifest
    blobs: tuple[str, ...]
    manifests: tuple[str, ...]
    subject: str


def read_manifest(call: Call) -> Pushed:
    """Read the manifest that a request puts.

    :raises Refusal: it is none.
    """
    data = read_small(call.body, MANIFEST_LIMIT)
    media_type = call.headers.get("content-type", "").partition(";")[0].strip()
    if media_type not in INDEXES | MANIFESTS:
        raise refusals.manifest_invalid("unsupported media type")
    value = _object(data)
    if value.get("schemaVersion") != 2 or value.get("mediaType", media_type) != media_type:
        raise refusals.manifest_invalid("manifest is not what its media type says")
    try:
        subject = _subject(value)
        if media_type in INDEXES:
            below = [Descriptor.from_json(entry) for entry in _entries(value, "manifests")]
            return Pushed(Manifest(media_type, data), (), tuple(entry.digest for entry in below), subject)
        below = [Descriptor.from_json(entry) for entry in (value.get("config"), *_entries(value, "layers"))]
    except DataError as error:
        raise refusals.manifest_invalid(error.message) from error
    # What has addresses of its own (foreign layers) need not be here.
    digests = tuple(entry.digest for entry in below if not entry.urls)
    return Pushed(Manifest(media_type, data), digests, (), subject)


def read_subject(data: bytes) -> str:
    """Return the digest of what a manifest in the store is about; empty for nothing."""
    return _subject(_object(data))


def _subject(value: dict[str, Any]) -> str:
    return Descriptor.from_json(value["subject"]).digest if value.get("subject") is not None else ""


def read_small(body: Body, limit: int) -> bytes:
    """Read a body of so many bytes at most.

    :raises Refusal: it is longer.
    """
    data = bytearray()
    for chunk in body.chunks():
        data += chunk
        if len(data) > limit:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SIZE_INVALID", f"longer than {limit} bytes")
    return bytes(data)


def described(digest: str, manifest: Manifest) -> dict[str, Any]:
    """Return the descriptor that the list of referrers has of a manifest, under the digest it was pushed with."""
    value = _object(manifest.data)
    entry: dict[str, Any] = {
        "mediaType": manifest.media_type,
        "digest": digest,
        "size": len(manifest.data),
    }
    config = value.get("config")
    kind = value.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    if kind:
        entry["artifactType"] = kind
    if value.get("annotations"):
        entry["annotations"] = value["annotations"]
    return entry


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise refusals.manifest_invalid("manifest is no JSON") from None
    if not isinstance(value, dict):
        raise refusals.manifest_invalid("manifest is no JSON object")
    return value


def _entries(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    if not isinstance(found, list):
        raise refusals.manifest_invalid(f"manifest has no {key}")
    return found
