"""``pull``, ``images``, ``tag`` and ``rmi``, and what they leave on disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swapbox.testing import images, publish
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


@pytest.fixture
def reference(registry: str, busybox_image: images.Image) -> str:
    return publish.push(registry, "app", "1.0", busybox_image)


def blobs(swapbox: Sandbox) -> list[Path]:
    return list((swapbox.root / "content" / "blobs").rglob("[0-9a-f]" * 64)) if swapbox.root.exists() else []


def unpacked(swapbox: Sandbox) -> list[Path]:
    """Return every unpacked busybox: one per snapshot that has it of its own."""
    return list((swapbox.root / "storage").rglob("bin/busybox"))


def names(swapbox: Sandbox) -> list[str]:
    return sorted(":".join(line.split()[:2]) for line in swapbox.ok("images").splitlines()[1:])


def test_images_shows_what_was_pulled(empty_swapbox: Sandbox, reference: str, busybox_image: images.Image) -> None:
    assert empty_swapbox.ok("images") == "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE"
    empty_swapbox.ok("pull", reference)
    line = empty_swapbox.ok("images").splitlines()[1]
    short_id = busybox_image.config.descriptor.digest.removeprefix("sha256:")[:12]
    assert re.split(r"\s{2,}", line)[:3] == [reference.removesuffix(":1.0"), "1.0", short_id]
    assert re.search(r"\d years ago +\d\.\d+MB$", line)
    assert empty_swapbox.ok("images", "-q") == short_id
    assert empty_swapbox.ok("images", "-q", "--no-trunc") == busybox_image.config.descriptor.digest


def test_images_can_be_asked_for_one(empty_swapbox: Sandbox, reference: str) -> None:
    empty_swapbox.ok("pull", reference)
    empty_swapbox.ok("tag", reference, "other:2")
    assert len(empty_swapbox.ok("images", "-q", "other").split()) == 1
    assert empty_swapbox.ok("images", "-q", "nosuch") == ""


def test_an_image_has_as_many_names_as_it_was_given(empty_swapbox: Sandbox, reference: str) -> None:
    empty_swapbox.ok("pull", reference)
    assert empty_swapbox.ok("tag", reference, "mine") == ""
    empty_swapbox.ok("tag", empty_swapbox.ok("images", "-q").split()[0], "team/mine:2")
    assert names(empty_swapbox) == sorted([reference, "mine:latest", "team/mine:2"])
    assert empty_swapbox.ok("run", "--rm", "mine", "echo", "hi") == "hi"
    assert empty_swapbox.ok("run", "--rm", "team/mine:2", "echo", "hi") == "hi"


def test_an_image_is_found_by_id_and_digest(
    empty_swapbox: Sandbox, reference: str, busybox_image: images.Image
) -> None:
    empty_swapbox.ok("pull", reference)
    by_digest = f"{reference.removesuffix(':1.0')}@{busybox_image.manifest.descriptor.digest}"
    identity = busybox_image.config.descriptor.digest
    for name in (identity, identity.removeprefix("sha256:")[:12], by_digest):
        assert empty_swapbox.ok("run", "--rm", name, "echo", "hi") == "hi"


def test_a_pull_by_digest(empty_swapbox: Sandbox, reference: str, busybox_image: images.Image) -> None:
    by_digest = f"{reference.removesuffix(':1.0')}@{busybox_image.manifest.descriptor.digest}"
    empty_swapbox.ok("pull", by_digest)
    assert empty_swapbox.ok("run", "--rm", by_digest, "echo", "hi") == "hi"


def test_run_pulls_what_is_not_here_and_keeps_stdout_clean(empty_swapbox: Sandbox, reference: str) -> None:
    result = empty_swapbox("run", "--rm", reference, "echo", "hi").check()
    assert result.out == "hi"
    assert f"Unable to find image '{reference}' locally" in result.err
    assert f"Status: Downloaded newer image for {reference}" in result.err


def test_rmi_of_the_last_name_leaves_nothing_on_disk(
    empty_swapbox: Sandbox, reference: str, busybox_image: images.Image
) -> None:
    empty_swapbox.ok("pull", reference)
    for driver in ("overlay", "vfs"):
        empty_swapbox.ok("run", "--rm", "--storage-driver", driver, reference, "true")
    assert unpacked(empty_swapbox)
    assert blobs(empty_swapbox)
    lines = empty_swapbox.ok("rmi", reference).splitlines()
    assert lines[0] == f"Untagged: {reference}"
    assert f"Untagged: {reference.removesuffix(':1.0')}@{busybox_image.manifest.descriptor.digest}" in lines
    assert f"Deleted: {busybox_image.config.descriptor.digest}" in lines
    assert unpacked(empty_swapbox) == []
    assert blobs(empty_swapbox) == []
    assert names(empty_swapbox) == []


def test_rmi_of_one_name_of_several_only_takes_the_name(empty_swapbox: Sandbox, reference: str) -> None:
    empty_swapbox.ok("pull", reference)
    empty_swapbox.ok("tag", reference, "mine")
    assert empty_swapbox.ok("rmi", "mine") == "Untagged: mine:latest"
    assert empty_swapbox.ok("run", "--rm", reference, "echo", "hi") == "hi"


def test_rmi_keeps_layers_that_another_image_needs(empty_swapbox: Sandbox, registry: str, reference: str) -> None:
    layered = publish.push(registry, "three-layers", "latest", images.layered_image(3))
    for name in (reference, layered):
        empty_swapbox.ok("pull", name)
    empty_swapbox.ok("rmi", layered)
    assert len(blobs(empty_swapbox)) == 3
    assert empty_swapbox.ok("run", "--rm", reference, "echo", "hi") == "hi"


def test_an_image_in_use_is_kept_unless_forced(empty_swapbox: Sandbox, reference: str) -> None:
    empty_swapbox.ok("run", "--name", "user", reference, "true")
    empty_swapbox("rmi", reference).fails(1, "conflict", "must", reference)
    empty_swapbox.ok("rmi", "-f", reference)
    assert empty_swapbox.ok("ps", "-a", "-q") != ""
    empty_swapbox.ok("rm", "user")


def test_a_container_outlives_its_image(empty_swapbox: Sandbox, reference: str) -> None:
    empty_swapbox.ok("run", "--name", "user", "--network", "none", reference, "true")
    assert "Deleted:" in empty_swapbox.ok("rmi", "-f", reference)
    assert empty_swapbox.ok("images", "-a", "-q") == ""
    assert empty_swapbox.ok("run", "--rm", "--network", "none", reference, "echo", "hi") == "hi"
    empty_swapbox.ok("rmi", "-f", reference)
    empty_swapbox.ok("rm", "user")


def test_a_blob_that_is_gone_is_a_clear_error_until_the_next_pull(empty_swapbox: Sandbox, reference: str) -> None:
    empty_swapbox.ok("pull", reference)
    largest = max(blobs(empty_swapbox), key=lambda path: path.stat().st_size)
    largest.unlink()
    run = ("run", "--rm", "--network", "none", "--storage-driver", "vfs", reference, "echo", "hi")
    empty_swapbox(*run).fails(125, largest.name, "pull it again")
    empty_swapbox.ok("pull", reference)
    assert empty_swapbox.ok(*run) == "hi"


def test_an_image_is_as_large_on_every_driver(empty_swapbox: Sandbox, registry: str) -> None:
    reference = publish.push(registry, "three-layers", "latest", images.layered_image(3))
    sizes = set()
    for driver in ("overlay", "vfs"):
        empty_swapbox.ok("--storage-driver", driver, "pull", reference)
        sizes.add(empty_swapbox.inspect(reference)["Size"])
        empty_swapbox.ok("rmi", reference)
    assert len(sizes) == 1


def test_an_image_of_a_running_container_cannot_be_deleted_by_id(empty_swapbox: Sandbox, reference: str) -> None:
    empty_swapbox.ok("run", "-d", "--name", "user", reference, "sleep", "1000")
    image = empty_swapbox.ok("images", "-q")
    empty_swapbox("rmi", "-f", image).fails(1, "conflict", "cannot be forced")


def test_a_tag_that_moves_leaves_the_old_image_unnamed(
    empty_swapbox: Sandbox, registry: str, busybox_image: images.Image
) -> None:
    reference = publish.push(registry, "moving", "latest", busybox_image)
    empty_swapbox.ok("pull", reference)
    publish.push(registry, "moving", "latest", images.layered_image(2))
    assert "Status: Downloaded newer image" in empty_swapbox.ok("pull", reference)
    assert empty_swapbox.ok("run", "--rm", reference, "cat", "/layers/1") == "1"


def test_image_from_host_makes_an_image_that_runs(empty_swapbox: Sandbox) -> None:
    empty_swapbox.ok("image", "from-host", "hosttools", "cat", "sh")
    options = ("--network", "none")
    assert empty_swapbox("run", "--rm", "-i", *options, "hosttools", "cat", stdin=b"hi").stdout == b"hi"
    assert empty_swapbox.ok("run", "--rm", *options, "hosttools", "sh", "-c", "echo $((6*7))") == "42"


def test_image_from_host_writes_a_layout(empty_swapbox: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "layout"
    empty_swapbox.ok("image", "from-host", "--output", target, "hosttools", "cat")
    assert (target / "oci-layout").exists()
    assert (target / "index.json").exists()


def test_image_from_host_names_the_program_that_is_not_there(empty_swapbox: Sandbox) -> None:
    empty_swapbox("image", "from-host", "hosttools", "nosuchprogram").fails(1, "nosuchprogram")
    assert empty_swapbox.ok("images", "-q") == ""
