"""Restart policies: a container that ends starts again, as docker's do."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FAILS = ("busybox", "sh", "-c", "echo run; exit 3")


def restarts(swapbox: Sandbox, name: str) -> int:
    count: int = swapbox.inspect(name)["RestartCount"]
    return count


def test_on_failure_gives_up_after_so_many_times(swapbox: Sandbox) -> None:
    first = swapbox("run", "--name", "fails", "--restart", "on-failure:2", *FAILS)
    assert (first.code, first.out) == (3, "run")
    wait_until(lambda: swapbox.state("fails")["Status"] == "exited", "it has given up")
    assert swapbox.ok("logs", "fails") == "run\nrun\nrun"
    assert restarts(swapbox, "fails") == 2
    assert swapbox.state("fails")["ExitCode"] == 3


def test_on_failure_lets_a_success_be(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "works", "--restart", "on-failure", "busybox", "true")
    assert swapbox.state("works")["Status"] == "exited"
    assert restarts(swapbox, "works") == 0


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_always_goes_on_until_it_is_stopped(swapbox: Sandbox, policy: str) -> None:
    swapbox.ok("run", "-d", "--name", "again", "--restart", policy, "busybox", "sh", "-c", "echo run; sleep 0.1")
    wait_until(lambda: restarts(swapbox, "again") >= 2, "it was restarted twice")
    assert swapbox.names() == ["again"]
    swapbox.ok("stop", "-t", "0", "again")
    assert swapbox.state("again")["Status"] == "exited"
    assert swapbox.names() == []


def test_one_that_waits_for_its_restart_says_so_and_can_be_stopped(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "waits", "--restart", "always", *FAILS)
    wait_until(lambda: swapbox.state("waits")["Restarting"] and restarts(swapbox, "waits") > 3, "it waits long")
    assert "Restarting (3)" in swapbox.ok("ps")
    swapbox("exec", "waits", "true").fails(1, "is restarting, wait until the container is running")
    swapbox("attach", "waits").fails(1, "cannot attach to a restarting container")
    swapbox.ok("stop", "waits")
    assert (swapbox.state("waits")["Status"], swapbox.state("waits")["ExitCode"]) == ("exited", 3)


def test_one_that_waits_for_its_restart_is_removed_by_force(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "waits", "--restart", "always", *FAILS)
    wait_until(lambda: swapbox.state("waits")["Restarting"] and restarts(swapbox, "waits") > 3, "it waits long")
    swapbox.ok("rm", "-f", "waits")
    assert swapbox.names("-a") == []


def test_a_killed_one_is_not_restarted(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "killed", "--restart", "always", "busybox", "sleep", "1000")
    swapbox.ok("kill", "killed")
    assert swapbox.wait_exited("killed") == 137


def test_one_whose_init_dies_on_its_own_is_restarted_after_its_monitor_is_lean(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "back", "--restart", "always", "busybox", "sleep", "1000")
    monitor = swapbox.wait_lean("back")
    before = swapbox.state("back")["Pid"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: swapbox.state("back")["Pid"] not in (0, before), "it runs again")
    assert swapbox.wait_lean("back") == monitor


def test_a_start_that_fails_ends_the_restarts(swapbox: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "bound"
    source.mkdir()
    options = ("--mount", f"type=bind,src={source},dst=/b", "--restart", "always")
    swapbox.ok("run", "-d", "--name", "lost", *options, "busybox", "sleep", "0.3")
    source.rmdir()
    wait_until(lambda: swapbox.state("lost")["Status"] == "exited", "it has given up")
    assert str(source) in swapbox.state("lost")["Error"]


def test_a_manual_start_counts_from_zero(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "fails", "--restart", "on-failure:1", *FAILS)
    wait_until(lambda: swapbox.state("fails")["Status"] == "exited", "it has given up")
    swapbox.ok("start", "fails")
    wait_until(lambda: swapbox.ok("logs", "fails").count("run") == 4, "it ran twice more")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--restart", "sometimes"), "unknown policy 'sometimes'"),
        (("--restart", "always:3"), "maximum retry count"),
        (("--restart", "on-failure:x"), "must be an integer"),
        (("--restart", "on-failure:-1"), "cannot be negative"),
        (("--restart", "always", "--rm"), "conflicting options"),
    ],
)
def test_bad_policies_are_refused(swapbox: Sandbox, options: tuple[str, ...], words: str) -> None:
    swapbox("run", *options, "busybox", "true").fails(125, words)
    assert swapbox.names("-a") == []


def test_wait_returns_at_the_end_of_a_run_though_another_follows(swapbox: Sandbox) -> None:
    swapbox.ok(
        "run", "-d", "--name", "back", "--restart", "always", "busybox", "sh", "-c", "usleep 300000; exit 3"
    )
    assert swapbox.ok("wait", "back") == "3"
    wait_until(lambda: swapbox.state("back")["Restarting"], "it waits for its restart")
    assert swapbox.ok("wait", "back") == "3"
    assert swapbox.state("back")["Running"] is True
