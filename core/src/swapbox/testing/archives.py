"""Archives of test images, as other engines write them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from swapbox.layouts import REF_NAME, blob_name
from swapbox.testing.images import Image


def archive_of(files: Mapping[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """Return a tar archive of files, and of entries without content."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info)
    return data.getvalue()


def blobs_of(image: Image) -> dict[str, bytes]:
    """Return manifest, config and layers by the names they have in an image layout."""
    return {blob_name(one.descriptor.digest): one.open().read() for one in (image.manifest, *image.blobs())}


def layout_files(image: Image, *names: str) -> dict[str, bytes]:
    """Return the files of an image layout with one image, under each of the names."""
    entry = image.manifest.descriptor
    entries = [entry._replace(annotations={REF_NAME: name}).to_json() for name in names] or [entry.to_json()]
    return {
        **blobs_of(image),
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": entries}).encode(),
    }


def docker_files(image: Image, *names: str) -> dict[str, bytes]:
    """Return the files of a docker-archive as Docker before 25 wrote it: uncompressed layers in directories."""
    layers = {f"{n:064x}/layer.tar": gzip.decompress(one.blob.open().read()) for n, one in enumerate(image.layers)}
    document = [{"Config": "config.json", "RepoTags": list(names) or None, "Layers": list(layers)}]
    return {**layers, "config.json": image.config.open().read(), "manifest.json": json.dumps(document).encode()}


def write_archive(path: Path, name: str, image: Image, *, layout: bool) -> None:
    """Write an archive of one image by name, as an image layout or a docker-archive."""
    path.write_bytes(archive_of(layout_files(image, name) if layout else docker_files(image, name)))
