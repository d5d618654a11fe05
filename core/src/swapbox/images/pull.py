"""Pull: from a reference to verified blobs, three layers at a time, unpacked while they arrive.

The order is: resolve; let policy hooks refuse; choose the manifest for the platform; fetch the config; fetch the
layers in threads, while the caller's own thread unpacks them; store manifest and index last, so that a manifest
in the content store has had its blobs there. What a failure leaves is partial blobs, and the next pull goes on
with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from swapbox.descriptors import MANIFEST_LIMIT, Descriptor, digest_of
from swapbox.drivers.registry import RegistryDriver
from swapbox.errors import DataError, NotFound
from swapbox.images import manifests, platforms
from swapbox.images.download import Downloads
from swapbox.images.layers import Layer
from swapbox.images.manifests import ImageConfig, Index, Manifest
from swapbox.images.platforms import Platform
from swapbox.images.progress import Progress, Silent
from swapbox.references import Reference
from swapbox.store.content import ContentStore

_INDEX_DEPTH = 4
Verify = Callable[[Reference, Descriptor], None]
Consume = Callable[[Sequence[Layer]], None]


class Pulled(NamedTuple):
    """An image whose blobs are all in the content store.

    :param target: what the reference names: an index or a manifest.
    :param manifest: the manifest for the platform.
    :param config: the image config, parsed.
    :param config_digest: the image's id.
    :param layers: the lowest first.
    :param reference: what was asked for, with its tag or digest; None for what was not pulled.
    """

    target: Descriptor
    manifest: Descriptor
    config: dict[str, Any]
    config_digest: str
    layers: tuple[Descriptor, ...]
    reference: Reference | None = None


def pull(
    reference: Reference,
    *,
    registry: RegistryDriver,
    content: ContentStore,
    platform: str | None = None,
    progress: Progress | None = None,
    verify: Verify | None = None,
    consume: Consume | None = None,
    retry_delay: float = 5.0,
) -> Pulled:
    """Fetch an image and verify all of it; nothing is fetched that the store has.

    :param platform: ``os/architecture[/variant]``; None for this host's.
    :param verify: is told the reference and what it resolved to, before any blob is fetched; refuses by raising.
    :param consume: is called once, in the calling thread, with the layers from the lowest up, while they arrive.
    :param retry_delay: seconds before a broken download goes on, times the number of the attempt.
    :raises NotFound: there is no such image, or none for the platform.
    :raises PermissionDenied: the registry wants another user.
    :raises Unavailable: the registry is out of reach or keeps failing, or the disk is full.
    :raises DataError: something is not what its digest, size or format promised.
    :raises Unsupported: it is not an image that can be unpacked.
    """
    reference = reference.with_default_tag()
    progress = progress or Silent()
    chosen = _choose(
        reference, registry=registry, content=content, platform=platform, verify=verify, progress=progress
    )
    there = all(content.has(blob.digest) for blob in (chosen.manifest.config, *chosen.manifest.layers))
    downloads = Downloads(
        reference,
        registry=registry,
        content=content,
        progress=Silent() if there else progress,
        retry_delay=retry_delay,
    )
    config = _fetch_config(chosen.manifest, downloads=downloads, content=content)
    _check_platform(config, chosen, reference=reference, platform=platform)
    _fetch_layers(chosen.manifest.layers, config.diff_ids, downloads=downloads, consume=consume)
    for descriptor, data in reversed(chosen.documents):
        content.write(descriptor, data)
    return Pulled(
        target=chosen.documents[0][0],
        manifest=chosen.documents[-1][0],
        config=config.value,
        config_digest=chosen.manifest.config.digest,
        layers=chosen.manifest.layers,
        reference=reference,
    )


class _Chosen(NamedTuple):
    """The documents from the target down to the manifest, byte for byte."""

    documents: list[tuple[Descriptor, bytes]]
    manifest: Manifest
    wanted: Platform


def _choose(
    reference: Reference,
    *,
    registry: RegistryDriver,
    content: ContentStore,
    platform: str | None,
    verify: Verify | None,
    progress: Progress,
) -> _Chosen:
    wanted = Platform.parse(platform) if platform else platforms.default()
    descriptor = registry.resolve(reference)
    if reference.digest and descriptor.digest != reference.digest:
        raise DataError(f"{reference.familiar} resolved to {descriptor.digest}")
    if verify is not None:
        verify(reference, descriptor)
    progress.message(f"{reference.tag or reference.digest}: Pulling from {reference.path}")
    documents = []
    for _ in range(_INDEX_DEPTH):
        data = _document(reference, descriptor, registry=registry, content=content)
        documents.append((descriptor, data))
        parsed = manifests.parse(data, descriptor.media_type)
        if isinstance(parsed, Manifest):
            return _Chosen(documents, parsed, wanted)
        descriptor = _best(reference, parsed, wanted)
    raise DataError(f"indexes of {reference.familiar} are nested more than {_INDEX_DEPTH} deep")


def _document(
    reference: Reference, descriptor: Descriptor, *, registry: RegistryDriver, content: ContentStore
) -> bytes:
    if descriptor.size > MANIFEST_LIMIT:
        raise DataError(f"manifest {descriptor.digest} is longer than {MANIFEST_LIMIT} bytes")
    if content.has(descriptor.digest):
        data = content.read(descriptor.digest)
    else:
        data = registry.manifest(reference, descriptor)
    actual = digest_of(data, descriptor.digest.partition(":")[0])
    if (len(data), actual) != (descriptor.size, descriptor.digest):
        raise DataError(
            f"manifest verification failed for digest {descriptor.digest} of {descriptor.size} bytes: "
            f"got {actual} of {len(data)} bytes"
        )
    return data


def _best(reference: Reference, index: Index, wanted: Platform) -> Descriptor:
    if ranked := platforms.ranked(wanted, index.manifests):
        return ranked[0]
    offered = {platforms.of(manifest.platform) for manifest in index.manifests if manifest.platform}
    names = sorted(str(platform) for platform in offered if platform and platform.os != "unknown")
    raise NotFound(
        f"no matching manifest for {wanted} in the manifest list entries of {reference.familiar}",
        hint=f"it has {', '.join(names)}: choose one with --platform" if names else None,
    )


def _fetch_config(manifest: Manifest, *, downloads: Downloads, content: ContentStore) -> ImageConfig:
    """Fetch and check the config; it must name one diffID per layer."""
    descriptor = manifest.config
    downloads.fetch(descriptor)
    data = content.read(descriptor.digest)
    if len(data) != descriptor.size:
        raise DataError(f"config {descriptor.digest} has {len(data)} bytes instead of {descriptor.size}")
    config = manifests.parse_config(data)
    if len(config.diff_ids) != len(manifest.layers):
        raise DataError(
            f"config {descriptor.digest} names {len(config.diff_ids)} layers, its manifest {len(manifest.layers)}"
        )
    return config


def _check_platform(config: ImageConfig, chosen: _Chosen, *, reference: Reference, platform: str | None) -> None:
    """Refuse another platform than was asked for; without an index and without a wish, anything goes."""
    actual = platforms.of(config.value)
    wished = platform is not None or len(chosen.documents) > 1
    if wished and actual is not None and actual not in platforms.acceptable(chosen.wanted):
        raise NotFound(
            f"image with reference {reference.familiar} was found but its platform ({actual}) does not match "
            f"the specified platform ({chosen.wanted})"
        )


def _fetch_layers(
    layers: Sequence[Descriptor],
    diff_ids: Sequence[str],
    *,
    downloads: Downloads,
    consume: Consume | None,
) -> None:
    feeds = downloads.feeds(layers)
    ordered = [Layer.of(feeds[layer.digest], diff_id) for layer, diff_id in zip(layers, diff_ids, strict=True)]
    downloads.run(list(feeds.values()), meanwhile=None if consume is None else lambda: consume(ordered))
