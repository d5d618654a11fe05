"""What a registry has under a name may be no image, or not what it says: one clear error, all else as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.descriptors import (
    DOCKER_MANIFEST,
    MANIFEST_LIMIT,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
)
from swapbox.descriptors import digest_of as digest
from swapbox.testing import images, publish
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox, sandbox

pytestmark = pytest.mark.root

NAME = "bad"
LAYER = images.layer_of([images.file("a", b"a" * 1000)])
BYTES = LAYER.blob.open().read()


@pytest.fixture(scope="module")
def stocked(busybox_image: images.Image) -> Iterator[Sandbox]:
    """A swapbox with an image, which has to stay."""
    with RegistryServer() as server, sandbox() as swapbox:
        swapbox.ok("pull", publish.push(server.host, "good", "1", busybox_image))
        yield swapbox


def image(server: RegistryServer, *, config: dict[str, Any] | None = None, **layer: Any) -> Descriptor:
    """Add an image of one layer, some of whose descriptor is changed."""
    found = server.add_image(NAME, layers=[BYTES], config=config)
    manifest = json.loads(server.manifests[NAME, found.digest].data)
    manifest["layers"][0].update(layer)
    return server.add_manifest(NAME, "latest", OCI_MANIFEST, json.dumps(manifest).encode())


def other_platforms(server: RegistryServer) -> None:
    found = image(server)
    platforms = [{"os": "windows", "architecture": "amd64"}, {"os": "linux", "architecture": "s390x"}]
    server.add_index(NAME, "latest", [found._replace(platform=one) for one in platforms])


def nested_indexes(server: RegistryServer) -> None:
    found = image(server)
    for _ in range(20):
        found = server.add_index(NAME, "latest", [found])


def index_of_itself(server: RegistryServer) -> None:
    """No index has its own digest in it, so this one lies."""
    name = digest(b"")
    first = server.add_index(NAME, "latest", [Descriptor(OCI_INDEX, name, 0)])
    data = server.manifests[NAME, first.digest]
    again = server.add_index(NAME, "latest", [Descriptor(OCI_INDEX, name, len(data.data))])
    server.manifests[NAME, name] = server.manifests[NAME, again.digest]


def another_content_type(server: RegistryServer) -> None:
    found = server.manifests[NAME, image(server).digest]
    server.add_manifest(NAME, "latest", DOCKER_MANIFEST, found.data)


def no_container_image(server: RegistryServer) -> None:
    found = json.loads(server.manifests[NAME, image(server).digest].data)
    found["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    server.add_manifest(NAME, "latest", OCI_MANIFEST, json.dumps(found).encode())


def endless_manifest(server: RegistryServer) -> None:
    server.add_manifest(NAME, "latest", OCI_MANIFEST, b" " * (MANIFEST_LIMIT + 1))


def endless_config(server: RegistryServer) -> None:
    found = json.loads(server.manifests[NAME, image(server).digest].data)
    found["config"] = Descriptor(OCI_CONFIG, found["config"]["digest"], MANIFEST_LIMIT + 1).to_json()
    server.add_manifest(NAME, "latest", OCI_MANIFEST, json.dumps(found).encode())


def longer_than_said(server: RegistryServer) -> None:
    image(server)
    server.blobs[digest(BYTES)] = BYTES + b"more"


CASES: dict[str, tuple[Callable[[RegistryServer], object], str]] = {
    "another media type": (lambda server: image(server, mediaType="text/plain"), "text/plain"),
    "a blob that is longer": (longer_than_said, "bytes"),
    "a size too small": (lambda server: image(server, size=len(BYTES) - 1), "bytes"),
    "a size too large": (lambda server: image(server, size=len(BYTES) + 1), "bytes"),
    "another compression": (lambda server: image(server, mediaType=f"{OCI_LAYER}+zstd"), "zstd"),
    "another diffID": (
        lambda server: image(server, config={"rootfs": {"type": "layers", "diff_ids": [digest(b"x")]}}),
        digest(b"x"),
    ),
    "more diffIDs than layers": (
        lambda server: image(server, config={"rootfs": {"type": "layers", "diff_ids": [digest(b"x")] * 2}}),
        "layers",
    ),
    "other platforms": (other_platforms, "no matching manifest for linux/"),
    "nested indexes": (nested_indexes, "nested"),
    "an index of itself": (index_of_itself, "verification failed"),
    "another content type": (another_content_type, "media type"),
    "no container image": (no_container_image, "helm"),
    "an endless manifest": (endless_manifest, str(MANIFEST_LIMIT)),
    "an endless config": (endless_config, str(MANIFEST_LIMIT)),
}


def files(swapbox: Sandbox) -> set[Path]:
    """Return the blobs and the directories of snapshots."""
    return {
        *(swapbox.root / "content").rglob("[0-9a-f]" * 64),
        *(swapbox.root / "storage").glob("*/snapshots/*"),
    }


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_and_nothing_of_it_is_kept(
    stocked: Sandbox, fake_registry: RegistryServer, case: str
) -> None:
    make, words = CASES[case]
    make(fake_registry)
    before = files(stocked), stocked.ok("images", "-a", "--digests")
    result = stocked("pull", f"{fake_registry.host}/{NAME}")
    result.fails(1, words)
    assert result.err.lower().count("error") == 1, result.err
    assert (files(stocked), stocked.ok("images", "-a", "--digests")) == before
