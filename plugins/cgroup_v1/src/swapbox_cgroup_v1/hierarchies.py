"""Which controllers have a hierarchy, where it is mounted, and a group's directories in all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from swapbox.drivers.cgroup import Resources
from swapbox.errors import Unsupported
from swapbox.linux import cgroupfs
from swapbox.linux.cgroupfs import Cgroupfs, mounts
from swapbox_cgroup_v1.settings import NOT_HERE, Setting

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "devices", "freezer", "blkio", "cpuset", "hugetlb")
"""What this driver uses; the named hierarchies of init systems and the rest are left alone."""

# The others cost a start only when something is set in them.
_ALWAYS = ("memory", "pids", "cpu", "cpuacct", "devices", "freezer", "blkio")
_INHERITED = ("cpuset.cpus", "cpuset.mems")


def find(mountinfo: str = "/proc/self/mountinfo") -> dict[str, str]:
    """Return each controller's mount point; controllers mounted together have the same one."""
    found: dict[str, str] = {}
    for mount in mounts("cgroup", mountinfo):
        for controller in CONTROLLERS:
            if controller in mount.options:
                found.setdefault(controller, mount.point)
    return found


class Hierarchies:
    """The mounted hierarchies by controller."""

    def __init__(self, mounts: Mapping[str, str], fs: Cgroupfs) -> None:
        self._mounts = mounts
        self.fs = fs

    def group(self, controller: str, path: str) -> str | None:
        """Return the directory of a group, None when there is none."""
        point = self._mounts.get(controller)
        group = f"{point}/{path.strip('/')}"
        return group if point and os.path.isdir(group) else None

    def groups(self, path: str) -> list[str]:
        """Return the directories of a group, each once."""
        points = dict.fromkeys(self._mounts.values())
        return [group for point in points if os.path.isdir(group := f"{point}/{path.strip('/')}")]

    def needed(self, settings: Sequence[Setting]) -> list[str]:
        """Return the controllers to make groups for."""
        wanted = (*_ALWAYS, *(setting.controller for setting in settings))
        return [controller for controller in dict.fromkeys(wanted) if controller in self._mounts]

    def make(self, controller: str, path: str) -> list[str]:
        """Make a group and its missing parents; return the directories made."""
        prepare = self._inherit if controller == "cpuset" else str
        return cgroupfs.make(self.fs, f"{self._mounts[controller]}/{path.strip('/')}", prepare=prepare)

    def lacking(self, resources: Resources, settings: Sequence[Setting]) -> dict[str, str]:
        """Return what cannot be set here: key to reason."""
        found = {key: reason for key, reason in NOT_HERE.items() if resources.get(key)}
        for key, controller, files in dict.fromkeys(setting[:3] for setting in settings):
            point = self._mounts.get(controller)
            if not point:
                found[key] = f"no hierarchy with the controller {controller} is mounted"
            elif not self._knows(point, files):
                found[key] = f"the kernel has no {files[0]}"
        return found

    def check(self, resources: Resources, settings: Sequence[Setting]) -> None:
        """Refuse what cannot be set here."""
        for key, reason in self.lacking(resources, settings).items():
            raise Unsupported(f"cannot set {key}: {reason}")

    def _knows(self, point: str, files: Sequence[str]) -> bool:
        """Say whether groups have one of these files; those that the root lacks are looked for in a group."""
        if any(os.path.exists(f"{point}/{file}") for file in files):
            return True
        sample = f"{point}/swapbox-probe-{os.getpid()}"
        self.fs.mkdir(sample)
        try:
            return any(os.path.exists(f"{sample}/{file}") for file in files)
        finally:
            self.fs.rmdir(sample)

    def _inherit(self, group: str) -> None:
        """Give a new cpuset group its parent's CPUs and memory nodes: without any, nothing can be put into it."""
        parent = os.path.dirname(group)
        for name in _INHERITED:
            if not self.fs.read(f"{group}/{name}").strip():
                if not self.fs.read(f"{parent}/{name}").strip():
                    self._inherit(parent)
                self.fs.write(f"{group}/{name}", self.fs.read(f"{parent}/{name}").strip())
