"""The registry for tests is itself held to what real clients do with it."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from swapbox.descriptors import Descriptor
from swapbox.testing.images import file, image_of, layer_of
from swapbox.testing.publish import push, write_layout
from swapbox.testing.registry_server import RegistryServer

IMAGE = image_of([layer_of([file("a", b"1")])])


def _get(host: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_what_was_pushed_can_be_pulled() -> None:
    with RegistryServer() as server:
        push(server.host, "demo/app", "latest", IMAGE)
        assert _get(server.host, "/v2/demo/app/manifests/latest") == (200, IMAGE.manifest.source)
        for blob in IMAGE.blobs():
            assert _get(server.host, f"/v2/demo/app/blobs/{blob.descriptor.digest}") == (200, blob.source)


def test_a_wrong_upload_is_refused() -> None:
    wrong = IMAGE.config._replace(source=b"x")
    with RegistryServer() as server, pytest.raises(http.client.HTTPException, match="DIGEST_INVALID"):
        push(
            server.host,
            "demo/app",
            "latest",
            IMAGE._replace(config=wrong._replace(descriptor=wrong.descriptor._replace(size=1))),
        )


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs the Debian package skopeo")
def test_skopeo_can_push_to_it_and_pull_from_it(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"latest": IMAGE})
    skopeo = ["skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "-q"]
    with RegistryServer() as server:
        there = f"docker://{server.host}/demo/app:latest"
        subprocess.run([*skopeo, f"oci:{tmp_path}/layout:latest", there], check=True, timeout=60)
        subprocess.run([*skopeo, there, f"oci:{tmp_path}/back:latest"], check=True, timeout=60)
    (entry,) = json.loads((tmp_path / "back" / "index.json").read_text())["manifests"]
    assert Descriptor.from_json(entry).digest == IMAGE.manifest.descriptor.digest
