"""One group: the directories of one path in all hierarchies."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby

from swapbox.drivers.cgroup import CgroupStats, Resources
from swapbox.errors import NotFound, Unsupported
from swapbox.linux import cgroupfs
from swapbox_cgroup_v1.hierarchies import Hierarchies
from swapbox_cgroup_v1.settings import Setting, plan


class Handle:
    """One group; see :class:`swapbox.drivers.cgroup.CgroupHandle`."""

    def __init__(self, hierarchies: Hierarchies, path: str) -> None:
        self._hierarchies = hierarchies
        self._fs = hierarchies.fs
        self._path = path
        self._tasks: list[int] = []
        try:
            for group in hierarchies.groups(path):
                self._open_tasks(group)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The path given to ``create``."""
        return self._path

    @property
    def cgroups_path(self) -> str:
        """The same, absolute."""
        return f"/{self._path.strip('/')}"

    @property
    def clone_into(self) -> None:
        """Nothing: a process is in many hierarchies at once."""
        return

    def join(self) -> None:
        """Move the calling process, which has one thread, in.

        ``tasks`` moves a thread and ``0`` is the calling one: only this pair does without the migration lock.
        """
        for fd in self._tasks:
            os.write(fd, b"0")

    def add(self, pid: int) -> None:
        """Move a process in."""
        for group in self._groups():
            self._write(f"{group}/cgroup.procs", str(pid))

    def update(self, resources: Resources) -> None:
        """Change limits."""
        self._groups()
        settings = plan(resources)
        self._hierarchies.check(resources, settings)
        for controller in {setting.controller for setting in settings}:
            if not self._group(controller):
                self._extend(controller)
        self.apply(settings)

    def apply(self, settings: Sequence[Setting]) -> None:
        """Write settings, those for one file with the file opened once."""
        for (_, controller, files), same in groupby(settings, key=lambda setting: setting[:3]):
            values = [setting.value for setting in same]
            if files[0] == "memory.limit_in_bytes":
                self._apply_memory(values[0], [s.value for s in settings if s.key == "memory.swap"])
            else:
                self._write(self._file(controller, files), *values)

    def _apply_memory(self, limit: str, swap: Sequence[str]) -> None:
        """Set the memory limit, which the limit of memory and swap may not be below at any time."""
        file = self._file("memory", ("memory.limit_in_bytes",))
        try:
            self._fs.write(file, limit)
        except OSError as error:
            if error.errno != errno.EINVAL or not swap:
                raise cgroupfs.translated(error, f"write {limit} to {file}") from error
            self._write(self._file("memory", ("memory.memsw.limit_in_bytes",)), *swap)
            self._write(file, limit)

    def stats(self) -> CgroupStats:
        """Return usage now."""
        self._groups()
        memory_stat, cpu_stat = self._keyed("memory", "memory.stat"), self._keyed("cpu", "cpu.stat")
        read, written = self._io()
        return CgroupStats(
            memory=self._number("memory", "memory.usage_in_bytes"),
            memory_limit=self._number("memory", "memory.limit_in_bytes"),
            memory_cache=memory_stat.get("total_inactive_file"),
            cpu_ns=self._number("cpuacct", "cpuacct.usage"),
            cpu_throttled_ns=cpu_stat.get("throttled_time"),
            pids=self._number("pids", "pids.current"),
            pids_limit=self._number("pids", "pids.max"),
            io_read=read,
            io_write=written,
        )

    def processes(self) -> list[int]:
        """Return the pids inside."""
        return sorted({pid for group in self._groups() for pid in cgroupfs.processes(self._fs, group)})

    def freeze(self) -> None:
        """Stop every process inside and wait until they have stopped."""
        file = self._freezer()
        self._write(file, "FROZEN")
        try:
            cgroupfs.wait_until(lambda: self._read(file).strip() == "FROZEN", f"freezing cgroup {self._path}")
        except BaseException:
            self._write(file, "THAWED")
            raise

    def thaw(self) -> None:
        """Let them go on."""
        self._write(self._freezer(), "THAWED")

    def kill(self) -> None:
        """Send SIGKILL to every process inside, frozen so that none forks away, and let them go on to die."""
        freezer = self._group("freezer")
        if not self.processes():
            return
        if freezer:
            self._write(f"{freezer}/freezer.state", "FROZEN")
        try:
            for group in self._groups():
                cgroupfs.kill(self._fs, group)
        finally:
            if freezer:
                self._write(f"{freezer}/freezer.state", "THAWED")

    def oom_events(self) -> int:
        """Return how many processes the kernel killed here for want of memory."""
        group = self._group("memory")
        members = cgroupfs.tree(group) if group else []
        return sum(
            cgroupfs.keyed(self._read(f"{member}/memory.oom_control")).get("oom_kill", 0) for member in members
        )

    def delete(self) -> None:
        """Remove the group everywhere."""
        self.close()
        cgroupfs.remove(self._fs, self._hierarchies.groups(self._path))

    def close(self) -> None:
        """Close the descriptors held for :meth:`join`."""
        while self._tasks:
            os.close(self._tasks.pop())

    def _open_tasks(self, group: str) -> None:
        self._tasks.append(os.open(f"{group}/tasks", os.O_WRONLY | os.O_CLOEXEC))

    def _extend(self, controller: str) -> None:
        """Make the group in one more hierarchy, and take its processes there."""
        made = self._hierarchies.make(controller, self._path)
        try:
            self._open_tasks(made[-1])
            for pid in self.processes():
                with suppress(NotFound):
                    self._write(f"{made[-1]}/cgroup.procs", str(pid))
        except OSError as error:
            raise cgroupfs.translated(error, f"create cgroup {made[-1]}") from error

    def _groups(self) -> list[str]:
        groups = self._hierarchies.groups(self._path)
        if not groups:
            raise NotFound(f"no such cgroup: {self._path}")
        return groups

    def _group(self, controller: str) -> str | None:
        return self._hierarchies.group(controller, self._path)

    def _freezer(self) -> str:
        self._groups()
        if group := self._group("freezer"):
            return f"{group}/freezer.state"
        raise Unsupported(
            f"cannot freeze cgroup {self._path}: no hierarchy with the controller freezer is mounted"
        )

    def _file(self, controller: str, files: Sequence[str]) -> str:
        group = self._group(controller)
        existing = (file for file in files if len(files) > 1 and os.path.exists(f"{group}/{file}"))
        return f"{group}/{next(existing, files[0])}"

    def _write(self, file: str, *values: str) -> None:
        try:
            self._fs.write(file, *values)
        except OSError as error:
            raise cgroupfs.translated(error, f"write {', '.join(values)} to {file}") from error

    def _read(self, file: str) -> str:
        try:
            return self._fs.read(file)
        except OSError as error:
            raise cgroupfs.translated(error, f"read {file}") from error

    def _optional(self, controller: str, file: str) -> str:
        """Return what a file says, nothing when the kernel has no such file."""
        group = self._group(controller)
        with suppress(NotFound):
            return self._read(f"{group}/{file}") if group else ""
        return ""

    def _number(self, controller: str, file: str) -> int | None:
        return cgroupfs.number(self._optional(controller, file))

    def _keyed(self, controller: str, file: str) -> dict[str, int]:
        return cgroupfs.keyed(self._optional(controller, file))

    def _io(self) -> Iterator[int | None]:
        """Return the bytes read and written, over all devices: lines are ``major:minor Read bytes``."""
        lines = [
            line.split()
            for line in self._optional("blkio", "blkio.throttle.io_service_bytes_recursive").splitlines()
        ]
        for operation in ("Read", "Write"):
            yield sum(int(line[2]) for line in lines if len(line) == 3 and line[1] == operation) if lines else None
