"""Commands, monitors and their helpers that are killed at any point of a container's life leave the truth."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from swapbox.testing.faults import files, held, monitor_pid, patched
from swapbox.testing.process import processes_naming, wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FOREVER = ("busybox", "sleep", "1000")
FAILS = ("busybox", "sh", "-c", "exit 3")
VERBS = (("exec", "victim", "true"), ("stop", "-t", "0", "victim"), ("start", "victim"), ("rm", "victim"))


@pytest.fixture
def clean(swapbox: Sandbox) -> set[Path]:
    """What is there when every kind of cache is."""
    swapbox.ok("run", "--rm", "busybox", "true")
    return files(swapbox)


def killed(swapbox: Sandbox, place: str, when: str, *arguments: str) -> int:
    """Run a command that is deadly at a place; return its exit code."""
    argv = patched(swapbox, place, when, *arguments)
    environment, null = swapbox.environment, subprocess.DEVNULL
    return subprocess.run(argv, env=environment, timeout=60, stdin=null, stdout=null, stderr=null).returncode


def tells_the_truth(swapbox: Sandbox, name: str = "victim") -> None:
    """Expect that what is recorded is so in the kernel."""
    state = swapbox.state(name)
    assert state["Running"] == Path(f"/proc/{state['Pid']}/ns").exists() == (state["Pid"] > 0)
    assert (name in swapbox.names()) == state["Running"]


def leaves_nothing(swapbox: Sandbox, clean: set[Path], name: str = "victim") -> None:
    """Expect that ``rm -f`` cleans up."""
    assert swapbox.ok("rm", "-f", name) == name
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


@pytest.mark.parametrize(
    ("place", "when", "verb"),
    [
        ("lifecycle:Lifecycle._signal_and_thaw", "before", ("stop",)),
        ("lifecycle:Lifecycle._signal_and_thaw", "after", ("stop", "-s", "KILL")),
        ("lifecycle:Lifecycle.signal", "before", ("kill",)),
        ("lifecycle:Lifecycle.stop", "after", ("restart", "-t", "0")),
        ("lifecycle:Lifecycle.start", "after", ("restart", "-t", "0")),
        ("freeze:_freeze", "before", ("pause",)),
        ("freeze:_freeze", "after", ("pause",)),
        ("records:Records.set_config", "before", ("update", "-m", "64m")),
        ("teardown:free", "before", ("rm", "-f")),
        ("teardown:remove", "before", ("rm", "-f")),
        ("teardown:_remove_tree", "after", ("rm", "-f")),
    ],
)
def test_a_killed_command_leaves_a_container_that_every_verb_understands(
    swapbox: Sandbox, clean: set[Path], place: str, when: str, verb: tuple[str, ...]
) -> None:
    swapbox.ok("run", "-d", "--name", "victim", *FOREVER)
    assert killed(swapbox, place, when, *verb, "victim") == -signal.SIGKILL
    if "victim" in swapbox.names("-a"):  # else looking at it has finished its removal
        tells_the_truth(swapbox)
    for other in VERBS:
        result = swapbox(*other)
        assert result.code in (0, 1), result
        assert "Traceback" not in result.err
        assert "bug in" not in result.err
    if "victim" in swapbox.names("-a"):
        tells_the_truth(swapbox)
        leaves_nothing(swapbox, clean)
    assert files(swapbox) == clean


def test_an_unpause_that_was_killed_can_be_done_again(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "victim", *FOREVER)
    swapbox.ok("pause", "victim")
    assert killed(swapbox, "freeze:happened", "before", "unpause", "victim") == -signal.SIGKILL
    assert swapbox.ok("exec", "victim", "echo", "awake") == "awake"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_rename_has_happened_or_not(swapbox: Sandbox, when: str) -> None:
    swapbox.ok("create", "--name", "before", *FOREVER)
    killed(swapbox, "records:Records.rename", when, "rename", "before", "after")
    assert swapbox.names("-a") == [when]


@pytest.mark.parametrize("place", ["launch:_mount", "launch:_connect"])
def test_a_start_whose_monitor_is_killed_leaves_what_was_before(
    swapbox: Sandbox, clean: set[Path], place: str
) -> None:
    swapbox("run", "--name", "victim", *FAILS)
    assert killed(swapbox, place, "after", "start", "victim") == 1
    state = swapbox.state("victim")
    assert (state["Status"], state["ExitCode"]) == ("exited", 128)
    assert "monitor died" in state["Error"]
    assert swapbox.ok("start", "victim") == "victim"
    assert swapbox.wait_exited("victim") == 3
    leaves_nothing(swapbox, clean)


def test_a_monitor_killed_while_it_waits_to_restart_leaves_an_exited_container(
    swapbox: Sandbox, clean: set[Path]
) -> None:
    swapbox("run", "--restart", "on-failure:9", "--name", "victim", *FAILS)
    wait_until(lambda: swapbox.inspect("victim")["RestartCount"] > 2, "it waits long")
    wait_until(lambda: swapbox.state("victim")["Status"] == "restarting", "it waits")
    os.kill(monitor_pid(swapbox, "victim"), signal.SIGKILL)
    state = swapbox.state("victim")
    assert (state["Status"], state["Running"], state["Restarting"]) == ("exited", False, False)
    assert state["ExitCode"] in (3, 255)
    assert swapbox.names() == []
    leaves_nothing(swapbox, clean)


def test_a_monitor_killed_as_it_restarts_leaves_an_exited_container(
    swapbox: Sandbox, clean: set[Path], tmp_path: Path
) -> None:
    with held(
        swapbox, tmp_path, "launch:_set_running", "run", "-d", "--restart", "always", "--name", "victim", *FAILS
    ) as (command, gate):
        gate.wait()
        gate.open()
        assert command.wait(60) == 0
        gate.wait()  # the second run
        os.kill(monitor_pid(swapbox, "victim"), signal.SIGKILL)
    state = swapbox.state("victim")
    assert (state["Status"], state["ExitCode"]) == ("exited", 3)
    assert "monitor died" in state["Error"]
    leaves_nothing(swapbox, clean)


@pytest.mark.parametrize("place", ["exec_run:run_process", "exec_run:_listen", "exec_run:make_session"])
def test_a_monitor_of_an_exec_session_killed_at_its_start_harms_nobody(swapbox: Sandbox, place: str) -> None:
    swapbox.ok("run", "-d", "--name", "victim", *FOREVER)
    assert killed(swapbox, place, "after", "exec", "victim", "sleep", "991") == 1
    assert swapbox.inspect("victim")["ExecIDs"] is None
    assert swapbox.ok("exec", "victim", "echo", "well") == "well"
    tells_the_truth(swapbox)


def lean_monitors(swapbox: Sandbox) -> set[int]:
    return {process.pid for process in processes_naming(swapbox.directory.name) if "lean.py" in process.command}


def test_a_session_of_a_killed_monitor_is_not_listed(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "victim", *FOREVER)
    own = swapbox.wait_lean("victim")
    swapbox.ok("exec", "-d", "victim", "sleep", "992")
    assert len(swapbox.inspect("victim")["ExecIDs"]) == 1
    (session,) = wait_until(lambda: lean_monitors(swapbox) - {own}, "the session's monitor is lean")
    os.kill(session, signal.SIGKILL)
    wait_until(lambda: swapbox.inspect("victim")["ExecIDs"] is None, "the session is forgotten")
    swapbox.ok("stop", "-t", "0", "victim")
    assert swapbox.state("victim")["ExitCode"] == 137


def test_a_session_tells_how_it_ended_though_its_container_is_removed(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "victim", *FOREVER)
    own = swapbox.wait_lean("victim")
    with swapbox.start("exec", "victim", "sleep", "993") as session:
        wait_until(lambda: lean_monitors(swapbox) - {own}, "the session's monitor is lean")
        swapbox.ok("rm", "-f", "victim")
        assert session.communicate(timeout=60) == (b"", b"")
    assert session.returncode == 137


@pytest.mark.parametrize("verb", [("stop", "-t", "0"), ("rm", "-f")])
def test_a_container_ends_though_its_health_check_was_killed(
    swapbox: Sandbox, clean: set[Path], verb: tuple[str, ...]
) -> None:
    """The check's command becomes the monitor's child, and its zombie would keep the init from ending."""
    check = ("--health-cmd", "exec sleep 994", "--health-interval", "100ms", "--health-timeout", "1h")
    swapbox.ok("run", "-d", "--name", "victim", *check, *FOREVER)

    def found(ending: str) -> list[int]:
        return [p.pid for p in processes_naming(swapbox.directory.name) if p.command.endswith(ending)]

    assert wait_until(lambda: found("sleep 994"), "the check runs")
    (probe,) = found("probe.py")
    os.kill(probe, signal.SIGKILL)
    assert swapbox.ok(*verb, "victim") == "victim"
    if verb[0] == "stop":
        assert swapbox.state("victim")["ExitCode"] == 137
        leaves_nothing(swapbox, clean)
    swapbox.assert_no_leaks()


def test_wait_sees_a_container_to_its_end_though_the_monitor_dies(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "victim", *FOREVER)
    with swapbox.start("wait", "victim") as waiting:
        os.kill(swapbox.wait_lean("victim"), signal.SIGKILL)
        swapbox.ok("stop", "-t", "0", "victim")
        assert waiting.communicate(timeout=60) == (b"255\n", b"")


def test_what_a_stop_of_an_orphan_frees_is_free_when_it_returns(swapbox: Sandbox, clean: set[Path]) -> None:
    swapbox.ok("run", "-d", "--name", "victim", *FOREVER)
    os.kill(monitor_pid(swapbox, "victim"), signal.SIGKILL)
    swapbox.ok("stop", "-t", "0", "victim")
    swapbox.assert_no_leaks()
    leaves_nothing(swapbox, clean)
