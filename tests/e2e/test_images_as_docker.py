"""``images`` over the same images in swapbox and in a real Docker: the same lines, the same mistakes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.testing import images, publish
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox, sandbox

pytestmark = [pytest.mark.root, pytest.mark.debian]

CASES = """
images R/listed
images -q R/listed
images -q --no-trunc R/listed
images --no-trunc R/listed
images --digests R/listed
images R/listed:1
images R/listed:nope
images 'R/lis*'
images 'R/*'
images 'R/lis?ed:[12]'
images 'li*'
images '['
images --filter reference=listed-here
images --filter reference=listed-here --filter reference=R/listed:2
images --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.VirtualSize}}' R/listed
images --format '{{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.CreatedAt}} {{.CreatedSince}}' R/listed:1
images --format '{{.Digest}}' R/listed:1
images --format 'table {{.Repository}}\\t{{.Tag}}' R/listed
images --format 'table {{.ID}}|{{.Repository}}|{{.Tag}}|{{.Digest}}|{{.CreatedSince}}|{{.CreatedAt}}' R/listed:1
images --format 'table {{.Size}}|{{.Containers}}|{{.VirtualSize}}|{{.SharedSize}}|{{.UniqueSize}}' R/listed:1
images --format raw R/listed
images --format raw -q R/listed
images --format raw --digests R/listed
images --format table -q R/listed
images -q --format '{{.Tag}}' R/listed
images --format '{{.Nope}}'
images --format 'table {{.Nope}}'
images --format '{{'
images --format json R/listed:1
images --filter label=of=list
images --filter label=of --format '{{.Tag}}' R/listed
images --filter label=no
images --filter label=of=other
images --filter since=listed-here
images --filter before=listed-here --format '{{.Repository}}' R/older
images --filter dangling=true
images --filter dangling=false --format '{{.Tag}}' R/listed
images --filter dangling=x
images --filter before=nosuch
images --filter nope=1
images --filter nope
image ls R/listed
image list -q R/listed
"""


@pytest.fixture(scope="module")
def both(docker: Engine, registry: str, busybox_ref: str) -> Iterator[tuple[Engine, Sandbox]]:
    """Docker and swapbox with the same image under three names, and an older one."""
    layers, settings = [images.busybox_layer()], {"Labels": {"of": "list"}}
    image = images.image_of(layers, config=settings, created="2020-01-02T03:04:05Z")
    older = images.image_of(layers, created="2019-01-01T00:00:00Z")
    for tag in ("1", "2"):
        publish.push(registry, "listed", tag, image)
    publish.push(registry, "older", "1", older)
    with sandbox() as swapbox:
        swapbox.ok("pull", "-q", busybox_ref)
        swapbox.ok("tag", busybox_ref, "busybox")
        for engine in (docker, swapbox):
            for name in ("listed:1", "listed:2", "older:1"):
                engine.ok("pull", "-q", f"{registry}/{name}")
            engine.ok("tag", f"{registry}/listed:1", "listed-here")
        yield docker, swapbox
        docker.ok("rmi", *(f"{registry}/{name}" for name in ("listed:1", "listed:2", "older:1")), "listed-here")


def lines(text: str) -> list[str]:
    """Return output with its lines in order: Docker's map has none for the names of one image."""
    return sorted(text.replace("docker", "swapbox").splitlines())


@pytest.mark.parametrize("line", [line for line in CASES.splitlines() if line])
def test_images_prints_what_docker_prints(both: tuple[Engine, Sandbox], registry: str, line: str) -> None:
    theirs, ours = (engine(*shlex.split(line.replace("R/", f"{registry}/"))) for engine in both)
    assert (lines(ours.out), ours.code) == (lines(theirs.out), theirs.code), ours.err
    if "from daemon" in theirs.err:
        assert ours.err.startswith("Error: ")
    else:
        assert lines(ours.err) == lines(theirs.err)


def test_images_are_filtered_by_time(both: tuple[Engine, Sandbox], registry: str) -> None:
    swapbox = both[1]
    assert swapbox.ok("images", "--format", "{{.Repository}}", "--filter", "until=2019-06-01").splitlines() == [
        f"{registry}/older"
    ]
    swapbox("images", "--filter", "until=nonsense").fails(1, "nonsense")


def test_labels_are_excluded(both: tuple[Engine, Sandbox], registry: str) -> None:
    named = set(both[1].ok("images", "--format", "{{.Repository}}", "--filter", "label!=of").splitlines())
    assert f"{registry}/older" in named
    assert f"{registry}/listed" not in named


def test_the_default_format_is_dockers_configuration(both: tuple[Engine, Sandbox], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"imagesFormat": "{{.Tag}} {{.Digest}}"}))
    for arguments in (("images", "listed-here"), ("images", "-q", "listed-here")):
        theirs, ours = (engine.ok(*arguments, env={"DOCKER_CONFIG": str(tmp_path)}) for engine in both)
        assert ours == theirs
    assert re.fullmatch(
        "latest (<none>|sha256:[0-9a-f]{64})",
        both[1].ok("images", "listed-here", env={"DOCKER_CONFIG": str(tmp_path)}),
    )
