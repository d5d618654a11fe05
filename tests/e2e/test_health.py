"""Health checks of the image and of flags are made, recorded and told, as docker's are."""

from __future__ import annotations

from typing import Any

import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FAST = ("--health-interval", "100ms")
FOREVER = ("busybox", "sleep", "1000")


def health(swapbox: Sandbox, name: str) -> dict[str, Any]:
    found: dict[str, Any] = swapbox.state(name)["Health"]
    return found


def wait_health(swapbox: Sandbox, name: str, status: str) -> None:
    wait_until(lambda: health(swapbox, name)["Status"] == status, f"{name} is {status}")


def test_a_check_that_succeeds_makes_it_healthy_and_its_output_is_kept(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "well", "--health-cmd", "echo fine; id -u", *FAST, *FOREVER)
    wait_health(swapbox, "well", "healthy")
    last = health(swapbox, "well")["Log"][-1]
    assert (last["ExitCode"], last["Output"]) == (0, "fine\n0\n")
    assert "(healthy)" in swapbox.ok("ps")
    actions = swapbox.ok(
        "events", "--since", "1m", "--until", "0s", "-f", "container=well", "--format", "{{.Action}}"
    )
    command = "/bin/sh -c echo fine; id -u"
    told = [f"exec_create: {command}", f"exec_start: {command}", "exec_die", "health_status: healthy"]
    assert told == actions.splitlines()[2:6]


def test_so_many_failures_in_a_row_make_it_unhealthy_and_a_success_healthy_again(swapbox: Sandbox) -> None:
    swapbox.ok(
        "run", "-d", "--name", "turns", "--health-cmd", "test -e /tmp/ok", "--health-retries", "2", *FAST, *FOREVER
    )
    wait_health(swapbox, "turns", "unhealthy")
    assert health(swapbox, "turns")["FailingStreak"] >= 2
    swapbox.ok("exec", "turns", "touch", "/tmp/ok")
    wait_health(swapbox, "turns", "healthy")
    assert health(swapbox, "turns")["FailingStreak"] == 0


def test_five_results_are_kept(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "kept", "--health-cmd", "exit 1", *FAST, *FOREVER)
    wait_until(lambda: health(swapbox, "kept")["FailingStreak"] > 6, "seven checks were made")
    assert len(health(swapbox, "kept")["Log"]) == 5


def test_a_check_that_takes_too_long_fails(swapbox: Sandbox) -> None:
    swapbox.ok(
        "run", "-d", "--name", "hangs", "--health-cmd", "sleep 995", "--health-timeout", "200ms", *FAST, *FOREVER
    )
    wait_until(lambda: health(swapbox, "hangs")["Log"], "one check was made")
    last = health(swapbox, "hangs")["Log"][-1]
    assert last["ExitCode"] == -1
    assert "exceeded timeout" in last["Output"]


def test_failures_in_the_start_period_do_not_count(swapbox: Sandbox) -> None:
    swapbox.ok(
        *("run", "-d", "--name", "young", "--health-cmd", "exit 1", "--health-retries", "1"),
        *("--health-start-period", "1h", "--health-start-interval", "100ms", "--health-interval", "1h", *FOREVER),
    )
    wait_until(lambda: len(health(swapbox, "young")["Log"]) >= 2, "two checks were made")
    assert (health(swapbox, "young")["Status"], health(swapbox, "young")["FailingStreak"]) == ("starting", 0)


def test_checks_go_on_in_the_lean_monitor_and_end_with_the_container(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "lives", "--health-cmd", "exit 0", *FAST, *FOREVER)
    swapbox.wait_lean("lives")
    seen = health(swapbox, "lives")["Log"][-1:]
    wait_until(lambda: health(swapbox, "lives")["Log"][-1:] != seen, "another check was made")
    swapbox.ok("stop", "-t", "0", "lives")
    assert health(swapbox, "lives")["Status"] == "healthy"


def test_no_healthcheck_means_none(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "unchecked", "--no-healthcheck", *FOREVER)
    assert "Health" not in swapbox.state("unchecked")
    swapbox("run", "--no-healthcheck", "--health-cmd", "true", *FOREVER).fails(125, "conflicts with --health-*")
    swapbox("run", "--health-interval", "-1s", *FOREVER).fails(125, "--health-interval cannot be negative")
