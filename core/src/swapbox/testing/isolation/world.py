"""What the command sees around it: namespaces, mounts, devices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swapbox.errors import InvalidInput, NotFound, Unsupported
from swapbox.linux import syscalls
from swapbox.testing.box import Box
from swapbox.testing.isolation.base import Base


class World(Base):
    """Namespaces and files."""

    def test_the_command_is_pid_1_and_alone(self, box: Box) -> None:
        assert box.sh("echo $$; ls -d /proc/[0-9]* | head -n 1") == "1\n/proc/1"

    def test_the_hostname_is_the_containers(self, box: Box) -> None:
        before = os.uname().nodename
        assert box.sh("hostname") == "box"
        assert os.uname().nodename == before

    @pytest.mark.parametrize("kind", ["pid", "mnt", "uts", "ipc", "net", "cgroup"])
    def test_every_namespace_is_new(self, box: Box, kind: str) -> None:
        assert box.sh(f"readlink /proc/self/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")

    def test_a_namespace_left_out_is_the_callers(self, box: Box) -> None:
        box.namespace("network")
        assert box.sh("readlink /proc/self/ns/net") == os.readlink("/proc/self/ns/net")

    def test_namespaces_are_joined_by_path(self, box: Box) -> None:
        def act(pid: int) -> tuple[str, str]:
            inner, inner.id = Box(box.folder / "second", box.factory), "second"
            for kind, name in (("network", "net"), ("pid", "pid"), ("ipc", "ipc")):
                inner.namespace(kind, f"/proc/{pid}/ns/{name}")
            output = inner.run_here("/bin/sh", "-c", "readlink /proc/self/ns/net; ls -d /proc/1; echo $$")
            return os.readlink(f"/proc/{pid}/ns/net"), output.out

        network, out = box.while_running(act)
        seen, first, own = out.split()
        assert (seen, first) == (network, "/proc/1")
        assert int(own) > 1

    def test_the_caller_stays_in_its_own_namespaces(self, box: Box) -> None:
        def act() -> list[str]:
            before = [os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")]
            box.run_here("/bin/true")
            return [*before, *(os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns"))]

        links = box.monitored(act)
        assert links[: len(links) // 2] == links[len(links) // 2 :]

    def test_loopback_is_up(self, box: Box) -> None:
        assert box.sh("cat /sys/class/net/lo/operstate; cat /sys/class/net/lo/flags") == "unknown\n0x9"

    def test_a_container_without_a_mount_namespace_is_refused(self, box: Box) -> None:
        box.namespace("mount")
        assert "mount namespace" in box.fails(Unsupported).message

    def test_the_root_is_the_image_and_nothing_of_the_host_is_left(self, box: Box) -> None:
        out = box.sh("ls /; cat /proc/self/mountinfo")
        assert "rootfs" not in out.split()
        assert str(box.folder) not in out.replace(str(box.rootfs), "")

    def test_mounts_do_not_show_outside(self, box: Box) -> None:
        box.while_running(lambda _: None)
        assert str(box.folder) not in Path("/proc/self/mountinfo").read_text()

    def test_default_devices_work(self, box: Box) -> None:
        script = "cd /dev; stat -c '%n %t:%T %a' null zero full random urandom tty; echo x > null"
        lines = box.sh(script).splitlines()
        assert lines[0] == "null 1:3 666"
        assert lines[-1] == "tty 5:0 666"
        assert len(lines) == 6

    def test_device_links(self, box: Box) -> None:
        out = box.sh("for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done").split()
        fds = "/proc/self/fd"
        assert out == [fds, f"{fds}/0", f"{fds}/1", f"{fds}/2", "pts/ptmx"]

    def test_more_devices_are_made(self, box: Box) -> None:
        device = {
            "path": "/dev/sub/extra",
            "type": "c",
            "major": 1,
            "minor": 5,
            "fileMode": 0o640,
            "uid": 3,
            "gid": 4,
        }
        box.spec["linux"]["devices"] = [device]
        assert box.sh("stat -c '%t:%T %a %u %g' /dev/sub/extra") == "1:5 640 3 4"

    def test_masked_paths_are_empty_and_cannot_be_changed(self, box: Box) -> None:
        (box.rootfs / "secret").write_text("s")
        (box.rootfs / "secrets").mkdir()
        (box.rootfs / "secrets/one").write_text("s")
        box.spec["linux"]["maskedPaths"] += ["/secret", "/secrets"]
        assert box.sh("cat /secret; ls -A /secrets; cat /proc/keys; ! mkdir /secrets/x 2>/dev/null") == ""

    def test_read_only_paths(self, box: Box) -> None:
        (box.rootfs / "fixed").mkdir()
        box.spec["linux"]["readonlyPaths"] += ["/fixed"]
        output = box.run("/bin/sh", "-c", "mkdir /fixed/x; echo 1 > /proc/sys/kernel/panic")
        assert output.err.lower().count("read-only file system") == 2

    def test_a_read_only_root(self, box: Box) -> None:
        box.spec["root"]["readonly"] = True
        assert "Read-only file system" in box.run("/bin/mkdir", "/x").err

    def test_bind_mounts_with_options(self, box: Box) -> None:
        source = box.folder / "data"
        (source / "sub").mkdir(parents=True)
        (source / "file").write_text("content")
        box.mount("/deep/data", source, "rbind", "ro", "nosuid", "noexec")
        box.mount("/etc/one", source / "file", "bind")
        out = box.sh(
            "cat /deep/data/file /etc/one; grep -E ' /deep/data ' /proc/self/mountinfo; ! mkdir /deep/data/x"
        )
        assert out.startswith("contentcontent")
        assert {"ro", "nosuid", "noexec"} <= set(out.split()[5].split(","))

    def test_a_missing_bind_source_is_named(self, box: Box) -> None:
        box.mount("/data", "/does/not/exist", "bind")
        assert box.fails(NotFound).message == "bind source path does not exist: /does/not/exist"

    def test_a_file_cannot_be_mounted_on_a_directory(self, box: Box) -> None:
        box.mount("/etc", "/etc/hostname" if Path("/etc/hostname").exists() else "/etc/passwd", "bind")
        assert "not a directory" in box.fails(InvalidInput).message.lower()

    def test_a_tmpfs_takes_over_the_directorys_mode(self, box: Box) -> None:
        (box.rootfs / "tmp").chmod(0o1777)
        box.mount("/tmp", "tmpfs", "nosuid", type="tmpfs")
        assert box.sh("stat -c %a /tmp") == "1777"

    def test_own_cgroups_are_shown_read_only(self, box: Box) -> None:
        box.mount("/sys/fs/cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev", type="cgroup")
        out = box.sh("grep cgroup /proc/self/mountinfo; cat /proc/self/cgroup")
        mounts = [line.split() for line in out.splitlines() if " - cgroup" in line]
        assert mounts
        assert all("ro" in fields[5].split(",") for fields in mounts)
        assert {fields[3] for fields in mounts} == {"/"}

    def test_sysctls_are_set(self, box: Box) -> None:
        box.spec["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.msgmax": "4321"}
        assert box.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax") == "0\n4321"

    def test_a_shared_volume_hears_of_mounts_outside(self, box: Box) -> None:
        source = box.folder / "shared"
        (source / "sub").mkdir(parents=True)
        (box.folder / "other").mkdir()
        (box.folder / "other/file").write_text("x")

        def act() -> str:
            syscalls.mount(source, source, None, syscalls.MS_BIND)
            syscalls.mount(None, source, None, syscalls.MS_SHARED)
            box.mount("/shared", source, "rbind", "rslave")
            box.mount("/private", source, "rbind", "rprivate")
            box.spec["linux"]["rootfsPropagation"] = "rslave"
            pid = box.create("/bin/sleep", "1000")
            box.driver.start(box.id)
            syscalls.mount(box.folder / "other", source / "sub", None, syscalls.MS_BIND)
            out = box.exec_here("/bin/ls", "/shared/sub", "/private/sub").out
            syscalls.umount(source / "sub")
            syscalls.umount(source)
            box.driver.delete(box.id, force=True)
            os.waitpid(pid, 0)
            return str(out)

        assert box.monitored(act).split() == ["/private/sub:", "/shared/sub:", "file"]
