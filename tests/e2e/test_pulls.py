"""Pulls that are cut off, and pulls beside one another and beside what removes things."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox import Engine
from swapbox.images import garbage
from swapbox.store.content import CHUNK
from swapbox.testing import images
from swapbox.testing.process import wait_until
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

LARGE = images.layer_of([images.file("large", os.urandom(3_000_000))], level=0)
SMALL = images.layer_of([images.file("small", b"small")])
STOP = 4 * CHUNK


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """Give a registry that falls silent in the middle of the large layer."""
    blobs = [layer.blob.source for layer in (SMALL, LARGE)]
    assert all(isinstance(blob, bytes) for blob in blobs)
    with RegistryServer() as server:
        server.add_image("demo/app", layers=blobs)
        server.faults.stall = STOP
        yield server


def partial(box: Sandbox) -> Path:
    return box.root / "content" / "ingest" / LARGE.blob.descriptor.digest.replace(":", "-")


def wait_stalled(box: Sandbox) -> None:
    path = partial(box)
    wait_until(lambda: path.exists() and path.stat().st_size == STOP, "the registry is silent")


def ranges(server: RegistryServer) -> list[str | None]:
    path = f"blobs/{LARGE.blob.descriptor.digest}"
    return [one.headers.get("range") for one in server.requests if path in one.path and one.method == "GET"]


def test_a_killed_pull_goes_on_where_it_stood_in_another_process(
    empty_swapbox: Sandbox, server: RegistryServer
) -> None:
    reference = f"{server.host}/demo/app"
    with empty_swapbox.start("pull", reference) as pull:
        wait_stalled(empty_swapbox)
        pull.kill()
    server.faults.stall = None
    empty_swapbox.ok("pull", reference)
    assert ranges(server) == [None, f"bytes={STOP}-"]
    assert empty_swapbox.ok("images", "-q")


def test_who_waits_for_another_pull_takes_over_when_that_is_killed(
    empty_swapbox: Sandbox, server: RegistryServer
) -> None:
    reference = f"{server.host}/demo/app"
    with empty_swapbox.start("pull", reference) as first:
        wait_stalled(empty_swapbox)
        asked = len(server.requests)
        with empty_swapbox.start("pull", reference) as second:
            wait_until(lambda: len(server.requests) > asked, "the second pull has begun")
            server.faults.stall = None
            first.kill()
            _, error = second.communicate(timeout=60)
            assert (second.returncode, error) == (0, b"")
    assert ranges(server) == [None, f"bytes={STOP}-"]


def test_what_removes_leaves_alone_what_a_pull_needs_until_it_is_killed(
    empty_swapbox: Sandbox, server: RegistryServer
) -> None:
    def files() -> list[Path]:
        kept = [empty_swapbox.root / "content", empty_swapbox.root / "storage" / "overlay" / "snapshots"]
        return sorted(path for directory in kept for path in directory.rglob("*") if path.is_file())

    with empty_swapbox.start("pull", f"{server.host}/demo/app") as pull:
        wait_stalled(empty_swapbox)
        # The large one is being unpacked, too: nothing new comes after it.
        wait_until(lambda: {"small", "large"} <= {path.name for path in files()}, "what has come is unpacked")
        before = files()
        for path in before:
            os.utime(path, (0, 0))
        for command in (("image", "prune", "-a", "-f"), ("system", "prune", "-a", "-f")):
            assert "reclaimed space: 0B" in empty_swapbox.ok(*command)
        assert files() == before
        pull.kill()
    with Engine(root=empty_swapbox.root, run_root=empty_swapbox.run_root) as engine:
        garbage.collect(engine, kept=0)
    assert files() == []
