from __future__ import annotations

import os
from pathlib import Path

import pytest

from swapbox.drivers.cgroup import CgroupStats
from swapbox.errors import Unsupported
from swapbox_cgroup_none.driver import Controller


def test_every_limit_asked_for_is_reported_missing() -> None:
    resources = {
        "memory": {"limit": 1, "swap": None},
        "cpu": {"shares": 2, "cpus": ""},
        "pids": {"limit": 3},
        "devices": [{"allow": False}],
        "unified": {"memory.high": "1"},
    }
    missing = Controller().missing(resources)
    assert set(missing) == {"memory.limit", "cpu.shares", "pids.limit", "devices", "unified"}
    with pytest.raises(Unsupported, match=r"cannot set memory\.limit"):
        Controller().create("a", resources)
    with pytest.raises(Unsupported, match=r"cannot set pids\.limit"):
        Controller().open("a").update({"pids": {"limit": 3}})


def test_joining_changes_nothing() -> None:
    before = Path("/proc/self/cgroup").read_text()
    handle = Controller().create("a", {})
    handle.join()
    handle.add(os.getpid())
    assert Path("/proc/self/cgroup").read_text() == before
    assert handle.processes() == []
    assert handle.stats() == CgroupStats()


def test_freezing_is_refused() -> None:
    with pytest.raises(Unsupported, match="has no groups"):
        Controller().open("a").freeze()
