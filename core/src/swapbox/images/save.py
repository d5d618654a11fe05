"""``docker save``: images as one tar archive that is a docker-archive and an OCI image layout at once.

The blobs are written as they are in the content store, compressed, under the digests of the manifest that was
pulled: what reads the archive has the same image by the same digest. Times are zero and the order is that of the
arguments, so the same images make the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.descriptors import OCI_INDEX, Descriptor
from swapbox.errors import DataError, InvalidInput, NotFound
from swapbox.images.events import image_event
from swapbox.images.lease import Lease
from swapbox.images.manifests import Manifest, parse_manifest
from swapbox.images.push import tagged
from swapbox.images.tarstream import DIRECTORY, REGULAR, TarEntry
from swapbox.images.tarwriter import TarWriter, content
from swapbox.layouts import IMAGE_NAME, INDEX, LAYOUT_FILE, MANIFEST, REF_NAME, blob_name
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image
    from swapbox.store.content import ContentStore


class _Chosen(NamedTuple):
    image: Image
    names: list[Reference]


class _Saved(NamedTuple):
    names: Sequence[Reference]
    descriptor: Descriptor
    manifest: Manifest


def save(
    engine: Engine, names: Iterable[str], write: Callable[[bytes], object], *, platform: str | None = None
) -> None:
    """Write images, each with the names by which it was asked for.

    :param names: references and ids; a name without tag and digest means all its tags.
    :param write: takes the archive's bytes, piece by piece.
    :param platform: what the images must be for.
    :raises NotFound: there is no such image, or none for the platform.
    :raises DataError: a blob is damaged on disk.
    """
    chosen = _choose(engine, names, platform)
    with Lease(engine) as lease:
        saved = [_saved(lease.content, one) for one in chosen]
        archive = TarWriter(write)
        _write_blobs(archive, lease.content, saved)
        documents: dict[str, Any] = {
            INDEX: _index(saved),
            MANIFEST: [_manifest(one) for one in saved],
            LAYOUT_FILE: {"imageLayoutVersion": "1.0.0"},
        }
        if repositories := _repositories(saved):
            documents["repositories"] = repositories
        for name, value in documents.items():
            _write_document(archive, name, value)
        archive.finish()
    for one in chosen:
        image_event(engine, one.image, "save")


def _choose(engine: Engine, names: Iterable[str], platform: str | None) -> list[_Chosen]:
    chosen: dict[str, _Chosen] = {}
    for text in names:
        tags = _tags(engine, text)
        for name in map(str, tags) if tags else [_found(engine, text).id]:
            image = engine.images.find(name, platform=platform)
            one = chosen.setdefault(image.id, _Chosen(image, []))
            one.names.extend(
                tag for tag in tags if str(tag) == name and not tag.transport and tag not in one.names
            )
    return list(chosen.values())


def _tags(engine: Engine, text: str) -> list[Reference]:
    """Return the tags that a name stands for; none for an id, a digest, and what is not here."""
    try:
        wanted = Reference.parse(text)
    except InvalidInput:
        return []
    return [] if wanted.digest else [tag for tag in tagged(engine, wanted) if wanted.tag in (None, tag.tag)]


def _found(engine: Engine, text: str) -> Image:
    try:
        return engine.images.find(text)
    except NotFound:
        raise NotFound(f"No such image: {text}") from None  # a name stands for all its tags, not for one


def _saved(content: ContentStore, one: _Chosen) -> _Saved:
    """Describe an image whose blobs are all there, and are leased from now on."""
    content.has(one.image.manifest)
    data = content.read(one.image.manifest)
    manifest = parse_manifest(data)
    for blob in (manifest.config, *manifest.layers):
        if not content.has(blob.digest):
            raise NotFound(f"no such blob: {blob.digest}", hint="it has got lost: pull the image again")
    return _Saved(one.names, Descriptor(manifest.media_type, one.image.manifest, len(data)), manifest)


def _write_blobs(archive: TarWriter, content: ContentStore, saved: Sequence[_Saved]) -> None:
    blobs: dict[str, Descriptor] = {}
    for one in saved:
        for blob in (one.descriptor, one.manifest.config, *one.manifest.layers):
            blobs[blob_name(blob.digest)] = blob
    for name in sorted({"blobs/", *(f"{os.path.dirname(name)}/" for name in blobs)}):
        archive.put(TarEntry(name.encode(), DIRECTORY, 0o755, 0, 0, 0, 0))
    for name in sorted(blobs):
        _write_blob(archive, content, name, blobs[name])


def _write_blob(archive: TarWriter, store: ContentStore, name: str, blob: Descriptor) -> None:
    """Write a blob, verified while it goes by."""
    algorithm, _, value = blob.digest.partition(":")
    hashed = hashlib.new(algorithm)
    with store.path(blob.digest).open("rb", buffering=0) as file:

        def pieces() -> Iterable[bytes]:
            for piece in content(file.fileno(), blob.size):
                hashed.update(piece)
                yield piece

        archive.put_pieces(TarEntry(name.encode(), REGULAR, 0o644, 0, 0, blob.size, 0), pieces())
    if hashed.hexdigest() != value:
        raise DataError(f"blob {blob.digest} is damaged on disk", hint="remove the image and pull it again")


def _write_document(archive: TarWriter, name: str, value: Any) -> None:
    data = json.dumps(value, separators=(",", ":")).encode()
    archive.put_pieces(TarEntry(name.encode(), REGULAR, 0o644, 0, 0, len(data), 0), [data])


# -- what the archive says of itself ------------------------------------------------------------------------------


def _index(saved: Sequence[_Saved]) -> dict[str, Any]:
    """Return the index of the image layout: a manifest once for each of its names."""
    entries = []
    for one in saved:
        for notes in [_notes(name) for name in one.names] or [{}]:
            entries.append(one.descriptor._replace(annotations=notes).to_json())
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


def _notes(name: Reference) -> dict[str, str]:
    return {IMAGE_NAME: str(name), REF_NAME: name.tag or ""}


def _manifest(one: _Saved) -> dict[str, Any]:
    """Return an image's entry of ``manifest.json``."""
    return {
        "Config": blob_name(one.manifest.config.digest),
        "RepoTags": [name.familiar for name in one.names] or None,
        "Layers": [blob_name(layer.digest) for layer in one.manifest.layers],
    }


def _repositories(saved: Sequence[_Saved]) -> dict[str, dict[str, str]]:
    """Return what Docker before 1.10 read: repository, tag and topmost layer."""
    found: dict[str, dict[str, str]] = {}
    for one in saved:
        for name in one.names:
            if one.manifest.layers and name.tag:
                top = one.manifest.layers[-1].digest.partition(":")[2]
                found.setdefault(name.familiar_name, {})[name.tag] = top
    return found
