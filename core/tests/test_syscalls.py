"""The seam for kernel calls: what needs no root is called for real, and the fake records the rest."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from pathlib import Path

import pytest

from swapbox.linux import caps, syscalls
from swapbox.linux.fake import recording


def exit_code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class TestCalls:
    def test_an_error_has_number_and_path(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            syscalls.openat2(-100, tmp_path / "missing", os.O_RDONLY, resolve=0)
        assert caught.value.filename == str(tmp_path / "missing")

    def test_openat2_keeps_a_link_inside_the_root(self, tmp_path: Path) -> None:
        (tmp_path / "passwd").write_text("inside")
        (tmp_path / "link").symlink_to("../../../../passwd")
        root = os.open(tmp_path, os.O_PATH)
        fd = syscalls.openat2(root, "link", os.O_RDONLY)
        assert os.read(fd, 100) == b"inside"
        assert not os.get_inheritable(fd)
        os.close(fd)
        os.close(root)

    def test_clone_is_a_fork(self) -> None:
        parent = os.getpid()
        pid = syscalls.clone(0)
        if pid == 0:
            os._exit(7 if os.getppid() == parent else 1)
        assert exit_code_of(pid) == 7

    def test_a_failed_clone_leaves_the_caller_as_it_was(self) -> None:
        with pytest.raises(OSError, match="Invalid argument"):
            syscalls.clone(syscalls.CLONE_NEWNS | 0x200)  # CLONE_FS excludes it
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        assert exit_code_of(pid) == 3

    def test_execve_passes_the_environment_on_as_it_is(self) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(writing, 1)
            syscalls.execve("/bin/cat", ["cat", "/proc/self/environ"], ["A=1", "A=2", "NOEQUALS", "=x"])
        os.close(writing)
        with open(reading, "rb") as pipe:
            assert pipe.read() == b"A=1\0A=2\0NOEQUALS\0=x\0"
        assert exit_code_of(pid) == 0

    def test_execve_takes_a_descriptor(self) -> None:
        pid = os.fork()
        if pid == 0:
            fd = os.open("/bin/sh", os.O_RDONLY | os.O_CLOEXEC)
            syscalls.execve(fd, ["sh", "-c", "exit 5"], [])
        assert exit_code_of(pid) == 5

    def test_close_range_closes_all_from_a_number_on(self) -> None:
        pid = os.fork()
        if pid == 0:
            high = os.dup2(0, 500)
            syscalls.close_range(400)
            try:
                os.fstat(high)
            except OSError as error:
                os._exit(error.errno or 0)
            os._exit(0)
        assert exit_code_of(pid) == errno.EBADF

    def test_reset_signals_makes_ignored_ones_deadly_again(self) -> None:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            syscalls.reset_signals()
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert exit_code_of(pid) == -signal.SIGTERM

    def test_a_seccomp_filter_is_loaded(self) -> None:
        # Return ERRNO(EXDEV) for every call but exit_group, whose number is compared first.
        number = {"x86_64": 231, "aarch64": 94}[os.uname().machine]
        load, equal, allow, deny = (0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x50012)

        class Instruction(ctypes.Structure):
            _fields_ = (
                ("code", ctypes.c_ushort),
                ("jt", ctypes.c_ubyte),
                ("jf", ctypes.c_ubyte),
                ("k", ctypes.c_uint),
            )

        program = b"".join(bytes(Instruction(*item)) for item in (load, equal, allow, deny))
        pid = os.fork()
        if pid == 0:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            syscalls.set_seccomp_filter(program)
            try:
                os.getcwd()
            except OSError as error:
                os._exit(error.errno or 0)
            os._exit(0)
        assert exit_code_of(pid) == errno.EXDEV


class TestCapabilities:
    def test_names_and_masks_are_each_others_reverse(self) -> None:
        assert caps.mask(["CAP_CHOWN", "CAP_SYS_ADMIN"]) == 1 << 0 | 1 << 21
        assert caps.names(caps.mask(caps.NAMES)) == list(caps.NAMES)

    def test_the_last_one_is_known(self) -> None:
        assert int(Path("/proc/sys/kernel/cap_last_cap").read_text()) <= len(caps.NAMES) - 1

    def test_sets_are_what_the_kernel_says(self) -> None:
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        effective, permitted, inheritable = syscalls.capget()
        assert [effective, permitted, inheritable, caps.bounding()] == [
            int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")
        ]

    def test_capset_gives_them_up(self) -> None:
        pid = os.fork()
        if pid == 0:
            syscalls.capset(effective=0, permitted=0, inheritable=0)
            os._exit(0 if syscalls.capget() == (0, 0, 0) else 1)
        assert exit_code_of(pid) == 0


class TestFake:
    def test_calls_are_recorded_and_not_made(self) -> None:
        user = os.geteuid()
        with recording() as calls:
            syscalls.mount("proc", "/proc", "proc")
            os.setresuid(1, 1, 1)
        assert calls.names == ["mount", "setresuid"]
        assert calls[0].args == ("proc", "/proc", "proc")
        assert os.geteuid() == user

    def test_descriptors_are_fresh(self) -> None:
        with recording():
            assert syscalls.fsopen("tmpfs") != syscalls.fsopen("tmpfs")

    def test_a_call_can_be_made_to_fail(self) -> None:
        with recording() as calls:
            calls.fail("setns", OSError(errno.EPERM, "no"))
            with pytest.raises(PermissionError):
                syscalls.setns(3)
        assert calls.names == ["setns"]

    def test_afterwards_the_kernel_is_real_again(self) -> None:
        with recording():
            pass
        with pytest.raises(OSError, match="Bad file descriptor"):
            syscalls.setns(-1)


def test_openat2_stands_renames_that_go_on_meanwhile(tmp_path: Path) -> None:
    """The kernel answers EAGAIN to a path with ``..`` when anything is renamed on the host (openat2(2))."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").touch()
    stop = os.fork()
    if stop == 0:
        while True:
            os.rename(tmp_path / "a/file", tmp_path / "a/other")
            os.rename(tmp_path / "a/other", tmp_path / "a/file")
    root = os.open(tmp_path, os.O_PATH)
    try:
        for _ in range(2000):
            os.close(syscalls.openat2(root, Path("a/b/../../a/b/.."), os.O_PATH))
    finally:
        os.kill(stop, signal.SIGKILL)
        os.waitpid(stop, 0)
        os.close(root)
