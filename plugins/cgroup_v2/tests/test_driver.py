"""What is written, what the device program decides, and where groups can be made."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from swapbox.drivers.common import DriverContext, ProbeResult, Unsupported
from swapbox.errors import Conflict, InvalidInput, PermissionDenied
from swapbox.testing.cgroup import FakeCgroupfs
from swapbox_cgroup_v2 import swapbox_cgroup_controllers
from swapbox_cgroup_v2.devices import assemble
from swapbox_cgroup_v2.driver import Controller
from swapbox_cgroup_v2.hierarchy import find
from swapbox_cgroup_v2.settings import cpu_weight, io_weight, plan


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, []),
        ({"memory": {"limit": 0}, "cpu": {"shares": 0, "cpus": ""}}, []),
        (
            {"memory": {"limit": 1024, "swap": 3072, "reservation": 512}},
            [("memory.max", "1024"), ("memory.swap.max", "2048"), ("memory.low", "512")],
        ),
        ({"memory": {"limit": 1024, "swap": 1024}}, [("memory.max", "1024"), ("memory.swap.max", "0")]),
        ({"memory": {"limit": -1, "swap": -1}}, [("memory.max", "max"), ("memory.swap.max", "max")]),
        (
            {"cpu": {"shares": 1024, "quota": 50000, "period": 100000}},
            [("cpu.weight", "100"), ("cpu.max", "50000 100000")],
        ),
        ({"cpu": {"quota": -1}}, [("cpu.max", "max")]),
        ({"cpu": {"period": 1000}}, [("cpu.max", "max 1000")]),
        (
            {"cpu": {"cpus": "0-1", "mems": "0", "idle": 1}},
            [("cpu.idle", "1"), ("cpuset.cpus", "0-1"), ("cpuset.mems", "0")],
        ),
        ({"pids": {"limit": 64}}, [("pids.max", "64")]),
        ({"pids": {"limit": 0}}, [("pids.max", "max")]),
        (
            {"blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]}},
            [("io.weight", "default 4950"), ("io.max", "8:0 rbps=9")],
        ),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]}, [("hugetlb.2MB.max", "4096")]),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3}}}, [("rdma.max", "mlx5_1 hca_handle=3")]),
        ({"unified": {"memory.high": "1G"}}, [("memory.high", "1G")]),
    ],
)
def test_resources_become_values_to_write(resources: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert [(setting.file, *setting.values) for setting in plan(resources)] == expected


@pytest.mark.parametrize(
    "resources",
    [
        {"memory": {"swap": 1024}},
        {"memory": {"limit": 2048, "swap": 1024}},
        {"unified": {"../cgroup.procs": "1"}},
        {"unified": {"cgroup.kill": "1"}},
    ],
)
def test_what_can_never_be_right_is_refused(resources: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        plan(resources)


@pytest.mark.parametrize(
    ("shares", "weight"), [(1, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (300000, 10000)]
)
def test_shares_become_the_weight_that_other_runtimes_give(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


def test_weights_keep_the_order_of_shares() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 262145, 997)]
    assert weights == sorted(weights)
    assert [io_weight(weight) for weight in (10, 1000)] == [1, 10000]


def _run(program: bytes, access: int, kind: int, major: int, minor: int) -> int:
    """Interpret the few BPF instructions that the programs use."""
    code = list(struct.iter_unpack("=BBhi", program))
    registers = [0] * 10
    context = {0: access << 16 | kind, 4: major, 8: minor}
    at = 0
    while True:
        operation, pair, offset, value = code[at]
        target, source = pair & 15, pair >> 4
        at += 1
        if operation == 0x95:
            return registers[0]
        if operation == 0x61:
            registers[target] = context[offset]
        elif operation in (0xB7, 0xBF):
            registers[target] = value if operation == 0xB7 else registers[source]
        elif operation == 0x57:
            registers[target] &= value
        elif operation == 0x77:
            registers[target] >>= value
        elif (registers[target] == value) == {0x15: True, 0x55: False}[operation]:
            at += offset


def _allowed(rules: Sequence[Mapping[str, Any]], access: int, kind: int, major: int, minor: int) -> bool:
    """Say what cgroup v1 would: each access on its own, and the last rule about it decides."""
    for bit, letter in ((1, "m"), (2, "r"), (4, "w")):
        decision = True
        for rule in rules:
            types = {"a": (1, 2), "b": (1,), "c": (2,)}[rule.get("type", "a")]
            same = all(rule.get(name, -1) in (-1, number) for name, number in (("major", major), ("minor", minor)))
            if kind in types and same and letter in rule.get("access", "rwm"):
                decision = rule["allow"]
        if access & bit and not decision:
            return False
    return True


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [{"allow": False}],
        [{"allow": False, "access": "w"}],
        [
            {"allow": False},
            {"allow": True, "type": "c", "access": "m"},
            {"allow": True, "type": "b", "access": "m"},
        ],
        [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
        [
            {"allow": False},
            {"allow": True, "type": "c", "major": 1, "minor": -1, "access": "r"},
            {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "w"},
            {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "rm"},
        ],
        [{"allow": True}, {"allow": False, "type": "b", "major": 8}, {"allow": True, "type": "b", "minor": 3}],
    ],
)
def test_the_device_program_decides_as_cgroup_v1_does(rules: list[dict[str, Any]]) -> None:
    program = assemble(rules)
    for case in itertools.product(range(8), (1, 2), (1, 8), (3, 5)):
        assert bool(_run(program, *case)) == _allowed(rules, *case), case


def test_a_wrong_device_rule_is_refused() -> None:
    with pytest.raises(InvalidInput, match="invalid device rule"):
        assemble([{"allow": True, "type": "x"}])


FILES = {
    "cgroup.controllers": "memory pids cpu\n",
    "cgroup.subtree_control": "",
    "cgroup.procs": "",
    "cgroup.type": "domain\n",
    "memory.max": "max\n",
    "cpu.max": "max 100000\n",
    "pids.max": "max\n",
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "cgroup"
    base.mkdir()
    for name, text in FILES.items():
        (base / name).write_text(text)
    return base


def test_every_ancestor_passes_on_the_controllers_that_are_needed(base: Path) -> None:
    fs = FakeCgroupfs(FILES)
    Controller(str(base), fs=fs).create("a/b", {"pids": {"limit": 3}}).close()
    given = [("cgroup.subtree_control", f"+{name}") for name in ("cpu", "memory", "pids")]
    assert fs.writes == [*given, *given, ("pids.max", "3")]


def test_an_update_keeps_what_it_does_not_name(base: Path) -> None:
    fs = FakeCgroupfs(FILES | {"cpu.max": "50000 100000\n"})
    handle = Controller(str(base), fs=fs).create("a", {})
    fs.writes.clear()
    handle.update({"cpu": {"period": 20000}})
    handle.close()
    assert fs.writes[-1] == ("cpu.max", "50000 20000")


def test_every_limit_without_a_controller_or_a_file_is_reported(base: Path) -> None:
    resources = {
        "memory": {"limit": 1, "swap": 1, "swappiness": 10, "disableOOMKiller": False},
        "cpu": {"cpus": "0"},
        "pids": {"limit": 1},
    }
    assert Controller(str(base), fs=FakeCgroupfs(FILES)).missing(resources) == {
        "memory.swappiness": "cgroup v2 has no swappiness of a group",
        "memory.swap": "the kernel has no memory.swap.max",
        "cpu.cpus": f"no controller cpuset in {base}",
    }
    assert [path for path in base.iterdir() if path.is_dir()] == []


class _BusyCgroupfs(FakeCgroupfs):
    """A kernel in which the base has processes of its own."""

    def write(self, file: str, *values: str) -> None:
        if file.endswith("cgroup.subtree_control"):
            raise OSError(16, "Device or resource busy")
        super().write(file, *values)


def test_a_base_with_processes_of_its_own_is_explained(base: Path) -> None:
    controller = Controller(str(base), fs=_BusyCgroupfs(FILES))
    with pytest.raises(Conflict, match="it has processes of its own") as caught:
        controller.create("a", {"pids": {"limit": 3}})
    assert "move them into a child group" in (caught.value.hint or "")
    assert not (base / "a").exists()
    controller.create("a", {}).close()


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a process' folder, whose hierarchy has writable groups."""

    def process(own: str, *writable: str) -> Path:
        point, proc = tmp_path / "cgroup", tmp_path / "proc"
        proc.mkdir()
        (proc / "mountinfo").write_text(f"31 23 0:28 / {point} rw - cgroup2 cgroup2 rw\n")
        (proc / "cgroup").write_text(f"1:cpu:/elsewhere\n0::{own}\n")
        for group in writable:
            (point / group).mkdir(parents=True)
            for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.controllers"):
                (point / group / name).write_text("")
        return proc

    return process


def test_root_makes_groups_at_the_root(process: Callable[..., Path], tmp_path: Path) -> None:
    assert find(process("/user.slice/me.scope", "")) == f"{tmp_path}/cgroup"


def test_a_user_makes_groups_in_the_topmost_group_delegated_to_them(
    process: Callable[..., Path], tmp_path: Path
) -> None:
    proc = process("/user.slice/user@1000.service/app.slice/me.scope", "user.slice/user@1000.service")
    assert find(proc) == f"{tmp_path}/cgroup/user.slice/user@1000.service"


def test_without_delegation_the_way_to_get_it_is_shown(process: Callable[..., Path]) -> None:
    with pytest.raises(PermissionDenied, match="is writable") as caught:
        find(process("/user.slice"))
    assert "systemd-run --user --scope" in (caught.value.hint or "")


def _probe(tmp_path: Path) -> ProbeResult:
    [spec] = swapbox_cgroup_controllers()
    return spec.probe(DriverContext(tmp_path, tmp_path))


def test_a_hierarchy_without_controllers_is_not_supported(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swapbox_cgroup_v2.hierarchy.find", lambda: str(base))
    (base / "cgroup.controllers").write_text("\n")
    result = _probe(tmp_path)
    assert isinstance(result, Unsupported)
    assert result.reason.startswith(f"no controllers memory, pids in {base}")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="device programs are loaded by root")
def test_device_rules_can_be_changed_while_processes_run() -> None:
    from swapbox_cgroup_v2 import bpf

    base = find()
    group = Path(base) / f"swapbox-test-{os.getpid()}"
    group.mkdir()
    try:
        for rules in ([{"allow": False}], [{"allow": True}]):
            bpf.replace_device_program(str(group), assemble(rules))
            directory = os.open(group, os.O_RDONLY)
            assert len(bpf.attached(directory)) == 1
            os.close(directory)
    finally:
        group.rmdir()
