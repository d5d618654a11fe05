"""The controller ``v2``: makes groups below one base, and gives their ancestors the controllers they need."""

from __future__ import annotations

import os
from collections.abc import Sequence

from swapbox.drivers.cgroup import CgroupHandle, Resources
from swapbox.errors import AlreadyExists, NotFound, SwapboxError, Unsupported
from swapbox.linux import cgroupfs
from swapbox.linux.cgroupfs import Cgroupfs
from swapbox_cgroup_v2 import controllers
from swapbox_cgroup_v2.handle import Handle
from swapbox_cgroup_v2.settings import Setting, not_here, plan


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
        self._refuse(self._lacking(resources, settings))
        group = self._group(path)
        self._clear(path, group)
        made: list[str] = []
        try:
            self._make(group, settings, made)
            self._refuse(self._unknown(group, settings))
            handle = Handle(self._fs, self._base, path)
            try:
                handle.apply(settings, resources)
            except BaseException:
                handle.close()
                raise
        except OSError as error:
            cgroupfs.discard(self._fs, made)
            raise cgroupfs.translated(error, f"create cgroup {path}") from error
        except BaseException:
            cgroupfs.discard(self._fs, made)
            raise
        return handle

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
        found = self._lacking(resources, settings)
        rest = [setting for setting in settings if setting.key not in found]
        if not rest:
            return found
        sample, made = f"{self._base}/swapbox-probe-{os.getpid()}", list[str]()
        try:
            self._make(sample, rest, made)
            return found | self._unknown(sample, rest)
        except SwapboxError as error:
            return found | {setting.key: error.message for setting in rest}
        finally:
            cgroupfs.discard(self._fs, made)

    def close(self) -> None:
        """Nothing is held open."""

    def _group(self, path: str) -> str:
        return f"{self._base}/{path.strip('/')}"

    def _lacking(self, resources: Resources, settings: Sequence[Setting]) -> dict[str, str]:
        """Return what needs a controller that is not here, or a thing that the hierarchy never does."""
        found, usable = not_here(resources), controllers.available(self._base)
        for setting in settings:
            if setting.controller not in usable:
                found[setting.key] = f"no controller {setting.controller} in {self._base}"
        return found

    def _unknown(self, group: str, settings: Sequence[Setting]) -> dict[str, str]:
        """Return what has no file in a group that has the controllers."""
        return {
            setting.key: f"the kernel has no {setting.file}"
            for setting in settings
            if not any(
                os.path.exists(f"{group}/{file}") for file in (setting.file, *(setting.otherwise or ())[:1])
            )
        }

    def _refuse(self, missing: dict[str, str]) -> None:
        for key, reason in missing.items():
            raise Unsupported(f"cannot set {key}: {reason}")

    def _clear(self, path: str, group: str) -> None:
        """Remove what a crash left there, so that no old limit stays."""
        if os.path.isdir(group):
            if cgroupfs.processes(self._fs, group):
                raise AlreadyExists(f"cgroup {path} exists and has processes")
            cgroupfs.remove(self._fs, [group])

    def _make(self, group: str, settings: Sequence[Setting], made: list[str]) -> None:
        """Make a group whose ancestors, from the base down, give it the controllers."""
        parent = os.path.dirname(group)
        made += cgroupfs.make(self._fs, parent)
        controllers.give(self._fs, group, self._base, {setting.controller for setting in settings})
        made += cgroupfs.make(self._fs, group)
