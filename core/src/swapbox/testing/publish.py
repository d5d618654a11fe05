"""Put test images where an engine finds them: an OCI layout on disk, or any registry that takes pushes."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

from swapbox.descriptors import OCI_INDEX
from swapbox.testing.images import Blob, Image


def write_layout(directory: Path, images: Mapping[str, Image]) -> None:
    """Write an OCI image layout (image-spec 1.1) that holds ``images`` by tag."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entries = []
    for tag, image in images.items():
        for blob in (image.manifest, *image.blobs()):
            with blob.open() as stream:
                (blobs / blob.descriptor.digest.removeprefix("sha256:")).write_bytes(stream.read())
        annotations = {"org.opencontainers.image.ref.name": tag}
        entries.append(image.manifest.descriptor._replace(annotations=annotations).to_json())
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    (directory / "index.json").write_text(json.dumps(index))


def push(address: str, repository: str, tag: str, image: Image) -> str:
    """Push to the plain-HTTP registry at ``address`` (``host:port``); return the reference to pull.

    :raises http.client.HTTPException: the registry refused a blob or the manifest.
    """
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        for blob in image.blobs():
            _push_blob(connection, repository, blob)
        headers = {"Content-Type": image.manifest.descriptor.media_type}
        _request(connection, "PUT", f"/v2/{repository}/manifests/{tag}", image.manifest, headers)
    finally:
        connection.close()
    return f"{address}/{repository}:{tag}"


def _push_blob(connection: http.client.HTTPConnection, repository: str, blob: Blob) -> None:
    digest = blob.descriptor.digest
    connection.request("HEAD", f"/v2/{repository}/blobs/{digest}")
    answer = connection.getresponse()
    answer.read()
    if answer.status == http.client.OK:
        return
    location = _request(connection, "POST", f"/v2/{repository}/blobs/uploads/", None, {})
    # The location may be a path or a whole URL, with or without a query of the registry's own.
    upload = urllib.parse.urlsplit(location)
    query = "&".join(filter(None, [upload.query, f"digest={digest}"]))
    headers = {"Content-Type": "application/octet-stream"}
    _request(connection, "PUT", f"{upload.path}?{query}", blob, headers)


def _request(
    connection: http.client.HTTPConnection, method: str, path: str, blob: Blob | None, headers: Mapping[str, str]
) -> str:
    if blob is None:
        connection.request(method, path, headers={**headers, "Content-Length": "0"})
    else:
        with blob.open() as stream:
            size = str(blob.descriptor.size)
            connection.request(method, path, body=stream, headers={**headers, "Content-Length": size})
    answer = connection.getresponse()
    text = answer.read()
    if not 200 <= answer.status < 300:
        raise http.client.HTTPException(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
    return answer.headers.get("Location", "")
