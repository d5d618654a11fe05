"""The same command line on swapbox and on a real Docker: the same output and the same exit code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from swapbox.testing import images, publish
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox

pytestmark = [pytest.mark.root, pytest.mark.debian]

HOST = {"FROM_HOST": "a value", "EMPTY": ""}


def _cases(file: str) -> list[ParameterSet]:
    lines = Path(__file__).with_name(file).read_text().splitlines()
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return [pytest.param(name, shlex.split(line), id=f"{name}:{line}") for name, _, line in pairs]


@pytest.mark.parametrize(("_name", "line"), _cases("run_cases.txt"))
def test_run(swapbox: Sandbox, docker: Engine, _name: str, line: list[str]) -> None:
    arguments = ["run", "--rm", *(() if "--network" in line else ("--network", "none")), *line]
    theirs = docker(*arguments, env=HOST)
    ours = swapbox(*arguments, env=HOST)
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert bool(ours.err) == bool(theirs.err), ours.err


@pytest.mark.parametrize(("_name", "line"), _cases("refused_cases.txt"))
def test_run_refuses(swapbox: Sandbox, docker: Engine, _name: str, line: list[str]) -> None:
    theirs = docker("run", *line)
    swapbox("run", *line).fails(theirs.code)
    assert swapbox.ok("ps", "-a", "-q") == ""


def test_an_environment_file_is_read_as_docker_does(swapbox: Sandbox, docker: Engine, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# a comment\n\nA=1\nB=two words \nC='quoted'\nFROM_HOST\nNOT_THERE\n  D=indented\nE=a=b\n")
    options = ("--rm", "--network", "none", "--hostname", "h", "--env-file", file, "-e", "A=2")
    theirs = docker("run", *options, "busybox", "env", env=HOST).check()
    assert swapbox("run", *options, "busybox", "env", env=HOST).out == theirs.out


@pytest.mark.parametrize(("words", "line"), _cases("mistake_cases.txt"))
def test_a_mistake(swapbox: Sandbox, docker: Engine, words: str, line: list[str]) -> None:
    theirs, ours = docker(*line), swapbox(*line)
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    for word in words.strip("-").split():
        assert word.lower() in theirs.err.lower()
        assert word.lower() in ours.err.lower()
    assert "Traceback" not in ours.err


def test_a_pull_ends_with_the_same_lines(
    empty_swapbox: Sandbox, docker: Engine, registry: str, busybox_image: images.Image
) -> None:
    reference = publish.push(registry, "pulled/as-docker-does", "latest", busybox_image)
    for _ in ("new", "up to date"):
        theirs = docker("pull", reference).check()
        ours = empty_swapbox("pull", reference).check()
        assert ours.out.splitlines()[0] == theirs.out.splitlines()[0]
        assert ours.out.splitlines()[-3:] == theirs.out.splitlines()[-3:]
        assert ours.err == theirs.err


def test_a_pull_of_all_tags_says_the_same(
    empty_swapbox: Sandbox, docker: Engine, registry: str, busybox_image: images.Image
) -> None:
    for tag in ("b", "a"):
        reference = publish.push(registry, "pulled/all-tags", tag, busybox_image)
    repository = reference.removesuffix(":a")
    for case in (["-a", repository], ["-a", repository], ["-aq", repository], ["-a", reference]):
        ours, theirs = (engine("pull", *case) for engine in (empty_swapbox, docker))
        told = [re.sub(r"^[0-9a-f]{12}: .*\n", "", one.out, flags=re.MULTILINE) for one in (ours, theirs)]
        assert told[0] == told[1]
        assert (ours.code, ours.err) == (theirs.code, theirs.err)
    assert sorted(empty_swapbox.ok("images", "--format", "{{.Tag}}", repository).split()) == ["a", "b"]


def test_lists_have_the_same_columns(swapbox: Sandbox, docker: Engine) -> None:
    def columns(text: str) -> list[str]:
        return [column.strip() for column in text.splitlines()[0].split("  ") if column]

    for verb in ("ps", "images"):
        assert columns(swapbox.ok(verb)) == columns(docker.ok(verb))


REMOVALS = """
images --digests R/one
tag R/one:1 local:1
tag R/one:1 local:2
rmi local:1
rmi ID
rmi R/two:1
rmi local:2
rmi R/one@DIGEST
images --digests R/one
rmi R/one:1
images -a
rmi R/one:1
pull -q R/one:1@DIGEST
images --digests R/one
rmi R/one@DIGEST
pull -q R/one:1
pull -q R/one:2
rmi ID
rmi R/one:2
run --name stopped --network none R/one:1 true
rmi R/one:1
rmi ID
rmi -f ID
images -a
rm stopped
pull -q R/one:1
run -d --name running --network none R/one:1 sleep 1000
rmi R/one:1
rmi -f ID
rmi -f R/one:1
images -a
rm -f running
rmi ID
rmi -f nosuch
"""


def test_images_are_named_and_removed_as_docker_does(
    empty_swapbox: Sandbox, docker: Engine, registry: str, busybox_ref: str
) -> None:
    empty_swapbox.ok("pull", busybox_ref)  # Docker has it, and keeps the layer for it
    image = images.image_of([images.busybox_layer()], config={"Labels": {"of": "this test"}})
    for name, tag in (("one", "1"), ("one", "2"), ("two", "1")):
        publish.push(registry, name, tag, image)
    digest, identity = image.manifest.descriptor.digest, image.config.descriptor.digest
    for engine in (empty_swapbox, docker):
        engine.ok("pull", "-q", f"{registry}/two:1")
        engine.ok("pull", "-q", f"{registry}/one:1")
    for line in REMOVALS.strip().splitlines():
        line = line.replace("R/", f"{registry}/").replace("DIGEST", digest).replace("ID", identity[7:19])
        answers = [engine(*line.split()) for engine in (empty_swapbox, docker)]
        only = identity[7:19] if line.startswith("images") else ""
        ours, theirs = ((one.code, _plain(one.out, only=only), _plain(one.err)) for one in answers)
        assert ours == theirs, line


def _plain(text: str, *, only: str = "") -> str:
    """Return the lines with ``only``, without what differs: whose error it is, container ids, column widths."""
    text = re.sub(r"^Error( response from daemon)?: ", "", text)
    text = re.sub(r"^[0-9a-f]{64}$|(?<=container )[0-9a-f]{12}", "", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if only in line)
