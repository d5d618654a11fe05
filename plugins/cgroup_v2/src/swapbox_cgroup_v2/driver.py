"""The controller ``v2``: makes groups below one base, and gives their ancestors the controllers they need."""

from __future__ import annotations

import os
from collections.abc import Sequence

from swapbox.drivers.cgroup import CgroupHandle, Resources
from swapbox.errors import AlreadyExists, NotFound, SwapboxError
from swapbox.linux import cgroupfs
from swapbox.linux.cgroupfs import Cgroupfs
from swapbox_cgroup_v2 import bpf, controllers
from swapbox_cgroup_v2.handle import Handle
from swapbox_cgroup_v2.settings import Setting, plan


class Controller:
    """Makes and finds groups.

    :param base: the group below which all paths are, from :func:`swapbox_cgroup_v2.hierarchy.find`.
    :param fs: the kernel's side.
    """

    def __init__(self, base: str, *, fs: Cgroupfs | None = None) -> None:
        self._base = base
        self._fs = fs or Cgroupfs()

    def create(self, path: str, resources: Resources) -> CgroupHandle:
        """Make a group and set its limits."""
        settings = plan(resources)
        controllers.check(controllers.lacking(self._base, resources, settings))
        self._clear(path)
        made: list[str] = []
        try:
            self._make(self._group(path), settings, made)
            controllers.check(_unknown(self._group(path), settings))
            return self._limited(path, settings, resources)
        except BaseException as error:
            cgroupfs.discard(self._fs, made)
            if isinstance(error, OSError):
                raise cgroupfs.translated(error, f"create cgroup {path}") from error
            raise

    def open(self, path: str) -> CgroupHandle:
        """Return the handle of an existing group."""
        try:
            return Handle(self._fs, self._base, path)
        except FileNotFoundError as error:
            raise NotFound(f"no such cgroup: {path}") from error

    def walk(self, path: str) -> list[str]:
        """Return the groups directly below ``path``."""
        try:
            with os.scandir(self._group(path)) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        return [f"{path.strip('/')}/{name}" for name in names]

    def missing(self, resources: Resources) -> dict[str, str]:
        """Return what cannot be set here."""
        settings = plan(resources)
        found = controllers.lacking(self._base, resources, settings)
        if resources.get("devices") and (reason := bpf.obstacle()):
            found["devices"] = reason
        rest = [setting for setting in settings if setting.key not in found]
        return found | self._unknown_here(rest) if rest else found

    def close(self) -> None:
        """Nothing is held open."""

    def _group(self, path: str) -> str:
        return f"{self._base}/{path.strip('/')}"

    def _unknown_here(self, settings: Sequence[Setting]) -> dict[str, str]:
        """Return what groups have no file for, or why no group could be made to look."""
        sample, made = f"{self._base}/swapbox-probe-{os.getpid()}", list[str]()
        try:
            self._make(sample, settings, made)
            return _unknown(sample, settings)
        except SwapboxError as error:
            return {setting.key: error.message for setting in settings}
        finally:
            cgroupfs.discard(self._fs, made)

    def _clear(self, path: str) -> None:
        """Remove what a crash left there, so that no old limit stays."""
        group = self._group(path)
        if os.path.isdir(group):
            if cgroupfs.processes(self._fs, group):
                raise AlreadyExists(f"cgroup {path} exists and has processes")
            cgroupfs.remove(self._fs, [group])

    def _make(self, group: str, settings: Sequence[Setting], made: list[str]) -> None:
        """Make a group whose ancestors, from the base down, give it the controllers."""
        made += cgroupfs.make(self._fs, os.path.dirname(group))
        controllers.give(self._fs, group, self._base, {setting.controller for setting in settings})
        made += cgroupfs.make(self._fs, group)

    def _limited(self, path: str, settings: Sequence[Setting], resources: Resources) -> Handle:
        handle = Handle(self._fs, self._base, path)
        try:
            handle.apply(settings, resources)
        except BaseException:
            handle.close()
            raise
        return handle


def _unknown(group: str, settings: Sequence[Setting]) -> dict[str, str]:
    """Return what a group, which has the controllers, has no file for."""
    return {
        setting.key: f"the kernel has no {setting.file}"
        for setting in settings
        if not any(os.path.exists(f"{group}/{file}") for file in setting.files)
    }
