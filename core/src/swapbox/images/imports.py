"""``docker import``: the files of an archive, such as ``export`` writes, become an image of one layer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.descriptors import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from swapbox.errors import InvalidInput, NotFound, Unavailable
from swapbox.images import platforms
from swapbox.images.compression import CHUNK, ByteSource, decompress
from swapbox.images.events import image_event
from swapbox.images.instructions import apply_changes
from swapbox.images.lease import Lease
from swapbox.images.packing import OWN_LAYERS, PackedLayer, created_now
from swapbox.images.platforms import Platform
from swapbox.references import Reference
from swapbox.store.staging import StagedBlob

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image

_TIMEOUT = 60.0


class ImportOptions(NamedTuple):
    """What ``import`` takes.

    :param reference: the new image's name; empty for none.
    :param changes: Dockerfile instructions.
    :param comment: for the image's history.
    :param platform: what the image is for; None for this host's.
    """

    reference: str = ""
    changes: Sequence[str] = ()
    comment: str = ""
    platform: str | None = None
    storage: str | None = None


def import_archive(engine: Engine, source: ByteSource, options: ImportOptions) -> Image:
    """Make an image of a tar archive, plain or compressed.

    :raises InvalidInput: the reference, the platform or a change is wrong.
    :raises DataError: it is no tar archive, or a hostile one.
    :raises Unavailable: the disk is full, or the source broke off.
    """
    reference = Reference.parse_name(options.reference).with_default_tag() if options.reference else None
    if reference and reference.digest:
        raise InvalidInput("cannot import digest reference")
    platform = Platform.parse(options.platform) if options.platform else platforms.default()
    settings = apply_changes({}, options.changes)
    with Lease(engine) as lease:
        layer, diff_id = _store_layer(engine, source, lease)
        config = _stored(lease, OCI_CONFIG, _config(platform, settings, diff_id, options.comment))
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json()],
        }
        image = engine.images.adopt(
            _stored(lease, OCI_MANIFEST, manifest),
            names=[str(reference)] if reference else [],
            lease=lease,
            storage=options.storage,
            limits=engine.config.limits._replace(max_ratio=OWN_LAYERS.max_ratio),
        )
    if reference:
        image_event(engine, image, "tag", name=reference.familiar)
    image_event(engine, image, "import")
    engine.images.collect_garbage()
    return image


def _store_layer(engine: Engine, source: ByteSource, lease: Lease) -> tuple[Descriptor, str]:
    plain = decompress(source, max_ratio=engine.config.limits.max_ratio)
    with StagedBlob(lease.content.root) as blob:
        packed = PackedLayer(blob)
        while data := plain.read(CHUNK):
            packed.write(data)
        packed.finish()
        lease.take(blob.digest)
        blob.publish()
        return Descriptor(f"{OCI_LAYER}+gzip", blob.digest, blob.size), packed.digest


def _stored(lease: Lease, media_type: str, value: dict[str, Any]) -> Descriptor:
    data = json.dumps(value, separators=(",", ":")).encode()
    return Descriptor(media_type, lease.content.put(data), len(data))


def _config(platform: Platform, settings: dict[str, Any], diff_id: str, comment: str) -> dict[str, Any]:
    created = created_now()
    return {
        "created": created,
        "comment": comment,
        **{key: value for key, value in platform._asdict().items() if value},
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": comment}],
    }


@contextmanager
def opened_url(url: str) -> Iterator[ByteSource]:
    """Give what an HTTP or HTTPS server sends; proxies are those of the environment.

    :raises NotFound: it refuses.
    :raises Unavailable: it cannot be reached, or breaks off while it is read.
    """
    import urllib.error
    import urllib.request

    try:
        answer = urllib.request.urlopen(url, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            raise NotFound(f"failed to GET {url} with status {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        text = str(getattr(reason, "strerror", None) or reason)
        raise Unavailable(f"cannot get {url}: {text[:1].lower()}{text[1:]}") from error
    with answer:
        yield _Received(answer, url)


class _Received:
    """The body of an answer, whose failures are ours."""

    def __init__(self, answer: Any, url: str) -> None:
        self._answer = answer
        self._url = url
        self._left = answer.length

    def read(self, size: int, /) -> bytes:
        import http.client

        try:
            data: bytes = self._answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self._url} broke off: {error}") from error
        if self._left is not None:
            self._left -= len(data)
            if not data and self._left > 0:
                raise Unavailable(f"{self._url} broke off: {self._left} bytes are missing")
        return data
