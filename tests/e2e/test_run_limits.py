"""Limits bite, and are undone with the container."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.testing.process import cgroups
from swapbox.testing.sandbox import CGROUP_PARENT, Sandbox

pytestmark = pytest.mark.root


@pytest.fixture
def limited(swapbox: Sandbox) -> Sandbox:
    if not list(Path("/sys/fs/cgroup").glob("memory/memory.limit_in_bytes")) and "memory" not in _controllers():
        pytest.skip("this host has no memory controller")
    return swapbox


def _controllers() -> str:
    file = Path("/sys/fs/cgroup/cgroup.controllers")
    return file.read_text() if file.exists() else ""


def test_memory_over_the_limit_is_death(limited: Sandbox) -> None:
    result = limited("run", "--name", "greedy", "-m", "16m", "busybox", "tail", "/dev/zero")
    assert result.code == 137
    state = limited.state("greedy")
    assert (state["ExitCode"], state["OOMKilled"]) == (137, True)


def test_memory_below_the_limit_is_fine(limited: Sandbox) -> None:
    limited.ok("run", "--name", "modest", "-m", "16m", "busybox", "true")
    assert limited.state("modest")["OOMKilled"] is False
    assert limited.inspect("modest")["HostConfig"]["Memory"] == 16 << 20


def test_processes_over_the_limit_are_refused(limited: Sandbox) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 2 & done; wait"
    result = limited("run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", script)
    assert "can't fork" in result.err


def test_cpus_become_a_quota(limited: Sandbox) -> None:
    container = limited.ok("run", "-d", "--cpus", "0.5", "busybox", "sleep", "1000")
    quotas = {
        file.read_text().split()[0]
        for group in cgroups(CGROUP_PARENT)
        if group.name == container
        for file in (group / "cpu.cfs_quota_us", group / "cpu.max")
        if file.exists()
    }
    assert quotas == {"50000"}


def test_a_container_is_in_cgroups_of_its_own(limited: Sandbox) -> None:
    container = limited.ok("run", "-d", "busybox", "sleep", "1000")
    groups = [group for group in cgroups(CGROUP_PARENT) if group.name == container]
    pid = str(limited.state(container)["Pid"])
    assert any(pid in (group / "cgroup.procs").read_text().split() for group in groups)
    limited.ok("rm", "-f", container)
    assert not any(group.exists() for group in groups)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("nofile=128:256", "Max open files 128 256 files"),
        ("nproc=500", "Max processes 500 500 processes"),
        ("core=0", "Max core file size 0 0 bytes"),
        ("stack=4194304", "Max stack size 4194304 4194304 bytes"),
    ],
)
def test_ulimits_are_set(swapbox: Sandbox, option: str, line: str) -> None:
    limits = swapbox.ok("run", "--rm", "--ulimit", option, "busybox", "cat", "/proc/self/limits")
    assert line in [" ".join(shown.split()) for shown in limits.splitlines()]


def test_without_cgroups_a_limit_that_was_asked_for_is_an_error(swapbox: Sandbox) -> None:
    swapbox("run", "--rm", "--cgroup", "none", "-m", "64m", "busybox", "true").fails(125, "memory")
    assert swapbox.ok("run", "--rm", "--cgroup", "none", "busybox", "echo", "hi") == "hi"
    assert swapbox.ok("ps", "-a", "-q") == ""
