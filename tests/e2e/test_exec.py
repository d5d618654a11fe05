"""``exec`` runs one more command in a container, as docker's does."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from swapbox.testing.process import processes_naming, wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


@pytest.fixture
def box(swapbox: Sandbox) -> Sandbox:
    """A swapbox with a running container ``box``."""
    swapbox.ok("run", "-d", "--name", "box", "-e", "OWN=1", "-w", "/tmp", "busybox", "sleep", "1000")
    return swapbox


def test_output_and_exit_code_are_the_commands(box: Sandbox) -> None:
    result = box("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.code, result.out, result.err) == (3, "out", "err")


@pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_be_executed_is_an_error(box: Sandbox, command: str, code: int) -> None:
    box("exec", "box", command).fails(code, f'exec: "{command}"')


def test_environment_directory_and_user_are_the_containers_unless_given(box: Sandbox) -> None:
    show = ("sh", "-c", "echo $OWN $MORE; pwd; id -u")
    assert box.ok("exec", "box", *show).split() == ["1", "/tmp", "0"]
    given = ("-e", "MORE=2", "-w", "/etc", "-u", "7")
    assert box.ok("exec", *given, "box", *show).split() == ["1", "2", "/etc", "7"]


def test_an_environment_file_comes_before_the_single_variables(box: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=file\nB=file\n")
    out = box.ok("exec", "--env-file", file, "-e", "B=flag", "box", "sh", "-c", "echo $A $B")
    assert out == "file flag"


def test_stdin_is_passed_on_to_its_end(box: Sandbox) -> None:
    data = os.urandom(300_000)
    assert box("exec", "-i", "box", "cat", stdin=data).stdout == data
    assert box("exec", "box", "cat", stdin=data).stdout == b""


def test_it_is_in_the_containers_namespaces_and_cgroup(box: Sandbox) -> None:
    init = box.state("box")["Pid"]
    box.ok("exec", "-d", "box", "sleep", "999")

    def second() -> str:
        inside = box.ok("exec", "box", "sh", "-c", "for p in /proc/[0-9]*; do readlink $p/ns/pid; done | sort -u")
        return inside.strip()

    assert second() == os.readlink(f"/proc/{init}/ns/pid")
    groups = Path(f"/proc/{init}/cgroup").read_text()
    sleeper = next(p.pid for p in _children_in(init) if p.command.endswith("999"))
    assert Path(f"/proc/{sleeper}/cgroup").read_text() == groups


def _children_in(init: int) -> list[_Found]:
    namespace = os.readlink(f"/proc/{init}/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns/pid") == namespace:
                    command = (entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
                    found.append(_Found(int(entry.name), command))
            except OSError:
                continue
    return found


class _Found:
    def __init__(self, pid: int, command: str) -> None:
        self.pid, self.command = pid, command


def test_a_privileged_command_has_more_capabilities(box: Sandbox) -> None:
    def bounding(*options: str) -> int:
        out = box.ok("exec", *options, "box", "grep", "CapEff", "/proc/self/status")
        return int(out.split()[1], 16)

    assert bounding("--privileged") & ~bounding() != 0


def test_a_detached_command_goes_on_and_says_nothing(box: Sandbox) -> None:
    assert box.ok("exec", "-d", "box", "sh", "-c", "sleep 0.2; touch /tmp/done") == ""
    wait_until(lambda: box("exec", "box", "test", "-e", "/tmp/done").code == 0, "the command has ended")


def test_running_sessions_are_listed(box: Sandbox) -> None:
    assert box.inspect("box")["ExecIDs"] is None
    box.ok("exec", "-d", "box", "sleep", "998")
    ids = box.inspect("box")["ExecIDs"]
    assert [len(one) for one in ids] == [64]
    box.ok("exec", "box", "sh", "-c", "kill $(pidof sleep | cut -d' ' -f1)")
    wait_until(lambda: box.inspect("box")["ExecIDs"] is None, "the session is forgotten")


def test_it_needs_a_running_container(swapbox: Sandbox) -> None:
    swapbox.ok("create", "--name", "made", "busybox", "true")
    container = swapbox.inspect("made")["Id"]
    swapbox("exec", "made", "true").fails(1, f"container {container} is not running")
    swapbox("exec", "nosuch", "true").fails(1, "No such container: nosuch")


def test_it_ends_with_the_container(box: Sandbox) -> None:
    argv = box.argv("exec", "box", "sleep", "997")
    session = subprocess.Popen(argv, env=box.environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: box.inspect("box")["ExecIDs"] is not None, "the session runs")
    box.ok("rm", "-f", "box")
    assert session.wait(30) == 137


def test_the_command_goes_on_when_its_client_is_killed(box: Sandbox) -> None:
    script = "sleep 0.5; echo late; touch /tmp/survived"
    session = subprocess.Popen(box.argv("exec", "box", "sh", "-c", script), env=box.environment)
    wait_until(lambda: box.inspect("box")["ExecIDs"] is not None, "the session runs")
    session.kill()
    session.wait()
    wait_until(lambda: box("exec", "box", "test", "-e", "/tmp/survived").code == 0, "the command has ended")


def test_a_killed_monitor_of_a_session_harms_nobody(box: Sandbox) -> None:
    session = subprocess.Popen(
        box.argv("exec", "box", "sleep", "996"), env=box.environment, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: box.inspect("box")["ExecIDs"] is not None, "the session runs")
    container = box.state("box")["Pid"]
    monitors = [p for p in processes_naming(box.directory.name) if p.pid not in (session.pid, container)]
    lean = {box.wait_lean("box")}
    for process in monitors:
        if process.pid not in lean and "996" in process.command:
            os.kill(process.pid, signal.SIGKILL)
    assert box.ok("exec", "box", "echo", "well") == "well"
    box.ok("rm", "-f", "box")
    session.wait(30)
