"""``docker load``: images from an archive, which arrives as a stream and may be compressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from swapbox import layouts
from swapbox.descriptors import MANIFEST_LIMIT, Descriptor
from swapbox.errors import DataError, InvalidInput, InvalidReference, NotFound
from swapbox.images import manifests, platforms
from swapbox.images.archive_files import ArchiveFiles
from swapbox.images.compression import ByteSource, decompress
from swapbox.images.events import image_event
from swapbox.images.lease import Lease
from swapbox.images.manifests import Index
from swapbox.images.platforms import Platform
from swapbox.images.progress import Progress
from swapbox.images.tarstream import TarStream
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image
    from swapbox.store.content import ContentStore

_INDEX_DEPTH = 4


class Loaded(NamedTuple):
    """An image that was loaded.

    :param names: the tags that it has got.
    :param replaced: of those, the ones that another image has lost, with that image's id.
    """

    image: Image
    names: tuple[Reference, ...]
    replaced: tuple[tuple[Reference, str], ...]


def load(
    engine: Engine,
    source: ByteSource,
    *,
    platform: str | None = None,
    storage: str | None = None,
    progress: Progress | None = None,
) -> Iterator[Loaded]:
    """Load every image of an archive: what ``save`` writes here and in Docker, Podman and skopeo.

    Each image is there as a whole, with its names, before it is yielded; an error leaves those before it.

    :param source: a docker-archive or an OCI layout as tar, plain or compressed with gzip, bzip2, xz or zstd.
    :param platform: which to take of several, and what the images must be for.
    :param storage: the driver to unpack for, instead of the default one.
    :raises DataError: the archive is malformed, or something in it is not what its digest says.
    :raises NotFound: an image is for another platform.
    :raises Unavailable: the disk is full.
    """
    wanted = Platform.parse(platform) if platform else None
    with Lease(engine) as lease:
        files = ArchiveFiles(lease)
        files.take(TarStream(decompress(source, max_ratio=engine.config.limits.max_ratio)))
        for found in layouts.images(files):
            if found.document is not None:
                lease.content.put(found.document)
            descriptor = _manifest(lease.content, found.descriptor, wanted or platforms.default())
            names = _names(found.names)
            _check(lease.content, descriptor, wanted, label=" ".join(found.names) or descriptor.digest)
            replaced = _replaced(engine, names)
            image = _adopt(engine, descriptor, names, lease, storage=storage, progress=progress)
            image_event(engine, image, "load")
            lost = ((name, id) for name, id in replaced if id != image.id)
            yield Loaded(image, names, tuple(lost))
        lease.remove_unused()
    engine.images.collect_garbage()


def _manifest(content: ContentStore, descriptor: Descriptor, wanted: Platform) -> Descriptor:
    """Go down from an index to the best manifest that is there."""
    for _ in range(_INDEX_DEPTH):
        if not content.has(descriptor.digest):
            raise DataError(f"invalid archive: manifest {descriptor.digest} is not in it")
        data = content.read(descriptor.digest, limit=MANIFEST_LIMIT)
        if len(data) != descriptor.size:
            raise DataError(f"manifest {descriptor.digest} has {len(data)} bytes instead of {descriptor.size}")
        parsed = manifests.parse(data, descriptor.media_type)
        if not isinstance(parsed, Index):
            return descriptor
        there = [one for one in platforms.ranked(wanted, parsed.manifests) if content.has(one.digest)]
        if not there:
            raise NotFound(f"the archive has no manifest for {wanted} of index {descriptor.digest}")
        descriptor = there[0]
    raise DataError(f"indexes in the archive are nested more than {_INDEX_DEPTH} deep")


def _check(content: ContentStore, descriptor: Descriptor, wanted: Platform | None, *, label: str) -> None:
    """Check that all of an image is there and fits together, and that it is for the platform."""
    manifest = manifests.parse_manifest(content.read(descriptor.digest))
    for blob in (manifest.config, *manifest.layers):
        if not content.has(blob.digest):
            raise DataError(f"invalid archive: blob {blob.digest} is not in it")
        if content.size(blob.digest) != blob.size:
            raise DataError(
                f"blob {blob.digest} has {content.size(blob.digest)} bytes, its manifest says {blob.size}"
            )
    config = manifests.parse_config(content.read(manifest.config.digest))
    if len(config.diff_ids) != len(manifest.layers):
        raise DataError(
            f"invalid manifest, layers length mismatch: expected {len(config.diff_ids)}, "
            f"got {len(manifest.layers)}"
        )
    actual = platforms.of(config.value)
    if wanted is not None and actual not in platforms.acceptable(wanted):
        raise NotFound(f"image {label} is for {actual}, not for the requested platform {wanted}")


def _names(texts: tuple[str, ...]) -> tuple[Reference, ...]:
    """Return the tags among the names of an image; a short one, as skopeo writes it, names no image.

    :raises DataError: a full one is malformed.
    """
    found = []
    for text in texts:
        if ":" not in text and "/" not in text:
            continue
        try:
            reference = Reference.parse_name(text)
        except InvalidReference as error:
            raise DataError(f"invalid tag {text!r:.200}: {error.message}") from error
        if reference.tag:
            found.append(reference._replace(digest=None))
    return tuple(dict.fromkeys(found))


def _replaced(engine: Engine, names: tuple[Reference, ...]) -> list[tuple[Reference, str]]:
    found = []
    for name in names:
        try:
            found.append((name, engine.images.find(str(name)).id))
        except (NotFound, InvalidInput):
            continue
    return found


def _adopt(
    engine: Engine,
    descriptor: Descriptor,
    names: tuple[Reference, ...],
    lease: Lease,
    *,
    storage: str | None,
    progress: Progress | None,
) -> Image:
    """Register an image, or give its names to the one that is here, whose layers may be packed in another way."""
    texts = [str(name) for name in names]
    manifest = manifests.parse_manifest(lease.content.read(descriptor.digest))
    image = _here(engine, lease, manifest.config.digest)
    if image is None:
        return engine.images.adopt(descriptor, names=texts, lease=lease, storage=storage, progress=progress)
    engine.images.ensure_unpacked(image, storage=engine.selector.choose("storage", name=storage).name)
    return engine.images.name(image, texts)


def _here(engine: Engine, lease: Lease, image_id: str) -> Image | None:
    """Return an image that is here already, all of it."""
    try:
        image = engine.images.find(image_id)
        layers = manifests.parse_manifest(lease.content.read(image.manifest)).layers
    except NotFound:
        return None
    return image if all(lease.content.has(layer.digest) for layer in layers) else None
