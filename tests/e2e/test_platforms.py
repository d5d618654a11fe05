"""``--platform``: images of one index for several platforms, side by side."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from swapbox.images.platforms import default
from swapbox.testing import images
from swapbox.testing.process import Engine
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

OURS = str(default())
OTHER = "linux/s390x"


@pytest.fixture
def reference(fake_registry: RegistryServer) -> str:
    """An index with images for this host and another platform."""
    manifests = []
    for platform in (OURS, OTHER):
        os_name, architecture = platform.split("/")[:2]
        fields = {"os": os_name, "architecture": architecture}
        layer = images.layer_of([images.file("platform", platform.encode())]).blob.open().read()
        found = fake_registry.add_image("app", layers=[layer], config=fields)
        manifests.append(found._replace(platform=fields))
    fake_registry.add_index("app", "1", manifests)
    return f"{fake_registry.host}/app:1"


def architectures(box: Sandbox, *options: str) -> list[str]:
    return box.ok("image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", *options).split()


def document(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None
    return json.load(file)


def test_images_for_two_platforms_are_side_by_side(empty_swapbox: Sandbox, reference: str, tmp_path: Path) -> None:
    box = empty_swapbox
    for platform in (OTHER, OURS):
        box.ok("pull", "-q", "--platform", platform, reference)
    assert architectures(box, reference) == [OURS]
    for platform in (OTHER, OURS):
        assert architectures(box, "--platform", platform, reference) == [platform]
        assert len(box.ok("history", "-q", "--platform", platform, reference).splitlines()) <= 1
        box.ok("save", "--platform", platform, "-o", str(tmp_path / "saved.tar"), reference)
        with tarfile.open(tmp_path / "saved.tar") as archive:
            (manifest,) = document(archive, "manifest.json")
            config = document(archive, manifest["Config"])
        assert (config["architecture"], manifest["RepoTags"]) == (platform.split("/")[1], [reference])
        container = box.ok(
            "create", "--pull", "never", "--platform", platform, "--network", "none", reference, "x"
        )
        assert architectures(box, box.inspect(container)["Image"]) == [platform]
        box.ok("rm", container)

    removed = box.ok("rmi", "--platform", OURS, reference)
    assert removed.startswith("Deleted: sha256:")
    assert architectures(box, reference) == [OTHER]
    missing = box("rmi", "--platform", OURS, reference)
    assert (missing.code, missing.err) == (
        1,
        f"Error: image with reference {reference} was found but does not provide the specified platform: "
        f"wanted {OURS}, actual {OTHER}",
    )
    assert box.ok("rmi", "--platform", OTHER, reference).startswith(f"Untagged: {reference}\n")
    assert box.ok("images", "-aq") == ""


def test_the_name_stays_when_a_container_uses_the_image(empty_swapbox: Sandbox, reference: str) -> None:
    box = empty_swapbox
    for platform in (OTHER, OURS):
        box.ok("pull", "-q", "--platform", platform, reference)
    box.ok("create", "--network", "none", reference, "x")
    refused = box("rmi", "--platform", OURS, reference)
    assert refused.code == 1
    assert "image is being used by stopped container" in refused.err
    assert architectures(box, reference) == [OURS]


@pytest.mark.parametrize("wrong", ["a/b/c/d", "linux/"])
@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (("save", "-o", "/dev/null"), "invalid platform: "),
        (("history",), "invalid platform: "),
        (("load", "-i", "/dev/null"), "invalid platform: "),
        (("push",), "invalid platform: "),
        (("image", "inspect"), ""),
        (("rmi",), ""),
        (("pull",), "Error: error parsing specified platform: "),
        (("create",), "error parsing specified platform: "),
    ],
)
def test_a_malformed_platform(swapbox: Engine, verb: tuple[str, ...], words: str, wrong: str) -> None:
    why = '"a/b/c/d": cannot parse platform specifier: invalid argument'
    if wrong != "a/b/c/d":
        why = (
            f'"" is an invalid component of "{wrong}": platform specifier component must match '
            '"^[A-Za-z0-9_.-]+$": invalid argument'
        )
    names = [] if verb[0] == "load" else ["nosuch"]
    failed = swapbox(*verb, "--platform", wrong, *names)
    assert failed.code == 1
    assert failed.err.splitlines()[0].removeprefix("Error: ") == f"{words}{why}".removeprefix("Error: ")


def test_an_empty_platform_is_none(swapbox: Engine) -> None:
    assert swapbox.ok("image", "inspect", "--platform", "", "-f", "{{.Os}}", "busybox") == "linux"
    assert swapbox.ok("history", "-q", "--platform", "", "busybox")
