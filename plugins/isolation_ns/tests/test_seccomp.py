"""The seccomp filter: what is compiled, what is kept, and what the kernel makes of it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import syscalls
from swapbox.testing.box import Box
from swapbox_isolation_ns.seccomp import allows, load_filter
from swapbox_isolation_ns.seccomp_compile import unknown_is_enosys

X86_64, X32, AARCH64 = 0xC000003E, 0x4000003E, 0xC00000B7
ALLOW = {"defaultAction": "SCMP_ACT_ALLOW"}


def deny(*names: str, **fields: Any) -> dict[str, Any]:
    return {**ALLOW, "syscalls": [{"names": list(names), "action": "SCMP_ACT_ERRNO", **fields}]}


def evaluate(program: bytes, arch: int, number: int) -> int | None:
    """Run BPF as the kernel would (loads of arch and number, jumps, return); None: it ran off the end."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while position < len(instructions):
        code, true, false, value = instructions[position]
        position += 1
        if code == 0x20:
            accumulator = {0: number, 4: arch}[value]
        elif code == 0x06:
            return int(value)
        else:
            holds = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
            }[code]
            position += true if holds else false
    return None


class TestUnknownSyscalls:
    @pytest.mark.parametrize(
        ("arch", "number", "unknown"),
        [
            (X86_64, 439, False),
            (X86_64, 440, True),
            (X86_64, 0x40000000 + 439, False),
            (X86_64, 0x40000000 + 548, True),
            (AARCH64, 440, False),
            (AARCH64, 441, True),
            (0x40000003, 9999, False),
        ],
    )
    def test_numbers_above_the_newest_are_enosys(self, arch: int, number: int, unknown: bool) -> None:
        program = unknown_is_enosys({X86_64: 439, X32: 547, AARCH64: 440})
        assert evaluate(program, arch, number) == (0x00050000 | errno.ENOSYS if unknown else None)

    def test_x32_is_left_alone_when_it_is_not_listed(self) -> None:
        assert evaluate(unknown_is_enosys({X86_64: 439}), X86_64, 0x40000000 + 9999) is None


class TestAllows:
    @pytest.mark.parametrize(
        ("policy", "result"),
        [
            (ALLOW, True),
            (deny("execveat"), False),
            (deny("open"), True),
            ({"defaultAction": "SCMP_ACT_KILL"}, False),
            (
                {
                    "defaultAction": "SCMP_ACT_KILL",
                    "syscalls": [{"names": ["execveat"], "action": "SCMP_ACT_ALLOW"}],
                },
                True,
            ),
            (
                {
                    "defaultAction": "SCMP_ACT_ERRNO",
                    "syscalls": [
                        {
                            "names": ["execveat"],
                            "action": "SCMP_ACT_ALLOW",
                            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
                        }
                    ],
                },
                False,
            ),
        ],
    )
    def test_whether_a_policy_lets_a_call_pass(self, policy: dict[str, Any], result: bool) -> None:
        assert allows(policy, "execveat") is result


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty cache; skip where libseccomp is missing."""
    try:
        load_filter(ALLOW, tmp_path / "probe")
    except Unsupported as error:
        pytest.skip(error.message)
    return tmp_path / "cache"


PYTHON = ("read", "write", "mmap", "munmap", "brk", "futex", "madvise", "exit_group")


def test_the_kernel_answers_by_the_policy(cache: Path) -> None:
    policy = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": PYTHON, "action": "SCMP_ACT_ALLOW"}]}
    program = load_filter(policy, cache).program
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 110, "aarch64": 173}[os.uname().machine]  # getppid, an old one
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        syscalls.set_seccomp_filter(program)
        answers = []
        for call in (number, 100_000):
            libc.syscall(call)
            answers.append(ctypes.get_errno())
        os.write(writing, bytes(answers))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert list(pipe.read()) == [errno.EPERM, errno.ENOSYS]
    assert os.waitpid(pid, 0)[1] == 0


class TestCache:
    def test_a_policy_is_compiled_once(self, cache: Path) -> None:
        program = load_filter(deny("mount"), cache).program
        (file,) = cache.iterdir()
        assert file.read_bytes() == program
        assert file.stat().st_mode & 0o777 == 0o600
        file.write_bytes(b"kept")
        assert load_filter(deny("mount"), cache).program == b"kept"

    def test_policies_do_not_share_a_program(self, cache: Path) -> None:
        load_filter(deny("mount"), cache)
        load_filter(deny("umount2"), cache)
        assert len(list(cache.iterdir())) == 2

    def test_a_cache_that_cannot_be_written_is_done_without(self, tmp_path: Path, cache: Path) -> None:
        (tmp_path / "file").touch()
        assert load_filter(deny("mount"), tmp_path / "file/cache").program

    @pytest.mark.parametrize(
        ("policy", "kind"),
        [
            ({"defaultAction": "SCMP_ACT_WHAT"}, Unsupported),
            ({"defaultAction": "SCMP_ACT_NOTIFY"}, Unsupported),
            ({**ALLOW, "listenerPath": "/x"}, Unsupported),
            ({**ALLOW, "flags": ["SECCOMP_FILTER_FLAG_WHAT"]}, InvalidInput),
            ({**ALLOW, "architectures": ["SCMP_ARCH_WHAT"]}, InvalidInput),
            (deny("mount", args=[{"index": 0, "value": 0, "op": "SCMP_CMP_WHAT"}]), InvalidInput),
        ],
    )
    def test_what_is_not_understood_is_refused(
        self, cache: Path, policy: dict[str, Any], kind: type[Exception]
    ) -> None:
        with pytest.raises(kind):
            load_filter(policy, cache)
        assert not cache.exists()


@pytest.mark.root
class TestInAContainer:
    @pytest.fixture(autouse=True)
    def has_libseccomp(self, cache: Path) -> None:
        """Skip without libseccomp."""

    @pytest.mark.parametrize("no_new_privileges", [False, True])
    @pytest.mark.parametrize("uid", [0, 1000])
    def test_a_denied_call_fails(self, box: Box, no_new_privileges: bool, uid: int) -> None:
        box.spec["process"] |= {"noNewPrivileges": no_new_privileges, "user": {"uid": uid, "gid": uid}}
        box.spec["linux"]["seccomp"] = deny("mkdir", "mkdirat", errnoRet=errno.ENOTTY)
        assert "Inappropriate ioctl" in box.run("/bin/mkdir", "/tmp/x").err
        assert box.sh("grep Seccomp: /proc/self/status").split()[1] == "2"

    def test_the_default_error_is_eperm(self, box: Box) -> None:
        box.spec["linux"]["seccomp"] = deny("unshare")
        assert "Operation not permitted" in box.run("/bin/unshare", "-m", "/bin/true").err

    def test_no_capability_stays_from_loading(self, box: Box) -> None:
        box.spec["linux"]["seccomp"] = deny("mkdir")
        out = box.sh("grep -E 'CapPrm|CapEff|CapBnd' /proc/self/status").split()
        from swapbox.linux import caps

        assert {int(value, 16) for value in out[1::2]} == {
            caps.mask(box.spec["process"]["capabilities"]["bounding"])
        }

    def test_a_policy_without_execveat_still_starts(self, box: Box) -> None:
        box.spec["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["execveat"], "action": "SCMP_ACT_KILL_PROCESS"}],
        }
        assert box.sh("echo fine") == "fine"

    def test_exec_sessions_get_the_filter_too(self, box: Box) -> None:
        box.spec["linux"]["seccomp"] = deny("mkdir", "mkdirat")
        assert "not permitted" in box.while_running(lambda _: box.exec_here("/bin/mkdir", "/tmp/x").err)
