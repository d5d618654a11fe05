"""``ps``, ``stop``, ``kill``, ``rm`` and ``inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

DEAF = ("busybox", "sh", "-c", "trap '' TERM; echo ready; while :; do usleep 10000; done")
POLITE = ("busybox", "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do usleep 10000; done")


def start(swapbox: Sandbox, name: str, *command: str) -> str:
    return swapbox.ok("run", "-d", "--name", name, *(command or ("busybox", "sleep", "1000")))


def test_what_runs_would_be_found_as_a_leak(swapbox: Sandbox) -> None:
    start(swapbox, "web")
    assert {leak.split()[0] for leak in swapbox.leaks()} >= {"process", "mount"}


def test_ps_shows_what_runs(swapbox: Sandbox) -> None:
    container = start(swapbox, "web")
    header, line = swapbox.ok("ps").splitlines()
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert line.startswith(f'{container[:12]}   busybox   "sleep 1000"   ')
    assert "Up " in line
    assert line.endswith("web")


def test_ps_a_shows_what_has_ended_too_newest_first(swapbox: Sandbox) -> None:
    swapbox("run", "--name", "first", "busybox", "sh", "-c", "exit 3")
    start(swapbox, "second")
    assert swapbox.names() == ["second"]
    assert swapbox.names("-a") == ["second", "first"]
    assert "Exited (3) " in swapbox.ok("ps", "-a").splitlines()[2]


def test_ps_q_shows_ids_only(swapbox: Sandbox) -> None:
    ids = [start(swapbox, name) for name in ("a1", "b1")]
    assert swapbox.ok("ps", "-q").split() == [i[:12] for i in reversed(ids)]
    assert swapbox.ok("ps", "-q", "--no-trunc").split() == ids[::-1]


def test_a_long_command_is_cut_unless_asked_for(swapbox: Sandbox) -> None:
    start(swapbox, "long", "busybox", "sleep", "1000", "1000", "1000", "1000")
    assert '"sleep 1000 1000 100…"' in swapbox.ok("ps")
    assert '"sleep 1000 1000 1000 1000"' in swapbox.ok("ps", "--no-trunc")


def test_stop_sends_term_and_prints_the_name_as_typed(swapbox: Sandbox) -> None:
    container = start(swapbox, "polite", *POLITE)
    swapbox.wait_log("polite", "ready")
    assert swapbox.ok("stop", container[:7]) == container[:7]
    assert swapbox.state("polite")["ExitCode"] == 5
    assert swapbox.names() == []


def test_stop_kills_what_does_not_listen(swapbox: Sandbox) -> None:
    start(swapbox, "deaf", *DEAF)
    swapbox.wait_log("deaf", "ready")
    assert swapbox.ok("stop", "-t", "1", "deaf") == "deaf"
    assert swapbox.state("deaf")["ExitCode"] == 137


def test_stop_of_a_stopped_container_is_fine(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "done", "busybox", "true")
    assert swapbox.ok("stop", "done") == "done"


def test_kill_ends_it_at_once(swapbox: Sandbox) -> None:
    start(swapbox, "deaf", *DEAF)
    assert swapbox.ok("kill", "deaf") == "deaf"
    assert swapbox.wait_exited("deaf") == 137


@pytest.mark.parametrize("signal", ["TERM", "SIGTERM", "15"])
def test_kill_sends_the_signal_asked_for(swapbox: Sandbox, signal: str) -> None:
    start(swapbox, "polite", *POLITE)
    swapbox.wait_log("polite", "ready")
    assert swapbox.ok("kill", "-s", signal, "polite") == "polite"
    assert swapbox.wait_exited("polite") == 5


def test_kill_of_a_stopped_container_is_an_error(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "done", "busybox", "true")
    swapbox("kill", "done").fails(1, "is not running")


def test_rm_refuses_what_runs(swapbox: Sandbox) -> None:
    start(swapbox, "busy")
    swapbox("rm", "busy").fails(1, "stop the container before")
    assert swapbox.names() == ["busy"]


def test_rm_f_removes_what_runs(swapbox: Sandbox) -> None:
    container = start(swapbox, "busy")
    assert swapbox.ok("rm", "-f", "busy") == "busy"
    assert swapbox.names("-a") == []
    assert not list(swapbox.root.rglob(f"*{container}*"))
    assert not list(swapbox.run_root.rglob(f"*{container}*"))
    swapbox.assert_no_leaks()


@pytest.mark.parametrize("verb", [("rm", "-f"), ("stop", "-t", "0"), ("kill",)])
def test_several_names_are_echoed_and_a_wrong_one_stops_nothing(swapbox: Sandbox, verb: tuple[str, ...]) -> None:
    for name in ("one", "two"):
        start(swapbox, name)
    result = swapbox(*verb, "one", "nope", "two")
    assert result.out.split() == ["one", "two"]
    if verb == ("rm", "-f"):
        result.check()
    else:
        result.fails(1, "No such container: nope")
    wait_until(lambda: swapbox.names() == [], "both have ended")


def test_a_unique_beginning_of_the_id_is_enough(swapbox: Sandbox) -> None:
    container = start(swapbox, "target")
    for length in (4, 12, 64):
        assert swapbox.inspect(container[:length])["Name"] == "/target"


def test_an_ambiguous_beginning_is_an_error(swapbox: Sandbox) -> None:
    # Of 17 ids two begin with the same digit.
    ids = [start(swapbox, f"many{number}") for number in range(17)]
    digit = next(d for d in "0123456789abcdef" if sum(i.startswith(d) for i in ids) > 1)
    swapbox("logs", digit).fails(1, "multiple IDs found", digit)


def test_inspect_tells_what_docker_tells(swapbox: Sandbox, tmp_path: Path) -> None:
    options = (
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "-u",
        "app",
        "--hostname",
        "h",
        "-v",
        f"{tmp_path}:/data:ro",
        "-m",
        "64m",
    )
    container = swapbox.ok("run", "-d", "--name", "whole", *options, "busybox", "sleep", "1000")
    told = swapbox.inspect("whole")
    assert told["Id"] == container
    assert told["Name"] == "/whole"
    assert (told["Path"], told["Args"]) == ("sleep", ["1000"])
    assert told["Image"].startswith("sha256:")
    state = told["State"]
    assert (state["Status"], state["Running"], state["ExitCode"]) == ("running", True, 0)
    assert Path(f"/proc/{state['Pid']}/cmdline").read_bytes() == b"sleep\x001000\0"
    config = told["Config"]
    assert (config["Image"], config["User"], config["WorkingDir"]) == ("busybox", "app", "/tmp")
    assert (config["Hostname"], config["Cmd"]) == ("h", ["sleep", "1000"])
    assert "A=1" in config["Env"]
    assert told["HostConfig"]["Memory"] == 64 << 20
    mount = told["Mounts"][0]
    assert (mount["Type"], mount["Source"], mount["Destination"]) == ("bind", str(tmp_path), "/data")
    assert mount["RW"] is False


def test_inspect_gives_what_it_finds_and_says_what_it_does_not(swapbox: Sandbox) -> None:
    start(swapbox, "here")
    result = swapbox("inspect", "here", "nope").fails(1, "No such object: nope")
    assert [thing["Name"] for thing in json.loads(result.out)] == ["/here"]


def test_the_exit_is_recorded_with_its_times(swapbox: Sandbox) -> None:
    swapbox("run", "--name", "done", "busybox", "sh", "-c", "exit 3")
    state = swapbox.state("done")
    assert (state["Status"], state["Running"], state["Pid"], state["ExitCode"]) == ("exited", False, 0, 3)
    assert state["StartedAt"] < state["FinishedAt"]
    assert state["FinishedAt"].endswith("Z")
