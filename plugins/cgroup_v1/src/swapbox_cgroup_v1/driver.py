"""The controller ``v1``: makes a group of the same path in each hierarchy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from swapbox.drivers.cgroup import CgroupHandle, Resources
from swapbox.errors import AlreadyExists, NotFound
from swapbox.linux import cgroupfs
from swapbox.linux.cgroupfs import Cgroupfs
from swapbox_cgroup_v1.handle import Handle
from swapbox_cgroup_v1.hierarchies import Hierarchies
from swapbox_cgroup_v1.settings import Setting, plan


class Controller:
    """Makes and finds groups.

    :param mounts: each controller's mount point; a test gives folders.
    :param fs: the kernel's side.
    """

    def __init__(self, mounts: Mapping[str, str], *, fs: Cgroupfs | None = None) -> None:
        self._hierarchies = Hierarchies(mounts, fs or Cgroupfs())

    def create(self, path: str, resources: Resources) -> CgroupHandle:
        """Make a group in every hierarchy that counts or limits something, and set the limits."""
        settings = plan(resources)
        self._hierarchies.check(resources, settings)
        made: list[str] = []
        try:
            self._make(path, settings, made)
            return self._limited(path, settings)
        except BaseException as error:
            cgroupfs.discard(self._hierarchies.fs, made)
            if isinstance(error, OSError):
                raise cgroupfs.translated(error, f"create cgroup {path}") from error
            raise

    def open(self, path: str) -> CgroupHandle:
        """Return the handle of an existing group."""
        if not self._hierarchies.groups(path):
            raise NotFound(f"no such cgroup: {path}")
        try:
            return Handle(self._hierarchies, path)
        except OSError as error:
            raise cgroupfs.translated(error, f"open cgroup {path}") from error

    def walk(self, path: str) -> list[str]:
        """Return the groups directly below ``path``."""
        names: set[str] = set()
        for group in self._hierarchies.groups(path):
            with os.scandir(group) as entries:
                names.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return sorted(f"{path.strip('/')}/{name}" for name in names)

    def missing(self, resources: Resources) -> dict[str, str]:
        """Return what cannot be set here."""
        return self._hierarchies.lacking(resources, plan(resources))

    def close(self) -> None:
        """Nothing is held open."""

    def _make(self, path: str, settings: Sequence[Setting], made: list[str]) -> None:
        """Make the groups; what a crash left there, without processes, is made anew so that no old limit stays."""
        if left := self._hierarchies.groups(path):
            if any(self._hierarchies.fs.read(f"{group}/cgroup.procs").strip() for group in left):
                raise AlreadyExists(f"cgroup {path} exists and has processes")
            cgroupfs.remove(self._hierarchies.fs, left)
        for controller in self._hierarchies.needed(settings):
            made += self._hierarchies.make(controller, path)

    def _limited(self, path: str, settings: Sequence[Setting]) -> Handle:
        handle = Handle(self._hierarchies, path)
        try:
            handle.apply(settings)
        except BaseException:
            handle.close()
            raise
        return handle
