"""Volumes, tmpfs and the read-only root."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


def test_a_bind_mount_is_shared_with_the_host(swapbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "from-host").write_text("hello\n")
    script = "cat /data/from-host; echo back > /data/from-container"
    assert swapbox.ok("run", "--rm", "-v", f"{tmp_path}:/data", "busybox", "sh", "-c", script) == "hello"
    assert (tmp_path / "from-container").read_text() == "back\n"


def test_a_read_only_bind_mount_is(swapbox: Sandbox, tmp_path: Path) -> None:
    swapbox("run", "--rm", "-v", f"{tmp_path}:/data:ro", "busybox", "touch", "/data/x").fails(1, "Read-only")
    assert list(tmp_path.iterdir()) == []


def test_what_is_mounted_below_is_bound_too_and_read_only(swapbox: Sandbox) -> None:
    # /dev of the host has mounts of its own (pts, shm); ro must hold for them as well, or be refused openly.
    script = "grep ' /hostdev' /proc/mounts"
    mounts = swapbox.ok("run", "--rm", "-v", "/dev:/hostdev:ro", "busybox", "sh", "-c", script).splitlines()
    assert mounts[0].split()[3].startswith("ro")


def test_a_file_is_mounted_over_a_file(swapbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    file.write_text("ours\n")
    assert swapbox.ok("run", "--rm", "-v", f"{file}:/etc/passwd:ro", "busybox", "cat", "/etc/passwd") == "ours"


def test_a_file_is_mounted_where_nothing_was(swapbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("ours\n")
    assert (
        swapbox.ok("run", "--rm", "-v", f"{file}:/new/place/file", "busybox", "cat", "/new/place/file") == "ours"
    )


def test_a_missing_host_directory_is_made(swapbox: Sandbox, tmp_path: Path) -> None:
    missing = tmp_path / "not" / "there"
    swapbox.ok("run", "--rm", "-v", f"{missing}:/data", "busybox", "touch", "/data/x")
    assert (missing / "x").exists()


def test_a_directory_over_a_file_is_refused(swapbox: Sandbox, tmp_path: Path) -> None:
    result = swapbox("run", "--rm", "-v", f"{tmp_path}:/etc/passwd", "busybox", "true")
    assert result.code in (125, 126, 127)
    result.fails(result.code, "passwd")
    assert swapbox.ok("ps", "-a", "-q") == ""


def test_a_link_in_the_image_leads_a_mount_nowhere_else(swapbox: Sandbox, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    swapbox.ok("run", "--rm", "-v", f"{tmp_path}:/var/tmp", "-v", "/sys:/var/tmp/target", "busybox", "true")
    assert list(target.iterdir()) == []


def test_the_host_does_not_see_what_a_container_mounts(swapbox: Sandbox, tmp_path: Path) -> None:
    options = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "-v", f"{tmp_path}:/data")
    script = "mkdir /data/m && mount -t tmpfs none /data/m && touch /data/m/x && ls /data/m"
    assert swapbox.ok("run", "--rm", *options, "busybox", "sh", "-c", script) == "x"
    assert list((tmp_path / "m").iterdir()) == []


def test_tmpfs_starts_empty_and_ends_with_the_container(swapbox: Sandbox) -> None:
    script = "ls -A /etc; touch /etc/x && ls /etc"
    assert swapbox.ok("run", "--rm", "--tmpfs", "/etc", "busybox", "sh", "-c", script).split()[-1] == "x"
    assert "passwd" in swapbox.ok("run", "--rm", "busybox", "ls", "/etc")


def test_a_tmpfs_has_its_size(swapbox: Sandbox) -> None:
    script = "dd if=/dev/zero of=/t/f bs=64k count=100"
    swapbox("run", "--rm", "--tmpfs", "/t:size=1m", "busybox", "sh", "-c", script).fails(1, "No space left")


def test_a_read_only_root_leaves_tmpfs_and_volumes_writable(swapbox: Sandbox, tmp_path: Path) -> None:
    options = ("--read-only", "--tmpfs", "/tmp", "-v", f"{tmp_path}:/data")
    script = "touch /tmp/x /data/x /dev/shm/x && ! touch /x"
    swapbox("run", "--rm", *options, "busybox", "sh", "-c", script).check()
