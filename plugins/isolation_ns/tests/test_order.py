"""The order of kernel calls, on a fake kernel: a step too early or too late is a hole that no happy path shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from swapbox.drivers.isolation import Stdio
from swapbox.errors import SwapboxError
from swapbox.linux import syscalls
from swapbox.linux.fake import Call, Calls, recording
from swapbox_isolation_ns import init, process, rootfs
from swapbox_isolation_ns.child import Inherited, run_exec
from swapbox_isolation_ns.failures import Report
from swapbox_isolation_ns.init import run_init
from swapbox_isolation_ns.plan import plan
from swapbox_isolation_ns.plan_process import ProcessPlan, plan_process
from swapbox_isolation_ns.process import Descriptors, execute
from swapbox_isolation_ns.rootfs import Trees
from swapbox_isolation_ns.seccomp import Filter

FILTER = Filter(b"\0" * 8, 0, allows_execveat=True)
PROCESS = {"args": ["/bin/sh"], "cwd": "/", "user": {"uid": 1, "gid": 1}}


class Stop(Exception):
    """Ends a run that would replace this process."""


class Group:
    """A cgroup that records when it is joined."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def join(self) -> None:
        """Record the call as one of the kernel's, so that its place among them shows."""
        syscalls.setns(-1)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what acts on this process without going through the seam."""
    monkeypatch.setattr(process, "_settle", lambda *_: None)
    monkeypatch.setattr(process, "_own_stdio", lambda *_: None)
    monkeypatch.setattr(process, "find_command", lambda *_: "/bin/sh")
    monkeypatch.setattr(init, "_raise_loopback", lambda: None)
    monkeypatch.setattr(rootfs, "mount_file_system", lambda *_: 99)
    monkeypatch.setattr(rootfs, "_is_directory", lambda _: True)
    monkeypatch.setattr(rootfs, "_check_not_proc", lambda *_: None)


def executed(wanted: ProcessPlan, seccomp: Filter | None, report: int) -> Calls:
    with recording() as calls:
        calls.fail("execve", OSError(2, "stop"))
        with pytest.raises(SwapboxError, match="stop"):
            execute(wanted, Descriptors(Stdio(0, 1, 2), 3, 4), Report(report), seccomp)
    return calls


@pytest.fixture
def report() -> Any:
    """The writing end of a pipe."""
    reading, writing = os.pipe()
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.usefixtures("quiet")
class TestBecomingTheCommand:
    def test_groups_then_gid_then_uid(self, report: int) -> None:
        calls = executed(plan_process(PROCESS), None, report)
        assert calls.names.index("setgroups") < calls.names.index("setresgid") < calls.names.index("setresuid")

    def test_the_bounding_set_is_dropped_before_the_user_changes(self, report: int) -> None:
        calls = executed(plan_process(PROCESS), None, report)
        last_drop = max(i for i, call in enumerate(calls) if call.args[:1] == (syscalls.PR_CAPBSET_DROP,))
        assert last_drop < calls.names.index("setgroups")

    def test_the_final_capabilities_are_set_after_the_user(self, report: int) -> None:
        calls = executed(plan_process(PROCESS), None, report)
        assert calls.names.index("setresuid") < calls.names.index("capset")

    def test_the_directory_is_entered_before_the_user_changes(self, report: int) -> None:
        calls = executed(plan_process(PROCESS), None, report)
        assert calls.names.index("chdir") < calls.names.index("setresuid")

    def test_with_no_new_privileges_the_filter_needs_no_power(self, report: int) -> None:
        calls = executed(plan_process({**PROCESS, "noNewPrivileges": True}), FILTER, report)
        names = calls.names[-3:]
        assert names == ["prctl", "set_seccomp_filter", "execve"]
        assert calls[-3].args == (syscalls.PR_SET_NO_NEW_PRIVS, 1)
        assert [call.kwargs["effective"] for call in calls.of("capset")] == [0]

    def test_without_it_the_filter_is_loaded_with_cap_sys_admin(self, report: int) -> None:
        from swapbox.linux import caps

        calls = executed(plan_process(PROCESS), FILTER, report)
        assert calls.names[-3:] == ["capset", "set_seccomp_filter", "execve"]
        assert calls[-3].kwargs["effective"] == caps.SYS_ADMIN

    def test_a_filter_that_stops_execveat_is_passed_by_path(self, report: int) -> None:
        calls = executed(plan_process(PROCESS), FILTER._replace(allows_execveat=False), report)
        assert calls[-1].args[0] == "/proc/self/fd/4"


@pytest.mark.usefixtures("quiet")
class TestChildren:
    spec: dict[str, Any] = {
        "root": {"path": "rootfs", "readonly": True},
        "process": PROCESS,
        "hostname": "x",
        "mounts": [{"destination": "/data", "source": "/src", "options": ["bind"]}],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("mount", "pid", "uts", "cgroup")],
            "maskedPaths": ["/secret"],
        },
    }

    def run(self, function: Any, *args: Any) -> Calls:
        with recording() as calls:
            group: Any = Group(calls)
            calls.fail("execve", OSError(2, "stop"))
            reading, writing = os.pipe()
            inherited = Inherited("x", Stdio(0, 1, 2), None, group, 3, 4, None)
            with pytest.raises(SwapboxError, match="stop"):
                function(*args, inherited, Report(writing))
        os.close(reading)
        os.close(writing)
        return calls

    def test_an_init_hides_before_all_and_joins_its_cgroup_before_the_namespace_of_it(self) -> None:
        calls = self.run(run_init, plan(self.spec, Path("/b")), Trees(7, {0: 8}, {}))
        assert calls[0].args == (syscalls.PR_SET_DUMPABLE, 0)
        assert calls.names.index("setns") < calls.names.index("unshare")

    def test_mounts_are_private_before_the_first_is_made(self) -> None:
        calls = self.run(run_init, plan(self.spec, Path("/b")), Trees(7, {0: 8}, {}))
        private, *_ = calls.of("mount_setattr")
        assert private.kwargs == {"flags": syscalls.AT_RECURSIVE, "propagation": syscalls.MS_PRIVATE}
        assert calls.names.index("mount_setattr") < calls.names.index("move_mount")

    def test_masks_come_after_the_mounts_and_the_root_is_left_last(self) -> None:
        calls = self.run(run_init, plan(self.spec, Path("/b")), Trees(7, {0: 8}, {}))
        sources = [call.args[0] for call in calls.of("move_mount")]
        assert sources[:2] == [7, 8]
        after = calls.names.index("pivot_root")
        assert "move_mount" not in calls.names[after:]
        assert calls.names[after + 1] == "umount"
        assert calls.of("mount_setattr")[-1].kwargs == {"set": syscalls.MOUNT_ATTR_RDONLY}
        assert calls.names.index("pivot_root") < calls.names.index("setresuid")

    def test_an_exec_session_hides_before_it_joins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "read", lambda *_: b"")  # its pipe is never closed here
        flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUSER
        calls = self.run(run_exec, plan_process(PROCESS), 5, flags)
        assert calls[0].args == (syscalls.PR_SET_DUMPABLE, 0)
        cgroup, namespaces = calls.of("setns")
        assert (cgroup.args, namespaces.args) == ((-1,), (5, flags))
        joined = calls.index(namespaces)
        root, again = calls.names.index("setresuid"), [c.args for c in calls].index((4, 0), joined)
        assert joined < root < again  # changing the user makes a process visible again
        assert again < calls.index(Call("clone", (syscalls.CLONE_PARENT,), {}))  # then it is born among theirs
