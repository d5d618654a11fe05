"""``registry serve``: a registry that others use, and that is slow and faulty when it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.testing import servers
from swapbox.testing.distribution import Client
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox, scratch

pytestmark = pytest.mark.root


@contextlib.contextmanager
def serving(swapbox: Sandbox, directory: Path, *options: str) -> Iterator[str]:
    """Serve a directory, give ``host:port``; expect a good end."""
    process = swapbox.start("registry", "serve", "--addr", "127.0.0.1:0", *options, directory)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode()
        assert line.startswith(f"Serving {directory} on http://127.0.0.1:")
        yield line.strip().removeprefix(f"Serving {directory} on http://")
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")


@pytest.fixture
def directory() -> Iterator[Path]:
    with scratch("registry-") as made:
        yield made / "registry"


@pytest.mark.debian
def test_docker_skopeo_and_swapbox_share_a_registry(
    swapbox: Sandbox, docker: Engine, busybox_ref: str, directory: Path, tmp_path: Path
) -> None:
    try:
        skopeo = Engine(
            servers.require("skopeo", "skopeo"),
            "--insecure-policy",
            environment=servers.plain_environment(tmp_path),
        )
    except Unsupported as error:
        pytest.skip(f"{error}: {error.hint}")
    with serving(swapbox, directory, "--quiet") as host:
        docker.ok("tag", busybox_ref, f"{host}/by/docker:1")
        docker.ok("push", f"{host}/by/docker:1")
        insecure = ("--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo.ok("copy", *insecure, f"docker://{host}/by/docker:1", f"docker://{host}/by/skopeo:1")
        swapbox.ok("pull", f"{host}/by/skopeo:1")
        swapbox.ok("tag", f"{host}/by/skopeo:1", f"{host}/by/swapbox:1")
        assert "Mounted from by/skopeo" in swapbox.ok("push", f"{host}/by/swapbox:1")
    with serving(swapbox, directory, "--quiet", "--read-only") as host:
        for name in ("docker", "skopeo", "swapbox"):
            docker.ok("pull", f"{host}/by/{name}:1")
        found = json.loads(skopeo.ok("list-tags", "--tls-verify=false", f"docker://{host}/by/swapbox"))
        assert found["Tags"] == ["1"]
        docker.ok("tag", busybox_ref, f"{host}/by/docker:2")
        docker("push", f"{host}/by/docker:2").fails(1)
        assert docker.ok("run", "--rm", "--network", "none", f"{host}/by/swapbox:1", "echo", "hi") == "hi"


def test_a_slow_and_faulty_registry_gives_the_image_all_the_same(
    empty_swapbox: Sandbox, busybox_ref: str, directory: Path
) -> None:
    empty_swapbox.ok("pull", busybox_ref)
    with serving(empty_swapbox, directory, "--latency", "10ms", "--refuse", "503/6", "--retry-after", "0") as host:
        empty_swapbox.ok("tag", busybox_ref, f"{host}/app")
        empty_swapbox.ok("push", f"{host}/app")
        identity = empty_swapbox.ok("images", "-q", "--no-trunc", f"{host}/app")
        empty_swapbox.ok("rmi", "-f", f"{host}/app", busybox_ref)
        empty_swapbox.ok("pull", f"{host}/app")
        assert empty_swapbox.ok("images", "-q", "--no-trunc", f"{host}/app") == identity


def test_a_registry_that_others_can_reach_is_warned_of(swapbox: Sandbox, directory: Path) -> None:
    process = swapbox.start("registry", "serve", "--addr", ":0", directory)
    assert process.stdout is not None
    assert b"http://0.0.0.0:" in process.stdout.readline()
    process.stdout.close()  # nobody reads what requests there are
    process.terminate()
    assert process.stderr is not None
    with process:
        assert (
            b"WARNING: everybody who can reach 0.0.0.0 can read and change these images" in process.stderr.read()
        )
    assert process.returncode == 0


def test_flags_that_make_no_sense_are_refused(swapbox: Sandbox, directory: Path) -> None:
    for flag, value in (
        ("--addr", "nowhere"),
        ("--addr", "127.0.0.1:99999"),
        ("--latency", "soon"),
        ("--bandwidth", "0"),
        ("--refuse", "200"),
        ("--refuse", "503/0"),
        ("--break", "x/2"),
    ):
        result = swapbox("registry", "serve", flag, value, directory)
        result.fails(125, f'invalid argument "{value}" for "{flag}" flag')
    assert not directory.exists()


def test_a_server_that_is_killed_leaves_a_directory_that_can_be_served(
    swapbox: Sandbox, busybox_ref: str, directory: Path
) -> None:
    process = swapbox.start("registry", "serve", "--addr", "127.0.0.1:0", directory)
    assert process.stdout is not None
    host = process.stdout.readline().decode().strip().rpartition("/")[2]
    swapbox.ok("tag", busybox_ref, f"{host}/killed")
    swapbox.ok("push", f"{host}/killed")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with serving(swapbox, directory) as again:
        client = Client(again)
        assert client("GET", "/v2/%0d").status == 404
        assert client("GET", "/v2/killed/tags/list").json["tags"] == ["latest"]
        client.close()
