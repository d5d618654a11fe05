"""``top`` and ``stats``: which processes, how much of what, and Docker's words for it."""

from __future__ import annotations

import os
import pty
import re
import signal

import pytest

from swapbox.testing.process import Engine, wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

TWO = ("busybox", "sh", "-c", "sleep 1111 & exec sleep 2222")


def run(engine: Engine, name: str, *options: str) -> None:
    engine.ok("run", "-d", "--network", "none", "--name", name, *options, *TWO)
    wait_until(lambda: len(engine.ok("top", name).splitlines()) == 3, "both sleep")


def commands(text: str) -> list[str]:
    return sorted(re.findall(r"sleep \d+", text))


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-ef",
        "aux",
        "-o pid,args",
        "-o pid,ppid,comm",
        "-eo pid,args",
        "x",
        "-L",
        "-o cmd",
        "-o cmd=PID",
        "--foo",
    ],
)
def test_top_says_what_docker_says(swapbox: Sandbox, docker: Engine, options: str) -> None:
    for engine in (swapbox, docker):
        run(engine, "two")
    theirs, ours = (engine("top", "two", *options.split()) for engine in (docker, swapbox))
    docker.ok("rm", "-f", "two")
    assert ours.code == theirs.code
    assert ours.out.partition("\n")[0] == theirs.out.partition("\n")[0]
    assert commands(ours.out) == commands(theirs.out)
    assert ours.err.removeprefix("Error: ") == theirs.err.removeprefix("Error response from daemon: ")


@pytest.mark.parametrize("options", [(), ("--cgroup", "none")])
def test_top_shows_a_containers_processes_and_no_others(swapbox: Sandbox, options: tuple[str, ...]) -> None:
    run(swapbox, "two", *options)
    run(swapbox, "other", *options)
    ours = swapbox.ok("top", "two", "-o", "pid,args").splitlines()[1:]
    theirs = swapbox.ok("top", "other", "-o", "pid,args").splitlines()[1:]
    assert commands("\n".join(ours)) == ["sleep 1111", "sleep 2222"]
    assert str(swapbox.state("two")["Pid"]) in " ".join(ours)
    assert not {*ours} & {*theirs}


def test_without_ps_a_table_is_made_from_proc(swapbox: Sandbox) -> None:
    run(swapbox, "two")
    nothing = {"PATH": "/nonexistent"}
    assert swapbox("top", "two", env=nothing).check().out == swapbox.ok("top", "two")
    swapbox("top", "two", "aux", env=nothing).fails(1, "no ps", "procps")


def test_top_of_a_container_that_does_not_run(swapbox: Sandbox) -> None:
    container = swapbox.ok("create", "--name", "new", "busybox", "true")
    swapbox("top", "new").fails(1, f"container {container} is not running")
    swapbox("top", "nosuch").fails(1, "No such container: nosuch")


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each line of ``stats`` after the id, by name."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {cells[1]: cells[2:] for cells in lines}


def test_stats_are_those_of_docker(swapbox: Sandbox, docker: Engine) -> None:
    for engine in (swapbox, docker):
        run(engine, "two", "-m", "64m")
        engine.ok("create", "--name", "new", "--network", "none", "busybox", "true")
    ours, theirs = (engine.ok("stats", "--no-stream", "-a") for engine in (swapbox, docker))
    named, once = (
        engine.ok("stats", "--no-stream", "two", "new", "--format", "json") for engine in (swapbox, docker)
    )
    docker.ok("rm", "-f", "two", "new")
    assert ours.splitlines()[0].split() == theirs.splitlines()[0].split()
    assert rows(ours)["new"] == rows(theirs)["new"] == ["0.00%", "0B / 0B", "0.00%", "0B / 0B", "0B / 0B", "0"]
    assert rows(ours)["two"][1].split(" / ")[1] == rows(theirs)["two"][1].split(" / ")[1] == "64MiB"
    assert rows(ours)["two"][-1] == rows(theirs)["two"][-1] == "2"
    keys = [re.findall(r'"(\w+)":', text) for text in (named, once)]
    assert keys[0] == keys[1]


def test_work_shows_as_processor_time(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "busy", "busybox", "sh", "-c", "while :; do :; done")
    cpu = swapbox.ok("stats", "--no-stream", "busy", "--format", "{{.CPUPerc}}")
    assert float(cpu.removesuffix("%")) > 1


def test_without_cgroups_only_what_is_known_is_shown(swapbox: Sandbox) -> None:
    run(swapbox, "two", "--cgroup", "none")
    assert rows(swapbox.ok("stats", "--no-stream"))["two"] == ["--", "-- / --", "--", "0B / 0B", "--", "--"]


def test_names_that_are_not_there_are_all_told(swapbox: Sandbox) -> None:
    answer = swapbox("stats", "--no-stream", "one", "two").fails(1)
    assert answer.err.splitlines() == ["Error: No such container: one", "Error: No such container: two"]


def test_the_live_table_is_drawn_over_itself(swapbox: Sandbox) -> None:
    run(swapbox, "two")
    primary, secondary = pty.openpty()
    pid = os.posix_spawn(
        swapbox.argv()[0],
        [*swapbox.argv("stats")],
        swapbox.environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, secondary, 1)],
    )
    os.close(secondary)
    seen = b""
    while seen.count(b"\033[H") < 3:
        seen += os.read(primary, 65536)
        if seen.count(b"\033[H") == 2:
            swapbox("rm", "-f", "two")
    os.kill(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(primary)
    screens = seen.decode().split("\033[H")[1:]
    assert screens[0].splitlines()[0].rstrip() == screens[1].splitlines()[0].rstrip()
    assert all(line.endswith("\033[K") for line in screens[0].splitlines()[:-1])
    assert "two" in screens[0]
