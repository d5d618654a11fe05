"""The OCI ``linux.resources`` object, made for cgroup v1, as values to write to the unified hierarchy."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from swapbox.drivers.cgroup import Resources
from swapbox.errors import InvalidInput


class Setting(NamedTuple):
    """Values to write to one file.

    :param key: where they come from, dotted: ``memory.limit``.
    :param file: its first part is the controller it needs.
    :param otherwise: what to write where the kernel lacks the file.
    """

    key: str
    file: str
    values: tuple[str, ...]
    otherwise: tuple[str, tuple[str, ...]] | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The names the kernel may have for it."""
        return (self.file, self.otherwise[0]) if self.otherwise else (self.file,)

    @property
    def controller(self) -> str:
        """The controller that has the file."""
        return self.file.partition(".")[0]


NOT_HERE = {
    "memory.kernelTCP": "cgroup v2 does not limit it apart",
    "memory.swappiness": "cgroup v2 has no swappiness of a group",
    "memory.disableOOMKiller": "cgroup v2 has no switch for it",
    "cpu.realtimeRuntime": "cgroup v2 does not divide realtime",
    "cpu.realtimePeriod": "cgroup v2 does not divide realtime",
    "network.classID": "cgroup v2 has no network classes",
    "network.priorities": "cgroup v2 has no network priorities",
}
"""What the hierarchy cannot do, and why."""

_RATES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def plan(resources: Resources) -> list[Setting]:
    """Return what to write, in this order, without the device rules.

    :raises InvalidInput: a value or a combination cannot be right.
    """
    return [
        *_memory(resources.get("memory") or {}),
        *_cpu(resources.get("cpu") or {}),
        *_pids(resources.get("pids") or {}),
        *_io(resources.get("blockIO") or {}),
        *_huge_pages(resources),
        *_rdma(resources.get("rdma") or {}),
        *_unified(resources.get("unified") or {}),
    ]


def not_here(resources: Resources) -> dict[str, str]:
    """Return what is set and cannot be: key to reason."""
    found = {}
    for key, reason in NOT_HERE.items():
        part, name = key.split(".")
        if (resources.get(part) or {}).get(name) not in (None, False, 0, [], -1):
            found[key] = reason
    return found


def _memory(memory: Mapping[str, Any]) -> Iterator[Setting]:
    limit, swap = memory.get("limit"), memory.get("swap")
    if swap and swap > 0 and not (limit and limit > 0):
        raise InvalidInput(f"memory.swap {swap} without memory.limit: it is the sum of memory and swap")
    if swap and swap > 0 and swap < limit:
        raise InvalidInput(f"memory.swap {swap} is below memory.limit {limit}: it is the sum of memory and swap")
    if limit:
        yield Setting("memory.limit", "memory.max", (_bytes(limit),))
    if swap:
        yield Setting("memory.swap", "memory.swap.max", (_bytes(swap - limit if swap > 0 else swap),))
    if memory.get("reservation"):
        yield Setting("memory.reservation", "memory.low", (_bytes(memory["reservation"]),))


def _bytes(number: int) -> str:
    return "max" if number < 0 else str(number)


def _cpu(cpu: Mapping[str, Any]) -> Iterator[Setting]:
    if cpu.get("shares"):
        yield Setting("cpu.shares", "cpu.weight", (str(cpu_weight(cpu["shares"])),))
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota or period:
        key = "cpu.quota" if quota else "cpu.period"
        # A quota alone leaves the period as it is. A period alone is completed by the handle, see `Handle.update`.
        limit = str(quota) if quota and quota > 0 else "max"
        yield Setting(key, "cpu.max", (f"{limit} {period}" if period else limit,))
    if cpu.get("burst"):
        yield Setting("cpu.burst", "cpu.max.burst", (str(cpu["burst"]),))
    if cpu.get("idle") is not None:
        yield Setting("cpu.idle", "cpu.idle", (str(cpu["idle"]),))
    for name in ("cpus", "mems"):
        if cpu.get(name):
            yield Setting(f"cpu.{name}", f"cpuset.{name}", (cpu[name],))


def cpu_weight(shares: int) -> int:
    """Turn shares of 2 to 262144 into a weight of 1 to 10000, with the defaults 1024 and 100 for each other.

    The curve is that of the OCI cgroups library: a parabola through these three points on logarithmic scales.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def _pids(pids: Mapping[str, Any]) -> Iterator[Setting]:
    limit = pids.get("limit")
    if limit is not None:
        yield Setting("pids.limit", "pids.max", (str(limit) if limit > 0 else "max",))


def _io(io: Mapping[str, Any]) -> Iterator[Setting]:
    if weight := io.get("weight"):
        # Which of them is there depends on what shares the disk out: iocost or the BFQ scheduler.
        bfq = ("io.bfq.weight", (str(weight),))
        yield Setting("blockIO.weight", "io.weight", (f"default {io_weight(weight)}",), bfq)
    for device in io.get("weightDevice") or ():
        if device.get("weight"):
            value = f"{_numbered(device)} {io_weight(device['weight'])}"
            yield Setting("blockIO.weightDevice", "io.weight", (value,))
    for name, word in _RATES:
        for device in io.get(name) or ():
            rate = device["rate"] or "max"
            yield Setting(f"blockIO.{name}", "io.max", (f"{_numbered(device)} {word}={rate}",))


def io_weight(weight: int) -> int:
    """Turn a block I/O weight of 10 to 1000 into an I/O weight of 1 to 10000."""
    return 1 + (max(10, min(weight, 1000)) - 10) * 9999 // 990


def _numbered(device: Mapping[str, Any]) -> str:
    return f"{device['major']}:{device['minor']}"


def _huge_pages(resources: Resources) -> Iterator[Setting]:
    for huge in resources.get("hugepageLimits") or ():
        yield Setting("hugepageLimits", f"hugetlb.{huge['pageSize']}.max", (str(huge["limit"]),))


def _rdma(rdma: Mapping[str, Any]) -> Iterator[Setting]:
    for device, limits in rdma.items():
        words = (("hca_handle", limits.get("hcaHandles")), ("hca_object", limits.get("hcaObjects")))
        value = " ".join((device, *(f"{word}={number}" for word, number in words if number is not None)))
        yield Setting("rdma", "rdma.max", (value,))


def _unified(unified: Mapping[str, str]) -> Iterator[Setting]:
    for file, text in unified.items():
        if "/" in file or "." not in file or file.startswith("cgroup."):
            raise InvalidInput(
                f"invalid unified setting {file!r}: name a file of a controller, such as memory.high"
            )
        yield Setting(f"unified.{file}", file, tuple(text.splitlines()))
