"""The whole engine on an OCI runtime's program: ``--isolation runc``, or Docker's word for it, ``--runtime``."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.linux.process import Process
from swapbox.testing.sandbox import Sandbox
from swapbox.testing.terminal import terminal

pytestmark = [
    pytest.mark.root,
    pytest.mark.debian,
    pytest.mark.skipif(shutil.which("runc") is None, reason="needs the program runc"),
]


@pytest.fixture
def runc(swapbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Swapbox whose containers are runc's; afterwards no file of theirs may be left."""
    monkeypatch.setitem(swapbox.environment, "SWAPBOX_ISOLATION", "runc")
    yield swapbox
    swapbox.remove_containers()
    assert list((swapbox.run_root / "isolation" / "runc").glob("*")) == []


def monitor_of(swapbox: Sandbox, name: str) -> Process:
    status = Path(f"/proc/{swapbox.state(name)['Pid']}/status").read_text()
    return Process.of(int(status.split("PPid:")[1].split()[0]))


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 3", 3), ("nosuch", 127)])
def test_the_exit_code_is_the_commands(runc: Sandbox, command: str, code: int) -> None:
    assert runc("run", "--rm", "busybox", "sh", "-c", command).code == code


@pytest.mark.parametrize("command", ["nosuch", "/nope", "/etc/passwd"])
def test_a_command_that_cannot_run_is_the_same_error_as_with_ns(runc: Sandbox, command: str) -> None:
    by_runc, by_ns = (runc("run", "--rm", "--isolation", name, "busybox", command) for name in ("runc", "ns"))
    assert by_runc[1:] == by_ns[1:]


def test_output_comes_apart_and_input_goes_in(runc: Sandbox) -> None:
    result = runc("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo err >&2", stdin=b"in\n")
    assert (result.stdout, result.stderr) == (b"in\n", b"err\n")


def test_a_terminal_is_one_and_has_the_right_size(runc: Sandbox) -> None:
    argv = runc.argv("run", "--rm", "-it", "busybox", "sh", "-c", "stty size; read line; echo got $line; exit 4")
    with terminal(argv, runc.environment) as person:
        person.expect(b"24 80")
        person.type("hello\n")
        person.expect(b"got hello")
        assert person.wait() == 4


def test_docker_words_choose_the_runtime(runc: Sandbox) -> None:
    runc.ok("run", "-d", "--name", "one", "--runtime", "ns", "busybox", "sleep", "1000")
    assert runc.inspect("one")["HostConfig"]["Runtime"] == "ns"
    runc.ok("run", "-d", "--name", "two", "--runtime", "runc", "--isolation", "runc", "busybox", "sleep", "1000")
    assert runc.inspect("two")["HostConfig"]["Runtime"] == "runc"
    runc("run", "--runtime", "ns", "--isolation", "runc", "busybox").fails(125, "--isolation runc", "--runtime ns")
    runc("run", "--runtime", "nosuch", "busybox").fails(125, "nosuch")


def test_info_lists_the_runtimes_that_work_here(runc: Sandbox) -> None:
    lines = dict(line.split(": ", 1) for line in runc.ok("info").splitlines() if ": " in line)
    assert {"ns", "runc"} <= set(lines["Runtimes"].split())
    assert lines["Default Runtime"] == "runc"


def test_limits_bite(runc: Sandbox) -> None:
    assert runc("run", "--name", "greedy", "-m", "16m", "busybox", "tail", "/dev/zero").code == 137
    assert runc.state("greedy")["OOMKilled"] is True
    script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 2 & done; wait"
    assert "can't fork" in runc("run", "--rm", "--pids-limit", "6", "busybox", "sh", "-c", script).err
    assert runc("run", "--rm", "busybox", "sh", "-c", "mknod /x b 8 0; cat /x").code != 0


def test_a_limit_that_the_host_cannot_set_is_left_to_nobody(runc: Sandbox) -> None:
    """With ``--cgroup none`` the runtime gets no limits to set, and the container no device nodes."""
    runc("run", "--rm", "--cgroup", "none", "-m", "16m", "busybox").fails(125, "memory.limit")
    result = runc("run", "--rm", "--cgroup", "none", "busybox", "mknod", "/x", "c", "1", "3")
    assert "not permitted" in result.err.lower()


def test_an_init_reaps(runc: Sandbox) -> None:
    out = runc.ok("run", "--rm", "--init", "busybox", "sh", "-c", "cat /proc/1/comm; echo $$")
    assert out.split()[0] != "sh"
    assert out.split()[1] != "1"


@pytest.mark.parametrize("verb", [("stop", "-t", "10"), ("kill", "-s", "TERM"), ("kill",), ("rm", "-f")])
def test_every_way_to_end_it(runc: Sandbox, verb: tuple[str, ...]) -> None:
    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    runc.ok("run", "-d", "--name", "victim", "busybox", "sh", "-c", script)
    runc.wait_log("victim", "ready")
    runc.ok(*verb, "victim")
    if verb[0] != "rm":
        assert runc.wait_exited("victim") == (137 if verb == ("kill",) else 9)
        runc.ok("rm", "victim")
    assert runc.names("-a") == []
    runc.assert_no_leaks()


def test_a_killed_monitor_leaves_a_running_container_that_can_be_removed(runc: Sandbox) -> None:
    runc.ok("run", "-d", "--name", "orphan", "busybox", "sleep", "1000")
    monitor_of(runc, "orphan").send(signal.SIGKILL)
    assert runc.names() == ["orphan"]
    runc.ok("rm", "-f", "orphan")
    runc.assert_no_leaks()


def test_the_default_container_sees_the_same_by_either_driver(runc: Sandbox) -> None:
    status = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status"
    script = f"id; pwd; env | sort; ls -l /dev | cut -c1-10; {status}; ulimit -a"
    command = ("run", "--rm", "--hostname", "same", "busybox", "sh", "-c", script)
    by_runc, by_ns = (runc.ok(*command[:2], "--isolation", name, *command[2:]) for name in ("runc", "ns"))
    assert by_runc == by_ns


def test_more_commands_run_in_it(runc: Sandbox) -> None:
    runc.ok("run", "-d", "--name", "host", "busybox", "sleep", "1000")
    result = runc(
        "exec", "-i", "-u", "7", "-w", "/tmp", "host", "sh", "-c", "id -u; pwd; cat; exit 4", stdin=b"in\n"
    )
    assert (result.code, result.stdout) == (4, b"7\n/tmp\nin\n")
    by_runc = runc("exec", "host", "nosuch")
    runc.ok("run", "-d", "--name", "other", "--isolation", "ns", "busybox", "sleep", "1000")
    assert by_runc[1:] == runc("exec", "other", "nosuch")[1:]
    argv = runc.argv("exec", "-it", "host", "sh", "-c", "stty size; exit 3")
    with terminal(argv, runc.environment) as person:
        person.expect(b"24 80")
        assert person.wait() == 3


def test_it_is_paused_changed_and_restarted(runc: Sandbox) -> None:
    runc.ok("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    runc.ok("pause", "one")
    assert runc.state("one")["Status"] == "paused"
    runc.ok("unpause", "one")
    runc.ok("update", "-m", "32m", "--memory-swap", "64m", "one")
    assert "32MiB" in runc.ok("stats", "--no-stream", "one")
    runc.ok("restart", "-t", "0", "one")
    assert runc.state("one")["Status"] == "running"


@pytest.mark.parametrize("isolation", ["ns", "runc"])
def test_an_oom_kill_of_another_process_than_the_init_is_flagged_too(runc: Sandbox, isolation: str) -> None:
    script = "tail /dev/zero; exit 5"
    limited = ("run", "--name", "greedy", "--isolation", isolation, "-m", "16m", "busybox", "sh", "-c", script)
    assert runc(*limited).code == 5
    assert runc.state("greedy")["OOMKilled"] is True
