"""What the command runs as: environment, user, limits, capabilities, signals."""

from __future__ import annotations

import os
import signal

import pytest

from swapbox.linux import caps
from swapbox.testing.box import Box
from swapbox.testing.isolation.base import Base


class Process(Base):
    """The process and its powers."""

    def test_the_environment_is_exactly_the_given_one(self, box: Box) -> None:
        box.spec["process"]["env"] = ["PATH=/bin", "HOME=/", "EMPTY=", "X=a=b", "UTF=é"]
        out = box.run("/bin/cat", "/proc/self/environ").out
        assert out.split("\0") == ["PATH=/bin", "HOME=/", "EMPTY=", "X=a=b", "UTF=é", ""]

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
