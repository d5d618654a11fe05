"""``volume`` and its verbs, beside a real Docker."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox

pytestmark = [pytest.mark.root, pytest.mark.debian]

CASES = """
volume ls
volume ls -q
volume ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Label "kind"}} {{.Size}} {{.Status}}'
volume ls --format 'table {{.Name}}\\t{{.Labels}}'
volume ls --format raw
volume ls -q --format '{{.Name}}'
volume ls --format '{{.Nope}}'
volume ls --filter dangling=true
volume ls -q --filter dangling=false
volume ls --filter dangling=maybe
volume ls --filter label=kind
volume ls --filter label=kind=b --filter name=o
volume ls --filter driver=local -q
volume ls --filter driver=other -q
volume ls --filter name=tw -q
volume ls --filter nope=1
volume list -q
volume inspect --format '{{.Name}} {{.Driver}} {{.Labels.kind}} {{.Options.type}} {{.Scope}}' two
volume inspect --format '{{json .Options}}' one two
volume inspect --format '{{' one
volume inspect nosuch
volume inspect --format '{{.Name}}' nosuch one
volume inspect
volume create
volume create one
volume create one two
volume create one --name two
volume create x
volume create .hidden
volume create a/b
volume create -o type=tmpfs q1
volume create -o device=/x q2
volume create -o o=bind q3
volume create -o foo q4
volume create --label =x q5
volume rm
volume rm nosuch
volume rm -f nosuch
volume rm one nosuch two
volume prune -f
volume prune -f --filter nope=1
volume
volume nope
"""


@pytest.fixture
def both(docker: Engine, swapbox: Sandbox) -> Iterator[tuple[Engine, Sandbox]]:
    """Docker and swapbox with the same two volumes."""
    for engine in (docker, swapbox):
        assert engine.ok("volume", "ls", "-q") == ""
        engine.ok("volume", "create", "--label", "kind=a", "one")
        tmpfs = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m")
        engine.ok("volume", "create", "--label", "kind=b", "--label", "other", *tmpfs, "two")
    yield docker, swapbox
    for engine in (docker, swapbox):
        if names := engine.ok("volume", "ls", "-q").split():
            engine.ok("volume", "rm", *names)


def alike(text: str) -> str:
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    text = text.replace("Error response from daemon:", "Error:").replace("docker", "swapbox")
    text = text.replace("other=,kind=b", "kind=b,other=")  # Docker shows the labels of a volume in any order
    text = text.replace("Usage:  swapbox volume COMMAND", "Usage:  swapbox volume")  # Docker has it both ways
    return re.split(r"\nExample|\nS?Run '", text)[0].removesuffix("\n")


@pytest.mark.parametrize("line", [line for line in CASES.splitlines() if line])
def test_volume_verbs_print_what_docker_prints(both: tuple[Engine, Sandbox], line: str) -> None:
    theirs, ours = (engine(*shlex.split(line)) for engine in both)
    if line == "volume prune -f":  # Docker 20.10 takes named ones, too; 23 does not
        assert ours.out == "Total reclaimed space: 0B"
        return
    assert (alike(ours.out), ours.code) == (alike(theirs.out), theirs.code), ours.err
    assert alike(ours.err).lower() == alike(theirs.err).lower()


def test_inspect_has_dockers_fields(both: tuple[Engine, Sandbox]) -> None:
    theirs, ours = (json.loads(engine.ok("volume", "inspect", "one", "two")) for engine in both)
    for their, our in zip(theirs, ours, strict=True):
        assert list(our) == list(their)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", our["CreatedAt"])
        assert our["Mountpoint"].endswith(f"/{our['Name']}/_data")
        for name in ("Driver", "Labels", "Name", "Options", "Scope"):
            assert our[name] == their[name]


def test_ls_as_json_has_dockers_fields(both: tuple[Engine, Sandbox]) -> None:
    theirs, ours = (json.loads(engine.ok("volume", "ls", "--format", "json").splitlines()[0]) for engine in both)
    assert list(ours) == list(theirs)
    assert {**ours, "Mountpoint": ""} == {**theirs, "Mountpoint": ""}


def test_a_volume_without_a_name_is_anonymous_and_pruned(swapbox: Sandbox) -> None:
    swapbox.ok("volume", "create", "named")
    name = swapbox.ok("volume", "create")
    assert re.fullmatch("[0-9a-f]{64}", name)
    labels = swapbox.ok("volume", "inspect", "-f", "{{json .Labels}}", name)
    assert json.loads(labels) == {"com.docker.volume.anonymous": ""}
    said = swapbox.ok("volume", "prune", "-f")
    assert said == f"Deleted Volumes:\n{name}\n\nTotal reclaimed space: 0B"
    assert swapbox.ok("volume", "prune", "-a", "-f").startswith("Deleted Volumes:\nnamed\n")


def test_prune_asks_first_and_tells_what_it_will_do(swapbox: Sandbox) -> None:
    name = swapbox.ok("volume", "create")
    question = "local volumes not used by at least one container.\nAre you sure you want to continue? [y/N] "
    for answer in (b"", b"n\n", b"yes\n"):
        refused = swapbox("volume", "prune", stdin=answer)
        assert (refused.code, refused.out) == (0, f"WARNING! This will remove anonymous {question}")
    assert swapbox.ok("volume", "prune", "-a", stdin=b"n\n") == f"WARNING! This will remove all {question}"
    assert name in swapbox.ok("volume", "ls", "-q")
    assert name in swapbox.ok("volume", "prune", stdin=b"Y\n")
    assert swapbox.ok("volume", "ls", "-q") == ""


def test_prune_obeys_labels(swapbox: Sandbox) -> None:
    for name in ("keep", "drop"):
        swapbox.ok("volume", "create", "--label", name, "--label", "all", name)
    swapbox.ok("volume", "prune", "-af", "--filter", "label!=keep", "--filter", "label=all")
    assert swapbox.ok("volume", "ls", "-q") == "keep"
    swapbox.ok("volume", "prune", "-f", "--filter", "all=true")
    assert swapbox.ok("volume", "ls", "-q") == ""


def test_what_happens_to_volumes_is_told(swapbox: Sandbox) -> None:
    since = swapbox.ok("events", "--since", "0", "--until", "0s", "--format", "{{.TimeNano}}").splitlines()
    swapbox.ok("volume", "create", "told")
    swapbox.ok("volume", "create", "told")
    swapbox.ok("volume", "rm", "told")
    swapbox.ok("volume", "prune", "-f")
    words = "{{.Type}} {{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}"
    lines = swapbox.ok("events", "--since", "0", "--until", "0s", "--filter", "type=volume", "--format", words)
    assert lines.splitlines()[-3:] == [
        'volume create told {"driver":"local"}',
        'volume destroy told {"driver":"local"}',
        'volume prune  {"reclaimed":"0"}',
    ], since
