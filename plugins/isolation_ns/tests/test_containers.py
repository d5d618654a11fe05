"""What is this driver's own, beside what every isolation driver has to do."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from swapbox.errors import Unsupported
from swapbox.linux import caps
from swapbox.testing.box import Box

pytestmark = pytest.mark.root


class TestRefusals:
    def test_a_hard_limit_out_of_reach_is_named(self, box: Box) -> None:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard == resource.RLIM_INFINITY or Path("/proc/self/status").read_text().find("CapEff:\t000001ff") < 0:
            pytest.skip("no limit is out of reach here")
        box.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1}]
        if caps.bounding() & caps.BITS["CAP_SYS_RESOURCE"]:
            pytest.skip("CAP_SYS_RESOURCE puts every limit in reach")
        assert f"cannot raise RLIMIT_NOFILE to {hard + 1}" in box.fails(Unsupported).message

    def test_a_capability_the_caller_lacks_is_named(self, box: Box) -> None:
        lacking = [name for name in caps.NAMES if not caps.bounding() & caps.BITS[name]]
        if not lacking:
            pytest.skip("this process has every capability")
        box.spec["process"]["capabilities"]["bounding"] = lacking
        assert lacking[0] in box.fails(Unsupported).message


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
