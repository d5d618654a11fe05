"""Debian's runc runs the generated bundle, and the container is as docker's would be."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.containers.config import ContainerConfig, DeviceSpec
from swapbox.containers.files import RuntimeFiles
from swapbox.containers.spec import build_spec

BUSYBOX = "/bin/busybox"

pytestmark = [
    pytest.mark.root,
    pytest.mark.debian,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("runc") is None, reason="needs runc"),
    pytest.mark.skipif(not Path(BUSYBOX).exists(), reason="needs busybox-static"),
]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    rootfs = tmp_path / "rootfs"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, rootfs / "bin/busybox")
    (rootfs / "bin/sh").symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:root\nwheel:x:10:app\n")
    for name in RuntimeFiles._fields:
        (tmp_path / name).write_text(f"generated {name}\n")
    return tmp_path


@pytest.fixture
def run(bundle: Path) -> Iterator[Run]:
    container_id = secrets.token_hex(32)
    runc = ["runc", "--root", str(bundle / "state")]

    def start(script: str, *, init_path: Path | None = None, **fields: Any) -> subprocess.CompletedProcess[str]:
        commands = 'for c in $(busybox --list); do alias $c="busybox $c"; done; '
        spec = build_spec(
            ContainerConfig("x", cmd=("/bin/busybox", "sh", "-c", commands + script), **fields),
            container_id=container_id,
            rootfs=bundle / "rootfs",
            files=RuntimeFiles(*(bundle / name for name in RuntimeFiles._fields)),
            private_network=True,
            cgroup_path=f"swapbox-spec-tests/{container_id}",
            init_path=init_path,
        )
        (bundle / "config.json").write_text(json.dumps(spec))
        command = [*runc, "run", "--bundle", str(bundle), container_id]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)

    yield start
    subprocess.run([*runc, "delete", "--force", container_id], capture_output=True)
    cgroups = Path("/sys/fs/cgroup")
    for parent in (*cgroups.glob("*/swapbox-spec-tests"), *cgroups.glob("swapbox-spec-tests")):
        parent.rmdir()


def test_the_default_container_runs(run: Run) -> None:
    result = run("cat /etc/hosts; hostname; id -u; pwd; echo $HOME; grep -E 'Cap|Seccomp:' /proc/self/status")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "generated hosts"
    assert lines[2:5] == ["0", "/", "/root"]
    status = dict(line.split(":\t") for line in lines[5:])
    assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "00000000a80425fb"
    assert status["CapInh"] == status["CapAmb"] == "0000000000000000"
    assert status["Seccomp"] == "2"


def test_another_user_runs_without_capabilities(run: Run) -> None:
    result = run("grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status; pwd", user="app", workdir="/tmp")
    assert result.returncode == 0, result.stderr
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["Uid:", *["1000"] * 4],
        ["Gid:", *["1001"] * 4],
        ["Groups:", "10", "1001"],
        ["CapEff:", "0000000000000000"],
        ["/tmp"],
    ]


def test_the_host_is_masked_and_read_only(run: Run) -> None:
    result = run(
        "cat /proc/interrupts; echo 1 > /proc/sys/kernel/panic; echo x > /sys/kernel/uevent_helper;"
        "mount -t tmpfs x /tmp"
    )
    assert result.stdout == ""
    assert "can't create /proc/sys/kernel/panic: Read-only file system" in result.stderr
    assert "can't create /sys/kernel/uevent_helper: Read-only file system" in result.stderr
    assert "permission denied" in result.stderr


def test_options_arrive_in_the_container(run: Run) -> None:
    result = run(
        "df -P /t | tail -1; ls -l /dev/mine; cat /proc/sys/net/ipv4/ping_group_range; touch /x",
        tmpfs={"/t": "size=1m"},
        devices=(DeviceSpec("/dev/full", "/dev/mine"),),
        read_only=True,
        sysctls={"net.ipv4.ping_group_range": "1 2"},
    )
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["tmpfs", "1024"]
    assert "1,   7" in lines[1]
    assert lines[2].split() == ["1", "2"]
    assert "/x: Read-only file system" in result.stderr


@pytest.mark.skipif(not Path("/usr/bin/tini-static").exists(), reason="needs tini")
def test_init_is_pid_1_and_runs_the_command(run: Run) -> None:
    result = run("cat /proc/1/comm; test $$ != 1", init=True, init_path=Path("/usr/bin/tini-static"))
    assert result.returncode == 0, result.stderr
    assert result.stdout == "docker-init\n"


def test_a_privileged_container_runs(run: Run) -> None:
    result = run("mount -t tmpfs x /tmp && grep Seccomp: /proc/self/status && ls /dev/null", privileged=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "Seccomp:\t0"
