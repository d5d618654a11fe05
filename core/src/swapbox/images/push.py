"""Push: from the content store to a registry, the very bytes that were pulled or made here.

What is pushed is what the image's name stands for: an index when all of it is here, else the one manifest that is.
The order is: blobs; manifests; the index; what names something comes after it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from swapbox.descriptors import INDEXES, Descriptor
from swapbox.drivers.registry import PushDriver
from swapbox.errors import DataError, Unsupported
from swapbox.images import manifests, platforms
from swapbox.images import progress as words
from swapbox.images.manifests import Index, Manifest
from swapbox.images.progress import Progress, Silent
from swapbox.images.uploads import Upload, Uploads
from swapbox.references import Reference
from swapbox.store.content import ContentStore

if TYPE_CHECKING:
    from swapbox.engine import Engine

Sources = Callable[[str], Sequence[str]]
_MOUNTS = 4
"""Repositories that are asked for a layer at most."""


class Parcel(NamedTuple):
    """What is pushed: documents, the last of which the reference is to name, and the manifests among them."""

    documents: tuple[tuple[Descriptor, bytes], ...]
    images: tuple[Manifest, ...]

    @property
    def target(self) -> Descriptor:
        """What the reference is to name."""
        return self.documents[-1][0]


def parcel(content: ContentStore, *, target: str, manifest: str, platform: str | None = None) -> Parcel:
    """Find what there is to push.

    :param target: digest of what the image's name stands for.
    :param manifest: digest of the image's manifest, which is here.
    :param platform: push the manifest of an index that is for this one; None for all of it.
    :raises NotFound: there is none for the platform.
    """
    index = _index(content, target)
    if index is not None:
        found = [_whole(content, entry) for entry in _wanted(index[1], platform)]
        there = [one for one in found if one is not None]
        if platform is not None and there:
            return there[0]
        if platform is None and len(there) == len(found):
            below = {document[0].digest: document for one in there for document in one.documents}
            return Parcel((*below.values(), index[0]), tuple(image for one in there for image in one.images))
    data = content.read(manifest)
    parsed = manifests.parse_manifest(data)
    descriptor = Descriptor(parsed.media_type, manifest, len(data))
    return Parcel(((descriptor, data),), (parsed,))


def _index(content: ContentStore, digest: str) -> tuple[tuple[Descriptor, bytes], Index] | None:
    """Return the index of that digest; None when it is none or not here."""
    if not content.has(digest):
        return None
    data = content.read(digest)
    try:
        parsed = manifests.parse_index(data)
    except DataError:
        return None
    return (Descriptor(parsed.media_type, digest, len(data)), data), parsed


def _wanted(index: Index, platform: str | None) -> Sequence[Descriptor]:
    if platform is None:
        return index.manifests
    return platforms.ranked(platforms.Platform.parse(platform), index.manifests)


def _whole(content: ContentStore, entry: Descriptor) -> Parcel | None:
    """Return a manifest of an index when all of it is here."""
    if entry.media_type in INDEXES or not content.has(entry.digest):
        return None
    data = content.read(entry.digest)
    try:
        parsed = manifests.parse_manifest(data, media_type=entry.media_type)
    except (DataError, Unsupported):
        return None
    if not all(content.has(blob.digest) for blob in (parsed.config, *parsed.layers) if not blob.urls):
        return None
    plain = Descriptor(parsed.media_type, entry.digest, len(data))
    return Parcel(((plain, data),), (parsed,))


def push(
    reference: Reference,
    what: Parcel,
    *,
    registry: PushDriver,
    content: ContentStore,
    sources: Sources = lambda _digest: (),
    progress: Progress | None = None,
    retry_delay: float = 5.0,
) -> None:
    """Send everything that the registry does not have.

    :param reference: with a tag; the host's repository that is pushed to.
    :param sources: gives repositories of the same registry that may have a layer.
    :param retry_delay: seconds before a broken upload goes on, times the number of the attempt.
    :raises NotFound: a blob that the registry does not have is not here either.
    :raises PermissionDenied: the registry wants another user.
    :raises Unavailable: it is out of reach or keeps failing.
    :raises Unsupported: it does not take the image.
    """
    progress = progress or Silent()
    uploads = Uploads(reference, registry=registry, content=content, progress=progress, retry_delay=retry_delay)
    configs = {image.config.digest: image.config for image in what.images}
    # The first question, before anything is told: is the registry there, and may we?
    missing = [config for config in configs.values() if not registry.has_blob(reference, config)]
    layers = _layers(what.images, content, sources)
    for layer in layers:
        progress.layer(layer.key, words.PREPARING)
    uploads.run(layers)
    for config in missing:
        uploads.deliver(Upload(config))
    for descriptor, data in what.documents[:-1]:
        registry.push_manifest(reference._replace(tag=None, digest=descriptor.digest), descriptor, data)
    registry.push_manifest(reference, *what.documents[-1])
    progress.message(f"{reference.tag}: digest: {what.target.digest} size: {what.target.size}")


def _layers(images: Sequence[Manifest], content: ContentStore, sources: Sources) -> list[Upload]:
    """Return every distinct layer, the uppermost first as Docker has it."""
    found: dict[str, Upload] = {}
    for image in images:
        keys = manifests.parse_config(content.read(image.config.digest)).diff_ids
        if len(keys) != len(image.layers):
            raise DataError(f"config {image.config.digest} does not have the layers of its manifest")
        for layer, key in reversed(list(zip(image.layers, keys, strict=True))):
            mount_from = tuple(sources(layer.digest))[:_MOUNTS]
            found.setdefault(layer.digest, Upload(layer, key, mount_from))
    return list(found.values())


def push_image(
    engine: Engine,
    reference: Reference,
    *,
    platform: str | None = None,
    registry: str | None = None,
    progress: Progress | None = None,
) -> Descriptor:
    """Push an image of this engine under its own name; return what the registry has now.

    :param reference: with a tag.
    :param registry: the registry driver to use instead of the default one.
    :raises NotFound: there is no such image, or none for the platform.
    :raises Unsupported: the driver takes no images.
    :raises SwapboxError: see :func:`push`.
    """
    from swapbox.images.events import image_event
    from swapbox.images.lease import Lease
    from swapbox.images.registries import destination

    driver = _driver(engine, reference.transport or registry)
    image = engine.images.find(str(reference))
    place = destination(engine, reference)
    with Lease(engine) as lease:
        what = parcel(lease.content, target=image.target, manifest=image.manifest, platform=platform)
        if platform is not None and what.target.digest == image.manifest:
            engine.images.find(str(reference), platform=platform)  # refuses another platform's
        for blob in (blob for one in what.images for blob in (one.config, *one.layers)):
            lease.take(blob.digest)
        push(
            place,
            what,
            registry=driver,
            content=lease.content,
            sources=lambda digest: _sources(engine, place, digest),
            progress=progress,
        )
        engine.database.execute(
            "INSERT OR REPLACE INTO image_names SELECT ?, id FROM images WHERE id = ?",
            (f"{reference.name}@{what.target.digest}", image.id),
        )
    image_event(engine, image, "push", id=reference.familiar, name=reference.familiar_name)
    return what.target


def _driver(engine: Engine, name: str | None) -> PushDriver:
    choice = engine.selector.choose("registry", name=name)
    if "push" not in choice.offer.spec.capabilities:
        raise Unsupported(f"registry driver {choice.name} takes no images", hint="choose one with --registry")
    return cast("PushDriver", engine.selector.open("registry", name=name))


def _sources(engine: Engine, reference: Reference, digest: str) -> list[str]:
    """Return the repositories of the same registry that an image with this layer came from or went to.

    Those whose path begins like the reference's come first: they are likely to be the same owner's.
    """
    rows = engine.database.rows(
        "SELECT DISTINCT name FROM image_names JOIN image_blobs USING (image) WHERE digest = ? AND name LIKE ?",
        (digest, f"{reference.host}/%@%"),
    )
    paths = {Reference.parse(row["name"]).path for row in rows} - {reference.path}
    return sorted(paths, key=lambda path: (-len(os.path.commonpath([path, reference.path])), path))


def tagged(engine: Engine, repository: Reference) -> list[Reference]:
    """Return what has a tag of a repository, sorted."""
    # A range instead of a pattern, in which "_" would stand for anything.
    names = engine.database.rows(
        "SELECT name FROM image_names WHERE name > ? AND name < ? ORDER BY name",
        (f"{repository.name}:", f"{repository.name};"),
    )
    return [Reference.parse(row["name"]) for row in names]
