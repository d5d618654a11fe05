"""Verbs that meet: whatever comes first, the container is in one state, and it is the recorded one."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from swapbox.testing.faults import files, held, monitor_pid
from swapbox.testing.process import processes_naming, wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FOREVER = ("busybox", "sleep", "1000")
FAILS = ("busybox", "sh", "-c", "exit 3")


@pytest.fixture
def clean(swapbox: Sandbox) -> set[Path]:
    """What is there when every kind of cache is."""
    swapbox.ok("run", "--rm", "busybox", "true")
    return files(swapbox)


def together(swapbox: Sandbox, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Run commands at once; return their exit codes and what they say on stderr."""
    started = [swapbox.start(*command) for command in commands]
    errors = [command.communicate(timeout=60)[1].decode() for command in started]
    return [(command.returncode, error) for command, error in zip(started, errors, strict=True)]


def test_a_container_that_is_started_meanwhile_is_not_removed(swapbox: Sandbox, tmp_path: Path) -> None:
    swapbox.ok("create", "--name", "kept", *FOREVER)
    with held(swapbox, tmp_path, "records:Records.begin_removal", "rm", "kept") as (remover, gate):
        gate.wait()
        swapbox.ok("start", "kept")
        gate.open()
        _, error = remover.communicate(timeout=60)
    assert remover.returncode == 1
    assert b"container is running" in error
    assert swapbox.ok("exec", "kept", "echo", "well") == "well"


def test_whoever_finds_a_dead_monitor_does_not_harm_the_next_run(swapbox: Sandbox, tmp_path: Path) -> None:
    swapbox.ok("run", "-d", "--name", "again", *FOREVER)
    os.kill(monitor_pid(swapbox, "again"), signal.SIGKILL)
    os.kill(swapbox.state("again")["Pid"], signal.SIGKILL)
    with held(swapbox, tmp_path, "recovery:_recovered", "ps") as (looker, gate):
        gate.wait()
        swapbox.ok("start", "again")
        gate.open()
        assert looker.wait(60) == 0
    assert swapbox.ok("exec", "again", "echo", "well") == "well"


def test_a_start_whose_container_vanishes_leaves_nothing_running(
    swapbox: Sandbox, clean: set[Path], tmp_path: Path
) -> None:
    """As when ``rm -f`` has lost patience with a monitor that stands still."""
    with held(swapbox, tmp_path, "launch:_set_running", "run", "--name", "gone", *FOREVER) as (command, gate):
        gate.wait()
        with contextlib.closing(sqlite3.connect(swapbox.root / "db.sqlite", timeout=30)) as db, db:
            db.execute("DELETE FROM containers WHERE name = 'gone'")
        gate.open()
        assert command.wait(60) == 125
    assert swapbox.names("-a") == []
    swapbox.assert_no_leaks()
    swapbox.ok("system", "prune", "-f")
    assert files(swapbox) <= clean


def test_a_stop_as_the_policy_starts_it_again_is_the_end(
    swapbox: Sandbox, clean: set[Path], tmp_path: Path
) -> None:
    run = ("run", "-d", "--restart", "always", "--name", "again", *FAILS)
    with held(swapbox, tmp_path, "launch:_set_running", *run) as (command, gate):
        gate.wait()
        gate.open()
        assert command.wait(60) == 0
        gate.wait()
        with swapbox.start("stop", "again") as stopper:
            wait_until(lambda: swapbox.state("again")["Status"] == "exited", "stop has begun")
            gate.open()
            assert stopper.wait(60) == 0
    state = swapbox.state("again")
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("exited", 3, "")
    swapbox.assert_no_leaks()
    swapbox.ok("rm", "again")
    assert files(swapbox) == clean


def test_stops_at_any_moment_beat_the_policy(swapbox: Sandbox) -> None:
    names = [f"n{number}" for number in range(8)]
    for name in names:
        swapbox.ok("run", "-d", "--restart", "always", "--name", name, "busybox", "usleep", "20000")
        swapbox.ok("stop", "-t", "0", name)
        state = swapbox.state(name)
        assert (state["Status"], state["Error"]) == ("exited", "")
        assert monitor_pid(swapbox, name) == 0
    assert swapbox.names() == []


def test_a_stop_while_it_is_being_started_waits_and_stops_it(swapbox: Sandbox, tmp_path: Path) -> None:
    with held(swapbox, tmp_path, "launch:_connect", "run", "-d", "--name", "early", *FOREVER) as (command, gate):
        gate.wait()
        with swapbox.start("stop", "-t", "0", "early") as stopper:
            gate.open()
            assert (command.wait(60), stopper.wait(60)) == (0, 0)
    assert swapbox.wait_exited("early") == 137


@pytest.mark.parametrize("verb", [("kill",), ("rm", "-f"), ("stop", "-t", "0")])
def test_what_ends_a_container_beats_the_pause_that_has_just_begun(
    swapbox: Sandbox, clean: set[Path], tmp_path: Path, verb: tuple[str, ...]
) -> None:
    swapbox.ok("run", "-d", "--name", "frozen", *FOREVER)
    with held(swapbox, tmp_path, "freeze:_freeze", "pause", "frozen") as (pauser, gate):
        gate.wait()
        swapbox.ok(*verb, "frozen")
        gate.open()
        _, error = pauser.communicate(timeout=60)
    assert pauser.returncode == 1
    assert b"is not running" in error or b"No such container" in error
    assert swapbox.names() == []
    swapbox.ok("rm", "-f", "frozen")
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_pause_and_unpause_do_not_overtake_each_other(swapbox: Sandbox, tmp_path: Path) -> None:
    swapbox.ok("run", "-d", "--name", "frozen", *FOREVER)
    with held(swapbox, tmp_path, "freeze:_freeze", "pause", "frozen") as (pauser, gate):
        gate.wait()
        with swapbox.start("unpause", "frozen") as unpauser:
            wait_until(lambda: _waits_for_a_lock(unpauser.pid), "unpause waits")
            gate.open()
            assert (pauser.wait(60), unpauser.wait(60)) == (0, 0)
    assert swapbox.ok("exec", "frozen", "echo", "awake") == "awake"


def _waits_for_a_lock(pid: int) -> bool:
    return any("->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_of_two_updates_at_once_both_hold(swapbox: Sandbox, tmp_path: Path) -> None:
    swapbox.ok("run", "-d", "--name", "limited", *FOREVER)
    with held(swapbox, tmp_path, "update:apply_limits", "update", "-m", "64m", "limited") as (first, gate):
        gate.wait()
        with swapbox.start("update", "--pids-limit", "77", "limited") as second:
            wait_until(lambda: _waits_for_a_lock(second.pid), "the second waits")
            gate.open()
            assert (first.wait(60), second.wait(60)) == (0, 0)
    host = swapbox.inspect("limited")["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (64 << 20, 77)


@pytest.mark.parametrize(
    ("verb", "codes", "running"),
    [
        (("start",), {0}, True),
        (("restart", "-t", "0"), {0}, True),
        (("stop", "-t", "0"), {0}, False),
        (("kill",), {0, 1}, False),
        (("pause",), {0, 1}, True),
        (("update", "-m", "64m"), {0}, True),
    ],
)
def test_the_same_verb_from_three_shells(
    swapbox: Sandbox, verb: tuple[str, ...], codes: set[int], running: bool
) -> None:
    swapbox.ok(
        "create" if verb == ("start",) else "run",
        *(() if verb == ("start",) else ("-d",)),
        "--name",
        "one",
        *FOREVER,
    )
    outcomes = together(swapbox, *[(*verb, "one")] * 3)
    assert {code for code, _ in outcomes} <= codes, outcomes
    assert 0 in {code for code, _ in outcomes}
    assert not any("Traceback" in error or "bug in" in error for _, error in outcomes)
    assert swapbox.state("one")["Running"] is running
    monitors = [p for p in processes_naming(swapbox.directory.name) if p.pid != swapbox.state("one")["Pid"]]
    assert len(monitors) == running, monitors


def test_of_two_that_take_the_same_name_one_gets_it(swapbox: Sandbox) -> None:
    for number in range(3):
        swapbox.ok("create", "--name", f"n{number}", *FOREVER)
    outcomes = together(swapbox, *[("rename", f"n{number}", "wanted") for number in range(3)])
    assert sorted(code for code, _ in outcomes) == [0, 1, 1]
    assert sum('The container name "/wanted" is already in use' in error for _, error in outcomes) == 2
    assert len(swapbox.names("-a")) == 3
    assert "wanted" in swapbox.names("-a")


@pytest.mark.parametrize(
    "verb",
    [
        ("start", "one"),
        ("pause", "one"),
        ("exec", "one", "true"),
        ("restart", "-t", "0", "one"),
        ("attach", "one"),
    ],
)
def test_a_removal_by_force_beside_another_verb(swapbox: Sandbox, clean: set[Path], verb: tuple[str, ...]) -> None:
    for _ in range(2):
        swapbox.ok("run", "-d", "--name", "one", *FOREVER)
        if verb[0] == "start":
            swapbox.ok("stop", "-t", "0", "one")
        command = ("true",) if verb == ("exec",) else ()
        outcomes = together(swapbox, (*verb, "one", *command), ("rm", "-f", "one"))
        assert outcomes[1][0] == 0, outcomes
        assert not any("Traceback" in error or "bug in" in error for _, error in outcomes), outcomes
        swapbox.ok("rm", "-f", "one")  # a start may have come after it was looked for
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_sessions_started_while_the_container_ends_say_so(swapbox: Sandbox, clean: set[Path]) -> None:
    swapbox.ok("run", "-d", "--name", "one", *FOREVER)
    sessions = [("exec", "one", "sleep", "990")] * 4
    outcomes = together(swapbox, *sessions, ("stop", "-t", "0", "one"), *sessions[:2])
    assert outcomes[4][0] == 0
    for code, error in (*outcomes[:4], *outcomes[5:]):
        assert (code, error) == (137, "") or (code == 1 and "is not running" in error), outcomes
    swapbox.ok("rm", "one")
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_a_client_that_comes_during_the_hand_over_is_served(swapbox: Sandbox, tmp_path: Path) -> None:
    run = ("run", "-d", "-i", "--name", "echoes", "busybox", "sh", "-c", "read x; echo got $x; exit 5")
    with held(swapbox, tmp_path, "handover:memory_file", *run) as (_, gate):
        gate.wait()
        with swapbox.start("attach", "echoes", stdin=subprocess.PIPE) as client:
            assert client.stdin
            client.stdin.write(b"this\n")
            client.stdin.flush()
            gate.open()
            assert client.communicate(timeout=60)[0] == b"got this\n"
    assert client.returncode == 5


def test_a_fork_bomb_is_stopped(swapbox: Sandbox, clean: set[Path]) -> None:
    bomb = 'BEGIN { while (1) system("sleep 1000 &") }'
    swapbox.ok("run", "-d", "--pids-limit", "100", "--name", "bomb", "busybox", "awk", bomb)
    wait_until(lambda: swapbox.ok("stats", "--no-stream", "--format", "{{.PIDs}}", "bomb") == "100", "it is full")
    swapbox.ok("stop", "-t", "0", "bomb")
    assert swapbox.state("bomb")["ExitCode"] == 137
    swapbox.assert_no_leaks()
    swapbox.ok("rm", "bomb")
    assert files(swapbox) == clean


@pytest.mark.parametrize("reads", [True, False])
def test_a_flood_of_output_does_not_hold_up_a_removal(swapbox: Sandbox, clean: set[Path], reads: bool) -> None:
    argv = swapbox.argv("run", "--log-driver", "none", "--name", "flood", "busybox", "yes")
    out = subprocess.DEVNULL if reads else subprocess.PIPE
    with subprocess.Popen(argv, env=swapbox.environment, stdout=out, stderr=subprocess.PIPE) as command:
        wait_until(lambda: "flood" in swapbox.names(), "it runs")
        if not reads:
            os.kill(command.pid, signal.SIGSTOP)
        assert swapbox.ok("rm", "-f", "flood") == "flood"
        os.kill(command.pid, signal.SIGCONT)
        command.communicate(timeout=60)
        assert command.returncode == 137 if reads else command.returncode in (1, 125, 137)
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_a_container_stops_though_its_client_stands_still(swapbox: Sandbox) -> None:
    argv = swapbox.argv("run", "--log-driver", "none", "--name", "flood", "busybox", "yes")
    with subprocess.Popen(argv, env=swapbox.environment, stdout=subprocess.PIPE) as command:
        wait_until(lambda: "flood" in swapbox.names(), "it runs")
        os.kill(command.pid, signal.SIGSTOP)
        swapbox.ok("stop", "-t", "0", "flood")
        assert swapbox.state("flood")["Status"] == "exited"
        assert swapbox.ok("start", "flood") == "flood"
        swapbox.ok("kill", "flood")
        os.kill(command.pid, signal.SIGCONT)
        command.communicate(timeout=60)
        assert command.returncode == 137
