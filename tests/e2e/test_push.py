"""``push``: the same words as Docker's, and what was pushed is read by others."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.testing import servers
from swapbox.testing.images import Image
from swapbox.testing.process import Engine, Result
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox, scratch

pytestmark = pytest.mark.root


def skopeo(*arguments: str | Path, home: Path) -> str:
    try:
        program = servers.require("skopeo", "skopeo")
    except Unsupported as error:
        pytest.skip(f"{error}: {error.hint}")
    environment = servers.plain_environment(home)
    return subprocess.run(
        [program, "--insecure-policy", *arguments],
        env=environment,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    ).stdout


def podman(directory: Path) -> Engine:
    try:
        program = servers.require("podman", "podman")
    except Unsupported as error:
        pytest.skip(f"{error}: {error.hint}")
    roots = ("--root", directory / "root", "--runroot", directory / "run", "--tmpdir", directory / "tmp")
    environment = servers.plain_environment(directory)
    return Engine(program, *roots, "--storage-driver", "vfs", environment=environment)


def said(result: Result) -> tuple[int, str, str]:
    """Return how a push ended, without what may differ.

    That are digest and size of a manifest, which Docker makes anew, and which of several repositories has a layer.
    """
    plain = re.sub(r"sha256:[0-9a-f]{64} size: \d+", "DIGEST", result.out)
    plain = re.sub(r"Mounted from [a-z/0-9]+", "Mounted from ANOTHER", plain)
    return result.code, plain, result.err.partition("\nhint: ")[0]


@pytest.mark.debian
def test_a_push_says_what_dockers_does(swapbox: Sandbox, docker: Engine, registry: str, busybox_ref: str) -> None:
    def pushed(engine: Engine, name: str) -> list[tuple[int, str, str]]:
        repository = f"{registry}/{name}"
        engine.ok("pull", busybox_ref)  # so that it is known where the layer can be mounted from
        engine.ok("tag", busybox_ref, f"{repository}:1")
        engine.ok("tag", busybox_ref, f"{repository}:2")
        cases = [
            (repository,),
            (f"{repository}:1",),
            (f"{repository}:1",),
            ("-a", repository),
            ("-q", f"{repository}:2"),
            ("-a", f"{repository}:2"),
            ("--quiet", "nosuch"),
            ("nosuch:1",),
            (f"nosuch@sha256:{'0' * 64}",),
            ("UPPER",),
        ]
        return [said(engine("push", *case)) for case in cases]

    one, two = (os.urandom(6).hex() for _ in range(2))  # the registry keeps what an earlier run has pushed
    ours, dockers = pushed(swapbox, f"team/{one}"), pushed(docker, f"team/{two}")
    assert str(ours).replace(one, two) == str(dockers)
    assert ours[1][1].splitlines()[-2].endswith(": Mounted from ANOTHER")


@pytest.mark.debian
def test_docker_skopeo_and_podman_read_what_was_pushed(
    swapbox: Sandbox, docker: Engine, registry: str, busybox_ref: str, tmp_path: Path
) -> None:
    there = f"{registry}/made/here:1"
    swapbox.ok("run", "--name", "maker", "--network", "none", busybox_ref, "sh", "-c", "echo made > /made")
    swapbox.ok("commit", "maker", there)
    line = swapbox.ok("push", there).splitlines()[-1]
    digest = re.fullmatch(r"1: digest: (sha256:[0-9a-f]{64}) size: \d+", line)
    assert digest
    assert f"Digest: {digest[1]}" in docker.ok("pull", there)
    assert docker.ok("run", "--rm", "--network", "none", there, "cat", "/made") == "made"
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{there}", home=tmp_path))
    assert inspected["Digest"] == digest[1]
    skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{there}", f"dir:{tmp_path}/copy", home=tmp_path)
    with scratch("podman-") as directory:
        assert podman(directory).ok("pull", "-q", "--tls-verify=false", there)
    assert swapbox.ok("images", "--digests", "--format", "{{.Digest}}", f"{registry}/made/here") == digest[1]


def test_a_pushed_image_keeps_its_digest_and_its_bytes(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, busybox_ref: str, busybox_image: Image
) -> None:
    there = f"{fake_registry.host}/copy/busybox:latest"
    empty_swapbox.ok("pull", busybox_ref)
    empty_swapbox.ok("tag", busybox_ref, there)
    fake_registry.faults.break_upload, fake_registry.faults.break_upload_times = 100_000, 1
    result = empty_swapbox("push", there).check()
    manifest = busybox_image.manifest.descriptor
    assert f"latest: digest: {manifest.digest} size: {manifest.size}" in result.out
    assert "Retrying in 5 seconds" in result.out  # it goes on in the middle of the layer
    assert set(fake_registry.blobs) == {blob.descriptor.digest for blob in busybox_image.blobs()}
    patches = [request for request in fake_registry.requests if request.method == "PATCH"]
    assert [request.headers["content-range"].partition("-")[0] for request in patches] == ["0", "100000"]


def test_a_registry_that_wants_a_log_in_gets_one_or_refuses(
    swapbox: Sandbox, fake_registry: RegistryServer, busybox_ref: str, tmp_path: Path
) -> None:
    there = f"{fake_registry.host}/private/app:1"
    swapbox.ok("tag", busybox_ref, there)
    fake_registry.faults.auth, fake_registry.faults.users = "bearer", {"ann": "secret"}
    refused = swapbox("push", there)
    refused.fails(1, "unauthorized: ")
    assert fake_registry.tags("private/app") is None
    auths = {"auths": {fake_registry.host: {"username": "ann", "password": "secret"}}}
    (tmp_path / "config.json").write_text(json.dumps(auths))
    swapbox("push", there, env={"DOCKER_CONFIG": str(tmp_path)}).check()
    assert fake_registry.tags("private/app") == ["1"]
