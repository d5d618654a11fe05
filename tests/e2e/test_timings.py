"""``--timings``: the time of a command, shared out."""

from __future__ import annotations

import re

import pytest

from swapbox.testing.sandbox import Sandbox
from swapbox.timings import Timings

pytestmark = pytest.mark.root


def table(text: str) -> tuple[dict[str, float], dict[str, float], float]:
    """Return what is printed: the command's part, the monitor's, and the total."""
    head, _, rest = text.partition("\ncommand\n")
    assert head.endswith("timings, in milliseconds")
    command, _, monitor = rest.partition("monitor, beside it\n")
    total = re.findall(r"^total +([\d.]+)$", text, re.MULTILINE)
    return rows(command), rows(monitor), float(total[0])


def rows(text: str) -> dict[str, float]:
    return {name: float(ms) for name, ms in re.findall(r"^  (\w+) +([\d.]+)$", text, re.MULTILINE)}


@pytest.mark.parametrize(
    "arguments", [["--timings", "run", "--rm"], ["run", "--rm", "--timings"]], ids=["before", "after the verb"]
)
def test_a_run_tells_its_own_time_and_its_monitors(arguments: list[str], swapbox: Sandbox) -> None:
    result = swapbox(*arguments, "busybox", "echo", "hello").check()
    assert result.out == "hello"
    command, monitor, total = table(result.err)
    assert {"imports", "parse", "start", "attached"} <= set(command)
    work = {
        "discovery",
        "resolve",
        "prepare",
        "mount",
        "cgroup",
        "namespaces",
        "network",
        "exec",
        "run",
        "teardown",
    }
    assert work <= set(monitor)
    assert abs(sum(command.values()) - total) < 1


@pytest.mark.parametrize(
    "arguments", [["ps", "-a"], ["container", "ls"], ["version"], ["images", "-q"]], ids=" ".join
)
def test_any_command_tells_its_time(arguments: list[str], swapbox: Sandbox) -> None:
    result = swapbox(*arguments, "--timings").check()
    command, monitor, total = table(result.err)
    assert "parse" in command
    assert monitor == {}
    assert abs(sum(command.values()) - total) < 1


def test_a_detached_run_and_exec_tell_what_is_known_so_far(swapbox: Sandbox) -> None:
    _, monitor, _ = table(
        swapbox("run", "--timings", "-d", "--name", "web", "busybox", "sleep", "1000").check().err
    )
    assert "namespaces" in monitor
    assert "teardown" not in monitor
    _, monitor, _ = table(swapbox("exec", "--timings", "web", "true").check().err)
    assert {"exec", "run", "teardown"} <= set(monitor)


def test_the_containers_own_option_is_not_ours(swapbox: Sandbox) -> None:
    result = swapbox("run", "--rm", "busybox", "echo", "--timings")
    assert (result.out, result.err) == ("--timings", "")


def test_a_failed_command_tells_too(swapbox: Sandbox) -> None:
    result = swapbox("--timings", "logs", "nosuch")
    assert result.code == 1
    assert "total" in result.err


def test_spans_count_for_themselves_and_add_up() -> None:
    times = iter([0, 5, 7, 10, 20, 21, 25])
    timings = Timings("first", clock=lambda: next(times))
    timings.begin("second")
    with timings.span("outer"), timings.span("inner"):
        pass
    assert timings.total() == 25
    assert timings.parts == {"first": 5, "second": 6, "outer": 4, "inner": 10}
