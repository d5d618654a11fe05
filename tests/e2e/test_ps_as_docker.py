"""``ps`` over the same containers in swapbox and in a real Docker: the same lines, the same mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.cli.ports import Port, ports_text
from swapbox.errors import Unsupported
from swapbox.testing.docker_api import replayed
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox, scratch

pytestmark = [pytest.mark.root, pytest.mark.debian]

CASES = """
ps
ps -a
ps -n 2
ps -l
ps -a --no-trunc
ps --format 'table {{.Names}}\\t{{.Status}}'
ps -a --format '{{.Names}}|{{.Image}}|{{.Command}}|{{.Ports}}|{{.State}}|{{.Labels}}|{{.Mounts}}'
ps -a --format '{{.Names}} {{.Networks}} {{.Label "kind"}} {{.Label "none"}} {{.Platform}}'
ps -a --format 'table {{.Names}} {{.Label "com.some-kind"}}\\t{{upper .Image}}{{printf "%q" .State}}'
ps -a --format 'table {{.ID}}|{{.Names}}|{{.Image}}|{{.Command}}|{{.CreatedAt}}|{{.RunningFor}}|{{.Ports}}'
ps -a --format 'table {{.Status}}|{{.Size}}|{{.Labels}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Platform}}'
ps -a --format raw
ps -a --format '{{range split .Labels ","}}<{{.}}>{{end}}'
ps -a --format '{{json .Names}} {{json .Command}}'
ps -a --format '{{if eq .State "exited"}}{{.Names}}\\tend{{end}}'
ps -aq --filter name=nothing
ps --format '{{.Nope}}'
ps --format '{{'
ps --format 'table {{.Nope}}'
ps -q --format '{{.ID}}'
ps -a --filter nope=1
ps -a --filter nope
ps -a --filter status=nope
ps -a --filter exited=x
ps -a --filter before=nosuch
ps -a --filter publish=x
ps -a --format '{{.Names}}' --filter name=two
ps -a --format '{{.Names}}' --filter name=^/?two$
ps -a --format '{{.Names}}' --filter name=o --filter name=three
ps -a --format '{{.Names}}' --filter 'name=('
ps -a --format '{{.Names}}' --filter label=kind
ps -a --format '{{.Names}}' --filter label=kind=b
ps -a --format '{{.Names}}' --filter label=kind --filter label=second
ps -a --format '{{.Names}}' --filter exited=3
ps -a --format '{{.Names}}' --filter exited=0 --filter exited=3
ps -a --format '{{.Names}}' --filter status=running
ps --format '{{.Names}}' --filter status=exited
ps -a --format '{{.Names}}' --filter status=exited --filter label=kind
ps -a --format '{{.Names}}' --filter health=none
ps -a --format '{{.Names}}' --filter health=healthy
ps -a --format '{{.Names}}' --filter before=three
ps -a --format '{{.Names}}' --filter since=two
ps --format '{{.Names}}' --filter since=one
ps -a --format '{{.Names}}' --filter ancestor=busybox
ps -a --format '{{.Names}}' --filter ancestor=nosuch
ps -a --format '{{.Names}}' --filter volume=/x
ps -a --format '{{.Names}}' --filter network=none
ps -a --format '{{.Names}}' --filter network=host
ps -a --format '{{.Names}}' --filter is-task=false
ps -a --format '{{.Names}}' --filter is-task=true
ps -a --format '{{.Names}}' --filter publish=80
ps -n 2 --format '{{.Names}}' --filter status=exited
container ls --format '{{.Names}}'
container ps -a --format '{{.Names}}'
container list --format '{{.Names}}'
"""


@pytest.fixture(scope="module")
def both(docker: Engine, busybox_ref: str) -> Iterator[tuple[Engine, Sandbox]]:
    """Docker and swapbox with the same four containers."""
    from swapbox.testing.sandbox import sandbox

    with sandbox() as swapbox:
        swapbox.ok("pull", busybox_ref)
        swapbox.ok("tag", busybox_ref, "busybox")
        for engine in (docker, swapbox):
            run = ("run", "--network", "none")
            engine(*run, "--name", "one", "-l", "kind=a", "-l", "second=", "busybox", "sh", "-c", "exit 3")
            engine(*run, "--name", "two", "-l", "kind=b", "-l", "com.some-kind=x", "busybox", "true")
            engine.ok(*run, "-d", "--name", "three", "-v", "/usr/share:/x", "busybox", "sleep", "1000")
            engine.ok("run", "--network", "host", "-d", "--name", "four", "busybox", "sleep", "a b c d e f g", "&")
        yield docker, swapbox
        docker.ok("rm", "-f", "one", "two", "three", "four")
        swapbox.remove_containers()


def alike(text: str) -> str:
    """Return output without what differs from run to run: ids, times, and the width they make columns have."""
    text = re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+\d+ \w+", "TIME", text)
    text = re.sub(r"(About an?|Less than a|\d+) (second|minute)s?( ago)?", "AGO", text)
    return re.sub(r" {2,}", "  ", text).replace("docker", "swapbox")


@pytest.mark.parametrize("line", [line for line in CASES.splitlines() if line])
def test_ps_prints_what_docker_prints(both: tuple[Engine, Sandbox], line: str) -> None:
    import shlex

    theirs, ours = (engine(*shlex.split(line)) for engine in both)
    assert (alike(ours.out), ours.code) == (alike(theirs.out), theirs.code), ours.err
    if "from daemon" in theirs.err:  # its wording changed with v28, see docs/differences.md
        assert ours.err.startswith("Error: ")
    else:
        assert alike(ours.err) == alike(theirs.err)


def test_json_has_dockers_fields(both: tuple[Engine, Sandbox]) -> None:
    import json

    theirs, ours = (
        [json.loads(line) for line in engine.ok("ps", "-a", "--format", "json").splitlines()] for engine in both
    )
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    fixed = ("Names", "Image", "Command", "Labels", "Mounts", "Networks", "State", "Size", "Platform", "Ports")
    assert [{name: row[name] for name in fixed} for row in ours] == [
        {name: row[name] for name in fixed} for row in theirs
    ]


def test_json_is_escaped_as_dockers_is(both: tuple[Engine, Sandbox]) -> None:
    for template in ("{{json .}}", "json"):
        theirs, ours = (engine.ok("ps", "-a", "--filter", "name=four", "--format", template) for engine in both)
        assert re.search('"Command":"[^,]*"', ours)[0] == re.search('"Command":"[^,]*"', theirs)[0]  # type: ignore[index]


def test_sizes_are_shown_when_asked_for(both: tuple[Engine, Sandbox]) -> None:
    _, swapbox = both
    shown = swapbox.ok("ps", "-as").splitlines()
    assert shown[0].endswith("NAMES     SIZE")
    assert all(re.search(r"\d+B \(virtual [\d.]+MB\)$", line) for line in shown[1:])
    assert swapbox.ok("ps", "-s", "--format", "raw").splitlines()[9].startswith("size: 0B (virtual")
    assert "virtual" in swapbox.ok("ps", "-l", "--format", "{{.Size}}")


def test_the_default_format_is_dockers_configuration(both: tuple[Engine, Sandbox], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"psFormat": "table {{.Names}}\\t{{.State}}"}')
    for arguments in (
        ("ps", "-a"),
        ("ps", "-aq"),
        ("ps", "-a", "--format", "{{.State}}"),
        ("ps", "--format", "table"),
    ):
        theirs, ours = (engine(*arguments, env={"DOCKER_CONFIG": str(tmp_path)}) for engine in both)
        assert (alike(ours.out), ours.err) == (alike(theirs.out), theirs.err)
    (tmp_path / "config.json").write_text('{"psFormat": broken')
    assert both[1].ok("ps", "-l", env={"DOCKER_CONFIG": str(tmp_path)}).startswith("CONTAINER ID")


PORTS: list[list[Port]] = [
    [],
    [Port("tcp", 80)],
    [Port("tcp", 80), Port("tcp", 81), Port("tcp", 83), Port("udp", 80)],
    [Port("tcp", 80, "0.0.0.0", 80), Port("tcp", 81, "0.0.0.0", 81), Port("tcp", 443)],
    [Port("tcp", 80, "0.0.0.0", 8080), Port("tcp", 80, "::", 8080), Port("udp", 53, "::", 53)],
    [
        Port("tcp", 9, "127.0.0.1", 9),
        Port("tcp", 10, "127.0.0.2", 10),
        Port("sctp", 7),
        Port("tcp", 11, "127.0.0.2", 11),
    ],
]


@pytest.mark.parametrize("ports", PORTS)
def test_ports_look_as_dockers(ports: list[Port]) -> None:
    rows = [
        {"PrivatePort": p.private, "Type": p.protocol}
        | ({"PublicPort": p.public, "IP": p.address} if p.public else {})
        for p in ports
    ]
    container: dict[str, Any] = {"Id": "a" * 64, "Names": ["/x"], "Ports": rows}
    try:
        with scratch("docker-") as directory, replayed(directory, {"containers/json": [container]}) as client:
            theirs = client.ok("ps", "--format", "{{.Ports}}")
    except Unsupported as error:
        pytest.skip(f"no docker to compare with: {error}")
    assert ports_text(ports) == theirs.strip()
