"""Commands and monitors that are killed, or get in each other's way: nothing is lost and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from swapbox.testing.faults import files, patched
from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FOREVER = ("busybox", "sleep", "1000")
# It takes longer than the monitor stays what it was forked as.
COUNT = "i=0; while [ $i -lt 140 ]; do echo $i; i=$((i+1)); usleep 10000; done; exit 7"
COUNTED = b"".join(b"%d\n" % number for number in range(140))


def run(swapbox: Sandbox, argv: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, capture_output=True, timeout=60, env=swapbox.environment, stdin=subprocess.DEVNULL)


@pytest.fixture
def clean(swapbox: Sandbox) -> set[Path]:
    """What is there when every kind of cache is."""
    swapbox.ok("run", "--rm", "busybox", "true")
    return files(swapbox)


@pytest.mark.parametrize("victims", ["monitor", "both"])
@pytest.mark.parametrize(
    ("place", "when", "status"),
    [
        ("launch:_mount", "before", "created"),
        ("launch:_mount", "after", "created"),
        ("launch:listen", "after", "created"),
        ("launch:_connect", "before", "created"),
        ("launch:_set_running", "before", "created"),
        ("launch:_set_running", "after", "exited"),
        ("container_run:make_session", "before", "running"),
    ],
)
def test_a_monitor_killed_at_the_start_leaves_the_truth_and_nothing_else(
    swapbox: Sandbox, clean: set[Path], place: str, when: str, status: str, victims: str
) -> None:
    outcome = run(swapbox, patched(swapbox, place, f"{when} {victims}", "run", "--name", "victim", *FOREVER))
    if victims == "both":
        assert outcome.returncode == -signal.SIGKILL
    else:
        assert (outcome.returncode, outcome.stdout) == (125, b"")
        assert b"monitor" in outcome.stderr
    assert swapbox.names() == (["victim"] if status == "running" else [])
    state = swapbox.state("victim")
    assert state["Status"] == status
    assert ("monitor died" in state["Error"]) == (status == "created")
    assert swapbox.ok("rm", "-f", "victim") == "victim"
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


@pytest.mark.parametrize("place", ["container_run:_tear_down", "teardown:free", "teardown:remove_run_directory"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_monitor_killed_at_the_end_leaves_an_exited_container_with_its_code(
    swapbox: Sandbox, clean: set[Path], place: str, when: str
) -> None:
    says_and_fails = ("sh", "-c", "echo hi; exit 7")
    run(swapbox, patched(swapbox, place, f"{when} monitor", "run", "--name", "victim", "busybox", *says_and_fails))
    assert swapbox.names() == []
    state = swapbox.state("victim")
    assert (state["Status"], state["ExitCode"]) == ("exited", 7)
    assert swapbox.ok("logs", "victim") == "hi"
    assert swapbox.ok("rm", "victim") == "victim"
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


@pytest.mark.parametrize("victims", ["monitor", "both"])
@pytest.mark.parametrize(
    "place", ["container_run:_tear_down", "teardown:free", "teardown:remove", "teardown:_remove_tree"]
)
def test_a_container_of_rm_is_removed_though_its_monitor_was_killed(
    swapbox: Sandbox, clean: set[Path], place: str, victims: str
) -> None:
    run(swapbox, patched(swapbox, place, f"before {victims}", "run", "--rm", "busybox", "true"))
    wait_until(lambda: swapbox.names("-a") == [], "it is removed")
    assert files(swapbox) == clean


@pytest.mark.parametrize("verb", [("rm", "-f"), ("kill",), ("stop", "-t", "0")])
def test_a_container_outlives_its_monitor_and_can_be_ended(
    swapbox: Sandbox, clean: set[Path], verb: tuple[str, ...]
) -> None:
    swapbox.ok("run", "-d", "--name", "orphan", *FOREVER)
    os.kill(swapbox.wait_lean("orphan"), signal.SIGKILL)
    assert swapbox.names() == ["orphan"]
    assert swapbox.ok(*verb, "orphan") == "orphan"
    assert swapbox.names() == []
    if verb != ("rm", "-f"):
        assert swapbox.state("orphan")["ExitCode"] == 255
        swapbox.ok("rm", "orphan")
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_rm_f_does_not_wait_for_ever_for_a_stuck_monitor(swapbox: Sandbox, clean: set[Path]) -> None:
    swapbox.ok("run", "-d", "--name", "stuck", *FOREVER)
    os.kill(swapbox.wait_lean("stuck"), signal.SIGSTOP)
    assert swapbox.ok("rm", "-f", "stuck") == "stuck"
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_a_killed_init_is_an_exit_with_137(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "shot", *FOREVER)
    os.kill(swapbox.state("shot")["Pid"], signal.SIGKILL)
    assert swapbox.wait_exited("shot") == 137


def test_the_container_of_a_killed_command_goes_on_with_its_whole_log(swapbox: Sandbox) -> None:
    with swapbox.start("run", "--name", "left", "busybox", "sh", "-c", COUNT) as command:
        assert command.stdout
        assert command.stdout.readline() == b"0\n"
        command.kill()
    assert swapbox.names() == ["left"]
    assert swapbox.wait_exited("left") == 7
    assert swapbox("logs", "left").stdout == COUNTED


@pytest.mark.parametrize("place", ["launch:_mount", "launch:_set_running", "container_run:make_session"])
@pytest.mark.parametrize("options", [("-d",), ()])
def test_a_command_killed_while_its_container_starts_loses_nothing(
    swapbox: Sandbox, place: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    argv = patched(swapbox, place, "wait", "run", *options, "--name", "left", "busybox", "sh", "-c", COUNT)
    with subprocess.Popen(argv, env={**swapbox.environment, "GATE": str(gate)}) as command:
        opened = os.open(gate, os.O_WRONLY)  # returns when the monitor has come there
        command.kill()
        command.wait()
        os.close(opened)
    assert swapbox.wait_exited("left") == 7
    assert swapbox("logs", "left").stdout == COUNTED


def test_a_log_driver_that_cannot_be_opened_again_does_not_stop_the_container(swapbox: Sandbox) -> None:
    container = swapbox.ok("run", "-d", "--name", "unlogged", "busybox", "sh", "-c", COUNT)
    for path in (swapbox.root / "containers" / container).iterdir():
        path.unlink()
    path.parent.rmdir()
    assert swapbox.wait_exited("unlogged") == 7


def test_a_faulty_recipe_of_a_log_driver_loses_nothing(swapbox: Sandbox) -> None:
    run(
        swapbox,
        patched(swapbox, "handover:_log_recipe", "fail", "run", "--name", "kept", "busybox", "sh", "-c", COUNT),
    )
    assert swapbox.state("kept")["ExitCode"] == 7
    assert swapbox("logs", "kept").stdout == COUNTED


@pytest.mark.parametrize("lean", [False, True])
def test_input_ends_with_the_command_that_gave_it(swapbox: Sandbox, lean: bool) -> None:
    script = "echo ready; cat; exit 5"
    with swapbox.start("run", "-i", "--name", "reader", "busybox", "sh", "-c", script, stdin=-1) as command:
        assert command.stdout
        assert command.stdout.readline() == b"ready\n"
        if lean:
            swapbox.wait_lean("reader")
        command.kill()
    assert swapbox.wait_exited("reader") == 5


def test_a_detached_container_keeps_its_input_open(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "-i", "--name", "reader", "busybox", "cat")
    swapbox.wait_lean("reader")
    assert swapbox.names() == ["reader"]


def test_rm_f_of_a_container_that_starts_waits_for_its_monitor(
    swapbox: Sandbox, clean: set[Path], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    argv = patched(swapbox, "launch:_set_running", "wait", "run", "--name", "early", *FOREVER)
    environment = {**swapbox.environment, "GATE": str(gate)}
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE) as command:
        opened = os.open(gate, os.O_WRONLY)
        swapbox("rm", "early").fails(1, "is running")
        with swapbox.start("rm", "-f", "early") as remover:
            wait_until(lambda: "Removal In Progress" in swapbox.ok("ps", "-a"), "rm has begun")
            os.close(opened)
            assert remover.wait(60) == 0
        assert command.stderr
        assert b"early" in command.stderr.read()
    assert command.returncode == 125
    assert swapbox.names("-a") == []
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_two_rm_f_at_once_do_not_disturb_each_other(swapbox: Sandbox, clean: set[Path]) -> None:
    for _ in range(5):
        swapbox.ok("run", "-d", "--name", "twice", *FOREVER)
        with swapbox.start("rm", "-f", "twice") as one, swapbox.start("rm", "-f", "twice") as other:
            told = [command.communicate(timeout=60) for command in (one, other)]
        assert (one.returncode, other.returncode) == (0, 0)
        assert any(out == b"twice\n" for out, _ in told)
        assert all(not error or b"No such container" in error for _, error in told)
    swapbox.assert_no_leaks()
    assert files(swapbox) == clean


def test_stop_and_the_exit_at_the_same_moment(swapbox: Sandbox) -> None:
    for number in range(5):
        swapbox.ok("run", "-d", "--name", f"n{number}", "busybox", "sh", "-c", "trap 'exit 3' TERM; usleep 100000")
        assert swapbox.ok("stop", f"n{number}") == f"n{number}"
        assert swapbox.state(f"n{number}")["Status"] == "exited"
        assert swapbox.state(f"n{number}")["ExitCode"] in (0, 3)


START = """
import sys
from pathlib import Path
from swapbox import Engine

engine = Engine(root=Path(sys.argv[1]), run_root=Path(sys.argv[2]))
engine.containers.start(engine.containers.find(sys.argv[3]))
"""
CREATE = """
import sys
from pathlib import Path
from swapbox import Engine
from swapbox.containers.config import ContainerConfig

engine = Engine(root=Path(sys.argv[1]), run_root=Path(sys.argv[2]))
asked = ContainerConfig("busybox", ("sleep", "1000"))
engine.containers.create(asked, image=engine.images.find("busybox"), name="contended")
"""


def test_of_two_starts_at_once_one_runs_and_the_other_harms_nothing(swapbox: Sandbox) -> None:
    roots = [str(swapbox.root), str(swapbox.run_root)]
    subprocess.run([sys.executable, "-c", CREATE, *roots], check=True, env=swapbox.environment)
    argv = [sys.executable, "-c", START, *roots, "contended"]
    starters = [subprocess.Popen(argv, env=swapbox.environment, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [starter.communicate(timeout=60)[1] for starter in starters]
    assert sorted(starter.returncode for starter in starters) == [0, 1, 1]
    assert sum(b"is already running" in error for error in errors) == 2
    assert swapbox.state("contended")["Running"] is True


# - odd callers ---------------------------------------------------------------------------------------------------


def test_the_exit_code_is_known_though_the_caller_ignores_sigchld(swapbox: Sandbox) -> None:
    script = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    argv = swapbox.argv("run", "--rm", "busybox", "sh", "-c", "exit 3")
    assert run(swapbox, [sys.executable, "-c", script, *argv]).returncode == 3


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_streams_may_be_closed(swapbox: Sandbox, closed: str) -> None:
    argv = swapbox.argv("run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo hi; exit 3")
    outcome = run(swapbox, ["sh", "-c", f'"$0" "$@" {closed}', *argv])
    assert outcome.returncode == 3
    assert outcome.stdout == (b"" if ">&-" in closed.split() else b"hi\n")
