"""What is written where, in a folder that stands for the hierarchies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swapbox.drivers.common import DriverContext, Unsupported
from swapbox.errors import InvalidInput
from swapbox.testing.cgroup import FakeCgroupfs
from swapbox_cgroup_v1 import swapbox_cgroup_controllers
from swapbox_cgroup_v1.driver import Controller
from swapbox_cgroup_v1.hierarchies import find
from swapbox_cgroup_v1.settings import plan

MOUNTINFO = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:32 / /mnt/with\\040space rw,relatime - cgroup cgroup rw,memory
34 31 0:33 / /elsewhere rw,relatime - cgroup cgroup rw,memory
35 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
36 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""


def _written(resources: dict[str, Any]) -> list[tuple[str, str]]:
    return [(setting.files[0], setting.value) for setting in plan(resources)]


def test_hierarchies_are_found_by_controller(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    together = "/sys/fs/cgroup/cpu,cpuacct"
    assert find(str(tmp_path / "mountinfo")) == {"cpu": together, "cpuacct": together, "memory": "/mnt/with space"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, []),
        ({"memory": {"limit": 0}, "cpu": {"shares": 0, "cpus": ""}}, []),
        (
            {"memory": {"limit": 1024, "swap": -1, "reservation": 512, "swappiness": 0, "disableOOMKiller": True}},
            [
                ("memory.limit_in_bytes", "1024"),
                ("memory.memsw.limit_in_bytes", "-1"),
                ("memory.soft_limit_in_bytes", "512"),
                ("memory.swappiness", "0"),
                ("memory.oom_control", "1"),
            ],
        ),
        (
            {"cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0-1", "mems": "0", "idle": 0}},
            [
                ("cpu.shares", "512"),
                ("cpu.cfs_period_us", "100000"),
                ("cpu.cfs_quota_us", "50000"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
                ("cpu.idle", "0"),
            ],
        ),
        ({"pids": {"limit": 64}}, [("pids.max", "64")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")]),
        (
            {
                "blockIO": {
                    "weight": 500,
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 10}],
                }
            },
            [
                ("blkio.weight", "500"),
                ("blkio.throttle.read_bps_device", "8:0 1000"),
                ("blkio.throttle.write_iops_device", "8:0 10"),
            ],
        ),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]}, [("hugetlb.2MB.limit_in_bytes", "4096")]),
    ],
)
def test_resources_become_values_to_write(resources: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert _written(resources) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"allow": False, "access": "rwm"}, [("devices.deny", "a")]),
        ({"allow": True, "type": "a"}, [("devices.allow", "a")]),
        (
            {"allow": True, "type": "a", "access": "m"},
            [("devices.allow", "b *:* m"), ("devices.allow", "c *:* m")],
        ),
        (
            {"allow": True, "type": "c", "major": 136, "minor": -1, "access": "rwm"},
            [("devices.allow", "c 136:* rwm")],
        ),
        ({"allow": False, "type": "b", "major": 8, "minor": 0, "access": "w"}, [("devices.deny", "b 8:0 w")]),
    ],
)
def test_device_rules_are_written_as_the_kernel_reads_them(
    rule: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert _written({"devices": [rule]}) == expected


@pytest.mark.parametrize("rule", [{"type": "x"}, {"type": "c", "access": "rx"}])
def test_a_wrong_device_rule_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="invalid device rule"):
        plan({"devices": [rule]})


@pytest.fixture
def mounts(tmp_path: Path) -> dict[str, str]:
    for name in ("memory", "cpu,cpuacct", "cpuset"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-3\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    together = str(tmp_path / "cpu,cpuacct")
    return {
        "memory": str(tmp_path / "memory"),
        "cpu": together,
        "cpuacct": together,
        "cpuset": str(tmp_path / "cpuset"),
    }


@pytest.fixture
def fs() -> FakeCgroupfs:
    names = ("tasks", "memory.limit_in_bytes", "cpu.shares", "cpuset.cpus", "cpuset.mems", "cgroup.procs")
    return FakeCgroupfs(dict.fromkeys(names, ""))


def _groups(mounts: dict[str, str]) -> set[str]:
    return {Path(point).name for point in mounts.values() if (Path(point) / "a" / "b").is_dir()}


def test_a_group_without_limits_is_made_where_something_is_counted(
    mounts: dict[str, str], fs: FakeCgroupfs
) -> None:
    Controller(mounts, fs=fs).create("a/b", {}).close()
    assert _groups(mounts) == {"memory", "cpu,cpuacct"}
    assert fs.writes == []


def test_a_new_cpuset_has_its_parents_cpus_before_anything_is_put_into_it(
    mounts: dict[str, str], fs: FakeCgroupfs
) -> None:
    Controller(mounts, fs=fs).create("a/b", {"cpu": {"cpus": "1"}}).close()
    assert _groups(mounts) == {"memory", "cpu,cpuacct", "cpuset"}
    assert fs.writes == [*[("cpuset.cpus", "0-3"), ("cpuset.mems", "0")] * 2, ("cpuset.cpus", "1")]


def test_joining_writes_zero_to_each_hierarchy_once(mounts: dict[str, str], fs: FakeCgroupfs) -> None:
    handle = Controller(mounts, fs=fs).create("a/b", {})
    handle.join()
    handle.close()
    tasks = {
        path.parent.parent.parent.name: path.read_text() for path in Path(mounts["memory"]).parent.rglob("b/tasks")
    }
    assert tasks == {"memory": "0", "cpu,cpuacct": "0"}


class _BrokenCgroupfs(FakeCgroupfs):
    """A kernel that refuses a value."""

    def write(self, file: str, *values: str) -> None:
        raise OSError(22, "Invalid argument")


def test_a_value_the_kernel_refuses_is_named_and_everything_is_undone(
    mounts: dict[str, str], fs: FakeCgroupfs
) -> None:
    broken = _BrokenCgroupfs({"tasks": "", "cpu.shares": "", "cgroup.procs": ""})
    with pytest.raises(InvalidInput, match=r"cannot write 1 to .*cpu\.shares: invalid argument"):
        Controller(mounts, fs=broken).create("a/b", {"cpu": {"shares": 1}})
    assert [path for point in mounts.values() for path in Path(point).iterdir() if path.is_dir()] == []


def test_every_limit_without_a_hierarchy_or_a_file_is_reported(mounts: dict[str, str], fs: FakeCgroupfs) -> None:
    resources = {"pids": {"limit": 1}, "memory": {"limit": 1, "swap": 1}, "unified": {"memory.high": "1"}}
    assert Controller(mounts, fs=fs).missing(resources) == {
        "pids.limit": "no hierarchy with the controller pids is mounted",
        "memory.swap": "the kernel has no memory.memsw.limit_in_bytes",
        "unified": "it needs cgroup v2",
    }


def test_the_probe_names_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [spec] = swapbox_cgroup_controllers()
    context = DriverContext(tmp_path, tmp_path)
    monkeypatch.setattr("swapbox_cgroup_v1.hierarchies.find", lambda: {"memory": "/no/such/memory"})
    assert spec.probe(context) == Unsupported("/no/such/memory is not writable")
    monkeypatch.setattr("swapbox_cgroup_v1.hierarchies.find", dict)
    assert spec.probe(context) == Unsupported("no cgroup v1 hierarchy is mounted")
