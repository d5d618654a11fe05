"""The same command line on swapbox and on a real Docker: the same output and the same exit code."""

from __future__ import annotations

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


def test_lists_have_the_same_columns(swapbox: Sandbox, docker: Engine) -> None:
    def columns(text: str) -> list[str]:
        return [column.strip() for column in text.splitlines()[0].split("  ") if column]

    for verb in ("ps", "images"):
        assert columns(swapbox.ok(verb)) == columns(docker.ok(verb))
