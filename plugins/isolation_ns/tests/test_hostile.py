"""Attacks on the host through the image, the config or a running container; none may work."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, cast

import pytest

from swapbox.drivers.cgroup import CgroupHandle
from swapbox.drivers.isolation import ExecRequest, Stdio
from swapbox.errors import CommandNotExecutable, InvalidInput, PermissionDenied, SwapboxError
from swapbox.testing.box import Box, Pipes

pytestmark = pytest.mark.root


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory of the host that no container may reach."""
    folder = tmp_path / "canary"
    folder.mkdir()
    return folder


class TestMountTargets:
    @pytest.mark.parametrize("prefix", ["", "/../../../.."])
    def test_a_link_in_the_image_leads_no_mount_outside(self, box: Box, canary: Path, prefix: str) -> None:
        (box.rootfs / "link").symlink_to(f"{prefix}{canary}")
        source = box.folder / "source"
        source.mkdir()
        (source / "file").write_text("mounted")
        box.mount("/link/new/place", source, "rbind")
        assert box.sh(f"cat {canary}/new/place/file") == "mounted"
        assert list(canary.iterdir()) == []

    def test_a_dangling_link_is_made_inside(self, box: Box, canary: Path) -> None:
        (box.rootfs / "etc/resolv.conf").symlink_to(f"../../..{canary}/resolv.conf")
        source = box.folder / "resolv.conf"
        source.write_text("nameserver")
        box.mount("/etc/resolv.conf", source, "bind")
        assert box.sh("cat /etc/resolv.conf") == "nameserver"
        assert list(canary.iterdir()) == []
        assert (box.rootfs / str(canary)[1:] / "resolv.conf").exists()

    def test_a_circle_of_links_is_an_error(self, box: Box) -> None:
        (box.rootfs / "a").symlink_to("b")
        (box.rootfs / "b").symlink_to("a")
        box.mount("/a/x", "/tmp", "rbind")
        assert "too many levels of symbolic links" in box.fails(SwapboxError).message

    @pytest.mark.parametrize("name", ["proc", "sys"])
    def test_proc_and_sys_are_never_mounted_through_a_link(self, box: Box, name: str) -> None:
        (box.rootfs / name).rmdir()
        (box.rootfs / name).symlink_to("tmp")
        assert os.strerror(errno.ELOOP).lower() in box.fails(SwapboxError).message

    def test_nothing_is_mounted_into_proc(self, box: Box, canary: Path) -> None:
        box.mount("/proc/self", canary, "rbind")
        assert "inside /proc" in box.fails(InvalidInput).message

    def test_nothing_is_mounted_into_proc_through_a_link(self, box: Box, canary: Path) -> None:
        (box.rootfs / "link").symlink_to("/proc")
        box.mount("/link/irq", canary, "rbind")
        assert "inside /proc" in box.fails(InvalidInput).message

    def test_devices_are_made_inside_when_dev_is_a_link(self, box: Box, canary: Path) -> None:
        (box.rootfs / "dev").rmdir()
        (box.rootfs / "dev").symlink_to(canary)
        box.spec["mounts"] = [item for item in box.spec["mounts"] if not item["destination"].startswith("/dev")]
        box.run("/bin/true")
        assert list(canary.iterdir()) == []

    def test_masks_and_read_only_paths_stay_inside(self, box: Box, canary: Path) -> None:
        (canary / "file").write_text("host")
        (box.rootfs / "link").symlink_to(f"../../../../..{canary}")
        box.spec["linux"]["maskedPaths"] = ["/link/file"]
        box.spec["linux"]["readonlyPaths"] = ["/link"]
        box.run("/bin/true")
        (canary / "file").write_text("still writable")
        table = Path("/proc/self/mountinfo").read_text()
        assert str(canary) not in table
        assert str(box.folder) not in table

    def test_a_masked_file_does_not_lend_the_hosts_device(self, box: Box) -> None:
        before = os.stat("/dev/null").st_mode
        try:
            script = "chmod 600 /proc/keys; chown 1:1 /proc/keys; echo taken > /proc/keys && echo taken"
            output = box.run("/bin/sh", "-c", script)
            assert os.stat("/dev/null").st_mode == before
        finally:
            os.chmod("/dev/null", 0o666)
            os.chown("/dev/null", 0, 0)
        assert (output.out, output.err.count("Read-only file system")) == ("taken\n", 2)

    def test_a_fake_proc_in_the_image_gets_no_sysctl(self, box: Box) -> None:
        box.spec["mounts"] = [item for item in box.spec["mounts"] if item["type"] != "proc"]
        fake = box.rootfs / "proc/sys/net/ipv4/ip_forward"
        fake.parent.mkdir(parents=True)
        fake.write_text("fake")
        box.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        host = Path("/proc/sys/net/ipv4/ip_forward").read_text()
        box.run("/bin/true")
        assert fake.read_text() == "fake"
        assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == host

    @pytest.mark.parametrize("name", ["kernel.panic", "vm.swappiness", "kernel/../vm/swappiness"])
    def test_a_sysctl_of_the_host_is_refused(self, box: Box, name: str) -> None:
        box.spec["linux"]["sysctl"] = {name: "1"}
        box.fails(InvalidInput)

    def test_a_network_sysctl_is_refused_in_the_hosts_network(self, box: Box) -> None:
        box.namespace("network")
        box.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        assert "network" in box.fails(InvalidInput).message


class TestRuntime:
    def test_modules_of_the_image_are_never_imported(self, box: Box) -> None:
        for folder in ("usr/lib/python3", str(Path(os.__file__).parent)[1:]):
            (box.rootfs / folder).mkdir(parents=True, exist_ok=True)
            for name in ("encodings/__init__", "json", "socket", "stat", "resource", "pwd", "struct", "traceback"):
                file = box.rootfs / folder / f"{name}.py"
                file.parent.mkdir(exist_ok=True)
                file.write_text("import os; os.write(1, b'OWNED')")
        assert "OWNED" not in box.run("/bin/true").out
        assert "OWNED" not in box.fails(SwapboxError, "/nope").message

    @pytest.mark.parametrize("entry", ["/proc/self/exe", "/link", "/script", "/proc/1/exe"])
    def test_the_interpreter_of_the_host_is_never_what_a_container_runs(self, box: Box, entry: str) -> None:
        (box.rootfs / "link").symlink_to("/proc/self/exe")
        (box.rootfs / "script").write_text("#!/proc/self/exe\n")
        (box.rootfs / "script").chmod(0o755)
        # What runs is the start gate again: it finds no gate to read from, and ends.
        output = box.run(entry, "-c", "print('python')")
        assert output.code in (255, -9, 126, 127)
        assert "python" not in output.out

    def test_the_program_at_the_gate_is_sealed(self, box: Box) -> None:
        def act() -> tuple[str, list[str]]:
            pid = box.create()
            exe = f"/proc/{pid}/exe"
            name = os.readlink(exe)
            errors = []
            for flags in (os.O_WRONLY, os.O_RDWR | os.O_TRUNC):
                try:
                    fd = os.open(exe, flags)
                    os.write(fd, b"x")
                    errors.append("written")
                except OSError as error:
                    errors.append(errno.errorcode[error.errno or 0])
            box.driver.delete(box.id, force=True)
            os.waitpid(pid, 0)
            return name, errors

        name, errors = box.monitored(act)
        assert name.startswith("/memfd:swapbox-init")
        assert set(errors) <= {"EPERM", "ETXTBSY"}

    def test_an_exec_is_not_among_the_containers_processes_before_it_has_left_the_host(self, box: Box) -> None:
        told, tell = os.pipe()

        class Group:
            """Tells where the child is while it still has the host's root."""

            path, clone_into = "", None

            def join(self) -> None:
                os.write(tell, os.readlink("/proc/self/ns/pid").encode())

        def act(pid: int) -> tuple[str, str]:
            with Pipes() as pipes:
                process = {**box.spec["process"], "args": ["/bin/readlink", "/proc/self/ns/pid"]}
                request = ExecRequest(box.id, process, pipes.stdio, cgroup=cast(CgroupHandle, Group()))
                os.waitpid(box.driver.exec(request), 0)
                return os.read(told, 100).decode(), pipes.read()[0].strip()

        before, after = box.while_running(act)
        assert (before, after != before) == (os.readlink("/proc/self/ns/pid"), True)
        os.close(told)
        os.close(tell)

    def test_init_holds_nothing_of_the_host_at_the_gate(self, box: Box) -> None:
        def act() -> tuple[list[str], list[str], str]:
            null = os.open("/dev/null", os.O_RDWR)
            pid = box.create(stdio=Stdio(null, null, null))
            os.close(null)
            fds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in sorted(os.listdir(f"/proc/{pid}/fd"))]
            places = [os.readlink(f"/proc/{pid}/{name}") for name in ("cwd", "root")]
            maps = Path(f"/proc/{pid}/maps").read_text()
            box.driver.delete(box.id, force=True)
            os.waitpid(pid, 0)
            return fds, places, maps

        fds, places, maps = box.monitored(act)
        assert fds == ["/dev/null"] * 3 + [str(box.context.run_root / box.id / "start")]
        assert places == ["/", "/"]
        assert "python" not in maps

    @pytest.mark.parametrize("fd", range(3, 20))
    def test_the_working_directory_cannot_be_a_descriptor_of_the_host(self, box: Box, fd: int) -> None:
        box.spec["process"]["cwd"] = f"/proc/self/fd/{fd}"

        def act() -> str:
            leaks = [os.open("/", os.O_RDONLY) for _ in range(20)]
            try:
                box.create()
            except SwapboxError as error:
                return type(error).__name__
            finally:
                for leak in leaks:
                    os.close(leak)
            raise AssertionError("it was created")

        assert box.monitored(act) in ("CommandNotExecutable", "PermissionDenied")

    def test_stdin_that_is_a_directory_of_the_host_is_no_way_out(self, box: Box) -> None:
        box.spec["process"]["cwd"] = "/proc/self/fd/0"
        fd = os.open("/", os.O_RDONLY)
        assert "outside" in box.fails(PermissionDenied, stdio=Stdio(fd, 1, 2)).message
        os.close(fd)


class TestCommands:
    @pytest.mark.parametrize(
        ("command", "code", "message"),
        [
            ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
            ("", 127, 'exec: "": executable file not found in $PATH'),
            ("/nope", 127, 'exec: "/nope": stat /nope: no such file or directory'),
            ("nope/x", 127, 'exec: "nope/x": stat nope/x: no such file or directory'),
            ("/etc", 126, 'exec: "/etc": is a directory'),
            ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
            ("passwd", 127, 'exec: "passwd": executable file not found in $PATH'),
            ("/loop", 126, 'exec: "/loop": stat /loop: too many levels of symbolic links'),
            ("/etc/passwd/x", 127, 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
        ],
    )
    def test_a_command_that_cannot_be_executed(self, box: Box, command: str, code: int, message: str) -> None:
        (box.rootfs / "loop").symlink_to("loop")
        box.spec["process"]["env"] = ["PATH=/bin:/etc"]
        box.spec["process"]["args"] = [command]
        error = box.fails(CommandNotExecutable)
        assert (error.message, error.exit_code) == (message, code)

    def test_an_exec_session_fails_the_same_way(self, box: Box) -> None:
        def act(_pid: int) -> tuple[str, int]:
            with pytest.raises(CommandNotExecutable) as caught:
                box.exec_here("nosuch")
            return str(caught.value), caught.value.exit_code

        assert box.while_running(act) == ('exec: "nosuch": executable file not found in $PATH', 127)

    @pytest.mark.parametrize(
        ("content", "message"),
        [("garbage", "exec format error"), ("#!/nope\n", "no such file or directory")],
    )
    def test_a_failure_after_the_gate_is_told_on_stderr(self, box: Box, content: str, message: str) -> None:
        (box.rootfs / "bad").write_text(content)
        (box.rootfs / "bad").chmod(0o755)
        assert box.run("/bad") == (255, "", f"exec /bad: {message}\n")

    def test_the_users_permissions_count(self, box: Box) -> None:
        (box.rootfs / "mine").write_text("#!/bin/sh\n")
        (box.rootfs / "mine").chmod(0o700)
        box.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
        assert box.fails(CommandNotExecutable, "/mine").message == 'exec: "/mine": permission denied'

    def test_a_working_directory_that_is_a_file(self, box: Box) -> None:
        box.spec["process"]["cwd"] = "/etc/passwd"
        error = box.fails(CommandNotExecutable)
        assert error.message == 'chdir to cwd ("/etc/passwd") set in config.json failed: not a directory'


class TestErrors:
    @pytest.mark.parametrize(
        "change",
        [
            {"hooks": {"prestart": [{"path": "/bin/true"}]}},
            {"linux": {"namespaces": [{"type": "mount"}, {"type": "time"}]}},
            {"process": {"args": [], "cwd": "/"}},
            {"process": {"args": ["x"], "cwd": "relative"}},
            {"mounts": [{"destination": "/x", "type": "nosuchfs", "source": "x"}]},
            {"mounts": [{"destination": "/x", "type": "tmpfs", "source": "x", "options": ["size=abc"]}]},
            {"mounts": [{"destination": "/", "type": "tmpfs", "source": "x"}]},
            {"root": {"path": "missing"}},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_bad_spec_leaves_nothing(self, box: Box, change: dict[str, Any]) -> None:
        box.spec |= change
        error = box.fails(SwapboxError)
        assert not error.message.endswith(".")

    def test_a_failing_cgroup_leaves_nothing(self, box: Box) -> None:
        class Broken:
            def join(self) -> None:
                raise OSError(errno.EACCES, "Permission denied")

        assert box.fails(PermissionDenied, cgroup=Broken()).message == "join the cgroup: permission denied"

    def test_an_init_killed_during_its_set_up_is_an_error(self, box: Box) -> None:
        class Deadly:
            def join(self) -> None:
                os.kill(os.getpid(), 9)
                os._exit(3)  # pid 1 of a namespace does not even die of SIGKILL from inside

        assert box.fails(SwapboxError, cgroup=Deadly()).message.startswith(
            "the container's first process exited with 3"
        )
