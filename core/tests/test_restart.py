"""When a container that has ended starts again."""

from __future__ import annotations

import os
import subprocess

import pytest

from swapbox.containers.config import ContainerConfig
from swapbox.containers.records import Container, RunState
from swapbox.containers.restart import next_delay
from swapbox.containers.teardown import _restarting
from swapbox.durations import SECOND
from swapbox.linux.process import Process

TENTH = SECOND // 10


def delay(restart: str, state: RunState, *, exit_code: int = 1, ran: int = 0, retries: int = 0) -> int | None:
    config = ContainerConfig("x", restart=restart, restart_retries=retries)
    return next_delay(config, state, exit_code=exit_code, ran=ran)


@pytest.mark.parametrize(
    ("policy", "exit_code", "again"),
    [
        ("", 1, False),
        ("no", 1, False),
        ("always", 0, True),
        ("unless-stopped", 0, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
    ],
)
def test_the_policy_says_whether(policy: str, exit_code: int, again: bool) -> None:
    assert (delay(policy, RunState(), exit_code=exit_code) is not None) == again


def test_the_delay_doubles_up_to_a_minute_and_begins_anew_after_a_long_run() -> None:
    assert delay("always", RunState()) == TENTH
    assert delay("always", RunState(delay=TENTH)) == 2 * TENTH
    assert delay("always", RunState(delay=40 * SECOND)) == 60 * SECOND
    assert delay("always", RunState(delay=60 * SECOND)) == 60 * SECOND
    assert delay("always", RunState(delay=60 * SECOND), ran=10 * SECOND) == TENTH


def test_a_count_is_an_end() -> None:
    assert delay("on-failure", RunState(restart_count=2), retries=3) is not None
    assert delay("on-failure", RunState(restart_count=3), retries=3) is None


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_one_that_the_user_stopped_stays_so(policy: str) -> None:
    assert delay(policy, RunState(stopped=True)) is None


@pytest.mark.parametrize("step", [-3600 * SECOND, 3600 * SECOND])
def test_a_step_of_the_clock_during_the_run_changes_no_delay(step: int) -> None:
    container = Container("x", "x", 0, ContainerConfig("x", restart="always"), RunState())
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        ran = RunState("running", init=Process.of(child.pid), started=10**18, delay=TENTH)
        again = _restarting(container, ran, RunState("exited", exit_code=1, finished=10**18 + step))
        child.communicate()
    assert again is not None
    assert again.delay == 2 * TENTH
    assert Process.of(os.getpid()).age() > 0
