"""Real containers on the real kernel: what the command sees of its container."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from swapbox.errors import Conflict, InvalidInput, NotFound, Unsupported
from swapbox.linux import caps
from swapbox.testing.box import Box

pytestmark = pytest.mark.root


class TestNamespaces:
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


class TestProcess:
    def test_the_environment_is_exactly_the_given_one(self, box: Box) -> None:
        box.spec["process"]["env"] = ["PATH=/bin", "EMPTY=", "X=a=b", "UTF=é"]
        out = box.run("/bin/cat", "/proc/self/environ").out
        assert out.split("\0") == ["PATH=/bin", "EMPTY=", "X=a=b", "UTF=é", ""]

    def test_the_working_directory_is_made_when_missing(self, box: Box) -> None:
        box.spec["process"]["cwd"] = "/made/for/it"
        assert box.sh("pwd") == "/made/for/it"

    def test_a_user_can_start_in_a_directory_only_root_can_enter(self, box: Box) -> None:
        (box.rootfs / "root").chmod(0o700)
        box.spec["process"] |= {"cwd": "/root", "user": {"uid": 1000, "gid": 1000}}
        assert box.sh("readlink /proc/self/cwd") == "/root"

    def test_user_and_groups_are_set(self, box: Box) -> None:
        box.spec["process"]["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 0o027}
        out = box.sh("id -u; id -g; cat /proc/self/status | grep Groups; umask")
        assert out.split() == ["1000", "1001", "Groups:", "5", "7", "0027"]

    def test_a_user_may_reopen_its_stdout(self, box: Box) -> None:
        box.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
        assert box.sh("echo again > /dev/stdout") == "again"

    def test_resource_limits_are_set(self, box: Box) -> None:
        box.spec["process"]["rlimits"] = [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ]
        assert box.sh("ulimit -Sn; ulimit -Hn; ulimit -c").split() == ["100", "200", "0"]

    def test_a_hard_limit_out_of_reach_is_named(self, box: Box) -> None:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard == resource.RLIM_INFINITY or Path("/proc/self/status").read_text().find("CapEff:\t000001ff") < 0:
            pytest.skip("no limit is out of reach here")
        box.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1}]
        if caps.bounding() & caps.BITS["CAP_SYS_RESOURCE"]:
            pytest.skip("CAP_SYS_RESOURCE puts every limit in reach")
        assert f"cannot raise RLIMIT_NOFILE to {hard + 1}" in box.fails(Unsupported).message

    def test_the_oom_score_is_set(self, box: Box) -> None:
        box.spec["process"]["oomScoreAdj"] = 321
        assert box.sh("cat /proc/self/oom_score_adj") == "321"

    def test_ignored_signals_are_not_inherited(self, box: Box) -> None:
        def act() -> str:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
            return str(box.run_here("/bin/grep", "-E", "SigIgn|SigBlk", "/proc/self/status").out)

        assert box.monitored(act).split() == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]

    def test_the_command_leads_a_session_of_its_own(self, box: Box) -> None:
        assert box.sh("cat /proc/1/stat").split()[5] == "1"

    def test_only_stdio_is_open(self, box: Box) -> None:
        def act() -> str:
            leak = os.open("/", os.O_RDONLY)
            os.set_inheritable(leak, True)  # noqa: FBT003
            out = box.run_here("/bin/ls", "/proc/self/fd").out
            os.close(leak)
            return str(out)

        assert box.monitored(act).split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


class TestPowers:
    def test_capabilities_are_exactly_the_given_ones(self, box: Box) -> None:
        wanted = caps.mask(box.spec["process"]["capabilities"]["bounding"])
        out = box.sh("grep Cap /proc/self/status").split()
        sets = dict(zip(out[::2], (int(value, 16) for value in out[1::2]), strict=True))
        assert sets == {"CapInh:": 0, "CapPrm:": wanted, "CapEff:": wanted, "CapBnd:": wanted, "CapAmb:": 0}

    def test_a_user_keeps_ambient_capabilities_only(self, box: Box) -> None:
        one = ["CAP_NET_BIND_SERVICE"]
        box.spec["process"]["capabilities"] |= {"inheritable": one, "ambient": one}
        box.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
        out = box.sh("grep -E 'CapPrm|CapEff|CapAmb' /proc/self/status").split()
        assert {int(value, 16) for value in out[1::2]} == {caps.mask(one)}

    def test_without_capabilities_there_are_none(self, box: Box) -> None:
        del box.spec["process"]["capabilities"]
        assert {int(value, 16) for value in box.sh("grep Cap /proc/self/status").split()[1::2]} == {0}

    @pytest.mark.parametrize("wanted", [False, True])
    def test_no_new_privileges(self, box: Box, wanted: bool) -> None:
        box.spec["process"]["noNewPrivileges"] = wanted
        assert box.sh("grep NoNewPrivs /proc/self/status").split()[1] == str(int(wanted))

    def test_a_capability_the_caller_lacks_is_named(self, box: Box) -> None:
        lacking = [name for name in caps.NAMES if not caps.bounding() & caps.BITS[name]]
        if not lacking:
            pytest.skip("this process has every capability")
        box.spec["process"]["capabilities"]["bounding"] = lacking
        assert lacking[0] in box.fails(Unsupported).message


class TestFiles:
    def test_the_root_is_the_image_and_nothing_of_the_host_is_left(self, box: Box) -> None:
        out = box.sh("ls /; cat /proc/self/mountinfo")
        assert "rootfs" not in out.split()
        assert str(box.folder) not in out.replace(str(box.rootfs), "")

    def test_mounts_do_not_show_outside(self, box: Box) -> None:
        before = Path("/proc/self/mountinfo").read_text()
        box.run("/bin/true")
        assert Path("/proc/self/mountinfo").read_text() == before

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
        assert "not a directory" in box.fails(InvalidInput).message

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
            from swapbox.linux import syscalls

            syscalls.mount(source, source, None, syscalls.MS_BIND)
            syscalls.mount(None, source, None, syscalls.MS_SHARED)
            box.mount("/shared", source, "rbind", "rslave")
            box.mount("/private", source, "rbind")
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


class TestTerminal:
    def test_the_command_has_a_controlling_terminal(self, box: Box) -> None:
        import socket

        box.spec["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 99}}
        script = "tty; stat -c %t:%T /dev/console; stty size; echo > /dev/tty && echo controlling"

        def act() -> str:
            ours, theirs = socket.socketpair()
            pid = box.create("/bin/sh", "-c", script, console=theirs.fileno())
            _, (master,), _, _ = socket.recv_fds(ours, 100, 1)
            box.driver.start(box.id)
            out = b""
            try:
                while data := os.read(master, 1000):
                    out += data
            except OSError:  # EIO: the other end is closed
                pass
            os.waitpid(pid, 0)
            box.driver.delete(box.id)
            os.close(master)
            ours.close()
            theirs.close()
            return out.decode()

        lines = box.monitored(act).split()
        assert lines[0] == "/dev/pts/0"
        assert lines[1].startswith("88:")
        assert lines[2:] == ["33", "99", "controlling"]

    def test_a_terminal_needs_a_console_socket(self, box: Box) -> None:
        box.spec["process"]["terminal"] = True
        assert "console" in box.fails(InvalidInput).message


class TestLife:
    def test_the_command_waits_for_start(self, box: Box) -> None:
        marker = box.rootfs / "marker"

        def act() -> list[Any]:
            seen: list[Any] = []
            pid = box.create("/bin/sh", "-c", "echo > /marker; sleep 1000")
            seen += [box.driver.state(box.id).status, marker.exists()]
            seen += [Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]]
            box.driver.start(box.id)
            seen += [box.driver.state(box.id).status]
            box.driver.kill(box.id, signal.SIGKILL)
            seen += [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
            seen += [box.driver.state(box.id).status, box.driver.state(box.id).pid]
            box.driver.delete(box.id)
            return seen

        assert box.monitored(act) == ["created", False, "swapbox-init", "running", -9, "stopped", 0]

    def test_signals_reach_the_init(self, box: Box) -> None:
        script = "trap 'exit 7' TERM; echo ready > /ready; while true; do sleep 0.02; done"

        def act() -> int:
            pid = box.create("/bin/sh", "-c", script)
            box.driver.start(box.id)
            while not (box.rootfs / "ready").exists():
                os.sched_yield()
            box.driver.kill(box.id, signal.SIGTERM)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with pytest.raises(Conflict):
                box.driver.kill(box.id, signal.SIGTERM)
            box.driver.delete(box.id)
            return code

        assert box.monitored(act) == 7

    def test_a_container_outlives_a_creator_that_dies_at_the_gate_and_is_deleted(self, box: Box) -> None:
        def act() -> str:
            creator = os.fork()
            if creator == 0:
                box.create()
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(creator, 0)
            state = box.driver.state(box.id)
            box.driver.delete(box.id, force=True)
            os.waitpid(state.pid, 0)
            return str(state.status)

        assert box.monitored(act) == "created"

    def test_a_creation_that_was_cut_off_is_deleted_by_force(self, box: Box) -> None:
        (box.context.run_root / box.id).mkdir(parents=True)
        assert box.driver.state(box.id).status == "creating"
        with pytest.raises(Conflict):
            box.driver.delete(box.id)
        box.driver.delete(box.id, force=True)


class TestExec:
    def test_a_process_joins_all_namespaces(self, box: Box) -> None:
        def act(pid: int) -> tuple[str, list[str]]:
            names = ("pid", "mnt", "uts", "ipc", "net", "cgroup")
            script = "; ".join(f"readlink /proc/self/ns/{name}" for name in names)
            return box.exec_here("/bin/sh", "-c", script).out, [os.readlink(f"/proc/{pid}/ns/{n}") for n in names]

        seen, expected = box.while_running(act)
        assert seen.split() == expected

    def test_a_process_has_its_own_user_directory_and_exit_code(self, box: Box) -> None:
        def act(_pid: int) -> Any:
            user = {"uid": 12, "gid": 34}
            return box.exec_here("/bin/sh", "-c", "id -u; id -g; pwd; exit 9", user=user, cwd="/tmp")

        assert box.while_running(act) == (9, "12\n34\n/tmp\n", "")

    def test_only_stdio_is_open(self, box: Box) -> None:
        assert box.while_running(lambda _: box.exec_here("/bin/ls", "/proc/self/fd").out.split()) == list("0123")

    def test_a_terminal(self, box: Box) -> None:
        import socket

        from swapbox.drivers.isolation import ExecRequest

        def act(_pid: int) -> bytes:
            ours, theirs = socket.socketpair()
            process = {**box.spec["process"], "args": ["/bin/tty"], "terminal": True}
            pid = box.driver.exec(ExecRequest(box.id, process, None, theirs.fileno()))
            _, (master,), _, _ = socket.recv_fds(ours, 100, 1)
            os.waitpid(pid, 0)
            out = os.read(master, 100)
            os.close(master)
            ours.close()
            theirs.close()
            return out

        assert box.while_running(act) == b"/dev/pts/0\r\n"
