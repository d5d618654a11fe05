"""Which controllers have a hierarchy, and where it is mounted."""

from __future__ import annotations

from swapbox.linux.cgroupfs import mounts

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "devices", "freezer", "blkio", "cpuset", "hugetlb")
"""What this driver uses; the named hierarchies of init systems and the rest are left alone."""


def find(mountinfo: str = "/proc/self/mountinfo") -> dict[str, str]:
    """Return each controller's mount point; controllers mounted together have the same one."""
    found: dict[str, str] = {}
    for mount in mounts("cgroup", mountinfo):
        for controller in CONTROLLERS:
            if controller in mount.options:
                found.setdefault(controller, mount.point)
    return found
