"""The OCI ``linux.resources`` object as a list of values to write: the plan, which tests compare."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from swapbox.drivers.cgroup import Resources
from swapbox.errors import InvalidInput


class Setting(NamedTuple):
    """One value to write.

    :param key: where it comes from, dotted: ``memory.limit``.
    :param files: the names the kernel may have for it; the first that exists is used.
    """

    key: str
    controller: str
    files: tuple[str, ...]
    value: str


# Zero means "not given" for these, as it does for runc, for whoever cannot leave a field out.
_NUMBERS = (
    ("memory.limit", "memory", "memory.limit_in_bytes"),
    ("memory.swap", "memory", "memory.memsw.limit_in_bytes"),
    ("memory.reservation", "memory", "memory.soft_limit_in_bytes"),
    ("memory.kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes"),
    ("cpu.shares", "cpu", "cpu.shares"),
    ("cpu.period", "cpu", "cpu.cfs_period_us"),
    ("cpu.quota", "cpu", "cpu.cfs_quota_us"),
    ("cpu.burst", "cpu", "cpu.cfs_burst_us"),
    ("cpu.realtimePeriod", "cpu", "cpu.rt_period_us"),
    ("cpu.realtimeRuntime", "cpu", "cpu.rt_runtime_us"),
    ("cpu.cpus", "cpuset", "cpuset.cpus"),
    ("cpu.mems", "cpuset", "cpuset.mems"),
)
_RATES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)
_WEIGHT = ("blkio.weight", "blkio.bfq.weight")
_WEIGHT_DEVICE = ("blkio.weight_device", "blkio.bfq.weight_device")
NOT_HERE = {
    "network": "the controllers net_cls and net_prio are not used by this driver",
    "rdma": "the controller rdma is not used by this driver",
    "unified": "it needs cgroup v2",
}
"""Parts of the object that this driver never sets, and why."""


def plan(resources: Resources) -> list[Setting]:
    """Return what to write, in this order.

    :raises InvalidInput: a device rule is wrong.
    """
    return [*_numbers(resources), *_switches(resources), *_block_io(resources), *_devices(resources)]


def _numbers(resources: Resources) -> Iterator[Setting]:
    for key, controller, file in _NUMBERS:
        part, name = key.split(".")
        value = (resources.get(part) or {}).get(name)
        if value:
            yield Setting(key, controller, (file,), str(value))
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        yield Setting("pids.limit", "pids", ("pids.max",), str(limit) if limit > 0 else "max")
    for huge in resources.get("hugepageLimits") or ():
        files = (f"hugetlb.{huge['pageSize']}.limit_in_bytes",)
        yield Setting("hugepageLimits", "hugetlb", files, str(huge["limit"]))


def _switches(resources: Resources) -> Iterator[Setting]:
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    if memory.get("swappiness") is not None:
        yield Setting("memory.swappiness", "memory", ("memory.swappiness",), str(memory["swappiness"]))
    if memory.get("disableOOMKiller") is not None:
        value = str(int(memory["disableOOMKiller"]))
        yield Setting("memory.disableOOMKiller", "memory", ("memory.oom_control",), value)
    if cpu.get("idle") is not None:
        yield Setting("cpu.idle", "cpu", ("cpu.idle",), str(cpu["idle"]))


def _block_io(resources: Resources) -> Iterator[Setting]:
    io = resources.get("blockIO") or {}
    if io.get("weight"):
        yield Setting("blockIO.weight", "blkio", _WEIGHT, str(io["weight"]))
    for device in io.get("weightDevice") or ():
        if device.get("weight"):
            yield Setting(
                "blockIO.weightDevice", "blkio", _WEIGHT_DEVICE, f"{_numbered(device)} {device['weight']}"
            )
    for name, file in _RATES:
        for device in io.get(name) or ():
            yield Setting(f"blockIO.{name}", "blkio", (file,), f"{_numbered(device)} {device['rate']}")


def _numbered(device: Mapping[str, Any]) -> str:
    return f"{device['major']}:{device['minor']}"


def _devices(resources: Resources) -> Iterator[Setting]:
    for rule in resources.get("devices") or ():
        file = "devices.allow" if rule.get("allow") else "devices.deny"
        for text in _rule(rule):
            yield Setting("devices", "devices", (file,), text)


def _rule(rule: Mapping[str, Any]) -> Iterator[str]:
    """Write a rule as the kernel reads it, where ``a`` means everything, whatever follows it."""
    kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
    if kind not in ("a", "b", "c", "u") or set(access) - set("rwm"):
        raise InvalidInput(
            f"invalid device rule {dict(rule)!r}: the type is a, b, c or u, the access of r, w and m"
        )
    numbers = ":".join(
        "*" if number in (None, -1) else str(number) for number in (rule.get("major"), rule.get("minor"))
    )
    if kind == "a" and numbers == "*:*" and set(access) == set("rwm"):
        yield "a"
        return
    for one in "bc" if kind == "a" else kind.replace("u", "c"):
        yield f"{one} {numbers} {access}"
