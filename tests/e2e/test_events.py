"""What happens is told: the events of each verb, in Docker's words and beside a real Docker."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import Any

import pytest

from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FULL_ID = re.compile(r"\b[0-9a-f]{64}\b")


def now() -> str:
    return f"{time.time_ns() / 1e9:.9f}"


def events(engine: Engine, since: str, *options: str) -> list[dict[str, Any]]:
    """Return what has happened since a moment."""
    out = engine.ok("events", "--since", since, "--until", now(), "--format", "{{json .}}", *options)
    return [json.loads(line) for line in out.splitlines()]


def told(engine: Engine, *commands: str) -> list[str]:
    """Run commands and return what is told of them, without ids, times and networks; a name per container."""
    since = now()
    for command in commands:
        engine(*command.split())
    found = events(engine, since)
    lines = []
    for event in found:
        attributes = event["Actor"]["Attributes"]
        attributes.pop("execDuration", None)  # Docker has it since 23
        if event["Type"] != "network":
            text = f"{event['Type']} {event['Action']} {sorted(attributes.items())} {sorted(event)}"
            lines.append(FULL_ID.sub("ID", text))
    return lines


@pytest.mark.parametrize(
    "commands",
    [
        ("run --rm --network none --label role=front --name c1 busybox sh -c true",),
        ("run --network none --name c1 busybox sh -c false", "rm c1"),
        ("run -d --network none --name c1 busybox sleep 1000", "rm -f c1"),
        ("run --network none --name c1 busybox /nosuch", "rm c1"),
        (
            "run -d --network none --name c1 busybox sleep 1000",
            "exec c1 sh -c exit",
            "exec -d c1 true",
            "rm -f c1",
        ),
        (
            "run -d --network none --name c1 busybox sleep 1000",
            "pause c1",
            "unpause c1",
            "rename c1 c2",
            "update --cpu-shares 512 c2",
            "kill -s CONT c2",
            "top c2",
            "stop -t 0 c2",
            "start c2",
            "restart -t 0 c2",
            "kill c2",
            "wait c2",
            "rm c2",
        ),
        ("create --network none --name c1 --label a=b busybox true", "start -a c1", "container prune -f"),
        ("create --network none --name c1 busybox true", "cp /etc/hostname c1:/x", "cp c1:/x -", "rm c1"),
        (
            "run --network none --name c1 -l a=b busybox sh -c true",
            "commit -m why c1 made:1",
            "rm c1",
            "rmi made:1",
        ),
        ("volume create --label a=b vol1", "volume rm vol1"),
        ("tag busybox other:1", "tag busybox other:2", "rmi other:1 other:2"),
    ],
)
def test_the_same_is_told_as_by_docker(swapbox: Sandbox, docker: Engine, commands: tuple[str, ...]) -> None:
    ours, theirs = told(swapbox, *commands), told(docker, *commands)
    # Docker's client does not wait for exec_die, which then comes whenever.
    ours, theirs = ([line for line in lines if "exec_die" not in line] for lines in (ours, theirs))
    assert ours == theirs
    assert ours


def test_networks_are_told_of(swapbox: Sandbox, docker: Engine) -> None:
    lines = []
    for engine in (swapbox, docker):
        since = now()
        engine.ok("run", "--rm", "--network", "none", "busybox", "true")
        out = engine.ok("events", "--since", since, "--until", now(), "--filter", "type=network")
        lines.append(
            [FULL_ID.sub("ID", re.sub(r"ct \S+ ", "ct ", line.split(" ", 1)[1])) for line in out.splitlines()]
        )
    assert lines[0] == lines[1]
    assert len(lines[0]) == 2


def test_an_end_is_told_with_its_code_and_duration(swapbox: Sandbox) -> None:
    since = now()
    swapbox("run", "--name", "c1", "busybox", "sh", "-c", "exit 3")
    [event] = events(swapbox, since, "--filter", "event=die")
    assert event["Actor"]["Attributes"] == {
        "exitCode": "3",
        "execDuration": "0",
        "image": "busybox",
        "name": "c1",
    }
    assert event["status"] == event["Action"] == "die"
    assert event["from"] == "busybox"
    assert event["id"] == event["Actor"]["ID"] == swapbox.inspect("c1")["Id"]
    assert event["timeNano"] // 10**9 == event["time"]


def test_the_end_of_an_exec_session_is_told(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "c1", "busybox", "sleep", "1000")
    since = now()
    assert swapbox("exec", "c1", "sh", "-c", "exit 3").code == 3
    created, started, died = events(swapbox, since, "--filter", "container=c1")
    assert created["Action"] == "exec_create: sh -c exit 3"
    assert started["Action"] == "exec_start: sh -c exit 3"
    assert died["Action"] == "exec_die"
    assert died["Actor"]["Attributes"]["exitCode"] == "3"
    assert len({event["Actor"]["Attributes"]["execID"] for event in (created, started, died)}) == 1


def test_an_events_line_is_dockers(swapbox: Sandbox) -> None:
    since = now()
    container = swapbox.ok("run", "-d", "--name", "c1", "--label", "b=2", "--label", "a=1", "busybox", "true")
    swapbox.wait_exited("c1")
    out = swapbox.ok("events", "--since", since, "--until", "0s", "--filter", "event=create")
    moment, rest = out.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", moment)
    assert rest == f"container create {container} (a=1, b=2, image=busybox, name=c1)"


def test_events_are_shown_when_they_come(swapbox: Sandbox) -> None:
    options = ("--since", now(), "--format", "{{.Action}}", "--filter", "type=container")
    with swapbox.start("events", *options) as reader:
        assert reader.stdout is not None
        for _ in range(3):
            swapbox.ok("run", "--rm", "busybox", "true")
            seen = [reader.stdout.readline().decode().strip() for _ in range(5)]
            assert seen == ["create", "attach", "start", "die", "destroy"]
        reader.send_signal(signal.SIGINT)
        assert reader.wait(timeout=30) == 130


def test_what_was_before_is_not_shown_unless_asked_for(swapbox: Sandbox) -> None:
    swapbox.ok("tag", "busybox", "before:1")
    until = f"{time.time() + 0.3:.9f}"
    assert swapbox.ok("events", "--until", until) == ""
    assert "before:1" in swapbox.ok("events", "--until", "0s")
    swapbox.ok("rmi", "before:1")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "1m", "--until", "10m"),
        ("--since", "xx"),
        ("--until", "xx"),
        ("--format", "{{.Foo}}"),
        ("--format", "{{.Foo"),
        ("--filter", "foo"),
        ("x",),
    ],
)
def test_a_mistake_is_told_as_by_docker(swapbox: Sandbox, docker: Engine, arguments: tuple[str, ...]) -> None:
    theirs, ours = docker("events", *arguments), swapbox("events", *arguments)
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    first = re.sub(r"\d{10}", "N", re.sub("^Error(?: response from daemon)?: ", "", ours.err.splitlines()[0]))
    assert first.replace("swapbox", "docker") == re.sub(
        r"\d{10}", "N", re.sub("^Error(?: response from daemon)?: ", "", theirs.err.strip().splitlines()[0])
    )


@pytest.mark.parametrize(
    "template",
    ["{{.Status}} {{.ID}} {{.From}} {{.Scope}} {{.Type}}", "{{.Actor.Attributes.name}}", "{{len .Actor.ID}}"],
)
def test_a_template_prints_the_same(swapbox: Sandbox, docker: Engine, template: str) -> None:
    answers = []
    for engine in (swapbox, docker):
        since = now()
        engine.ok("run", "--rm", "--network", "none", "--name", "same", "busybox", "true")
        out = engine.ok(
            "events", "--since", since, "--until", now(), "--format", template, "--filter", "type=container"
        )
        answers.append(FULL_ID.sub("ID", out))
    assert answers[0] == answers[1]
