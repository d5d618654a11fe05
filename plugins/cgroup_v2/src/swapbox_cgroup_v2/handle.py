"""One group of the unified hierarchy."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from swapbox.drivers.cgroup import CgroupStats, Resources
from swapbox.errors import Unavailable
from swapbox.linux import cgroupfs
from swapbox.linux.cgroupfs import Cgroupfs
from swapbox_cgroup_v2 import bpf, controllers, devices
from swapbox_cgroup_v2.settings import Setting, plan


class Handle:
    """One group; see :class:`swapbox.drivers.cgroup.CgroupHandle`.

    :param base: the directory below which ``path`` is.
    :raises FileNotFoundError: the group is not there.
    """

    def __init__(self, fs: Cgroupfs, base: str, path: str) -> None:
        self._fs = fs
        self._base = base
        self._path = path
        self._group = group = f"{base}/{path.strip('/')}"
        self._directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._procs = -1
        try:
            self._procs = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._directory)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """The path given to ``create``."""
        return self._path

    @property
    def cgroups_path(self) -> str:
        """The same from the mount point, which is above the base when that was delegated."""
        point = next((mount.point for mount in cgroupfs.mounts("cgroup2")), self._base)
        return f"/{os.path.relpath(self._group, point)}"

    @property
    def clone_into(self) -> int:
        """The descriptor of the directory."""
        return self._directory

    def join(self) -> None:
        """Move the calling process in."""
        os.write(self._procs, b"0")

    def add(self, pid: int) -> None:
        """Move a process in."""
        self._write("cgroup.procs", str(pid))

    def update(self, resources: Resources) -> None:
        """Change limits."""
        settings = plan(self._completed(resources))
        controllers.check(controllers.lacking(self._base, resources, settings))
        self._read("cgroup.type")
        controllers.give(self._fs, self._group, self._base, {setting.controller for setting in settings})
        self.apply(settings, resources)

    def apply(self, settings: Sequence[Setting], resources: Resources) -> None:
        """Write settings and attach the device rules."""
        for setting in settings:
            file, values = setting.file, setting.values
            if setting.otherwise and not os.path.exists(f"{self._group}/{file}"):
                file, values = setting.otherwise
            self._write(file, *values)
        if rules := resources.get("devices"):
            bpf.replace_device_program(self._group, devices.assemble(rules))

    def stats(self) -> CgroupStats:
        """Return usage now."""
        cpu = cgroupfs.keyed(self._read("cpu.stat"))
        io = self._optional("io.stat")
        return CgroupStats(
            memory=cgroupfs.number(self._optional("memory.current")),
            memory_limit=cgroupfs.number(self._optional("memory.max")),
            memory_cache=cgroupfs.keyed(self._optional("memory.stat")).get("inactive_file"),
            cpu_ns=_nanoseconds(cpu.get("usage_usec")),
            cpu_throttled_ns=_nanoseconds(cpu.get("throttled_usec")),
            pids=cgroupfs.number(self._optional("pids.current")),
            pids_limit=cgroupfs.number(self._optional("pids.max")),
            io_read=_over_devices(io, "rbytes"),
            io_write=_over_devices(io, "wbytes"),
        )

    def processes(self) -> list[int]:
        """Return the pids inside."""
        self._read("cgroup.type")
        return cgroupfs.processes(self._fs, self._group)

    def freeze(self) -> None:
        """Stop every process inside and wait until they have stopped."""
        self._write("cgroup.freeze", "1")
        try:
            self._wait_for("frozen", 1)
        except BaseException:
            self._write("cgroup.freeze", "0")
            raise

    def thaw(self) -> None:
        """Let them go on."""
        self._write("cgroup.freeze", "0")

    def kill(self) -> None:
        """Send SIGKILL to every process inside; since Linux 5.14 the kernel does it in one go."""
        try:
            self._fs.write(f"{self._group}/cgroup.kill", "1")
        except FileNotFoundError:
            self._read("cgroup.type")
            cgroupfs.kill(self._fs, self._group)

    def oom_events(self) -> int:
        """Return how many processes the kernel killed here for want of memory."""
        return cgroupfs.keyed(self._optional("memory.events")).get("oom_kill", 0)

    def delete(self) -> None:
        """Remove the group."""
        self.close()
        cgroupfs.remove(self._fs, [self._group], wait=self._nap)

    def close(self) -> None:
        """Close the descriptors held for :meth:`join`."""
        for fd in (self._directory, self._procs):
            if fd >= 0:
                os.close(fd)
        self._directory = self._procs = -1

    def _completed(self, resources: Resources) -> Resources:
        """Add what cgroup v1 keeps apart and v2 does not: swap is told from memory, a period from its quota."""
        memory: dict[str, Any] = dict(resources.get("memory") or {})
        if memory.get("swap") and not memory.get("limit"):
            memory["limit"] = cgroupfs.number(self._optional("memory.max"))
        cpu: dict[str, Any] = dict(resources.get("cpu") or {})
        if cpu.get("period") and not cpu.get("quota"):
            cpu["quota"] = cgroupfs.number((self._optional("cpu.max").split() or ["max"])[0])
        return {**resources, "memory": memory, "cpu": cpu}

    def _nap(self, seconds: float) -> None:
        """Wait for an event of the group, at most so long."""
        with suppress(OSError):
            fd = os.open(f"{self._group}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _poll(fd, seconds)
            finally:
                os.close(fd)

    def _wait_for(self, key: str, value: int) -> None:
        """Wait until ``cgroup.events`` says so; the kernel wakes whoever polls it."""
        deadline = time.monotonic() + cgroupfs.PATIENCE
        fd = os.open(f"{self._group}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            while cgroupfs.keyed(os.pread(fd, 4096, 0).decode()).get(key) != value:
                if time.monotonic() > deadline:
                    raise Unavailable(f"cgroup {self._path} is not {key} after {cgroupfs.PATIENCE:g} seconds")
                _poll(fd, deadline - time.monotonic())
        finally:
            os.close(fd)

    def _write(self, file: str, *values: str) -> None:
        try:
            self._fs.write(f"{self._group}/{file}", *values)
        except OSError as error:
            raise cgroupfs.translated(error, f"write {', '.join(values)} to {self._group}/{file}") from error

    def _read(self, file: str) -> str:
        try:
            return self._fs.read(f"{self._group}/{file}")
        except OSError as error:
            raise cgroupfs.translated(error, f"read {self._group}/{file}") from error

    def _optional(self, file: str) -> str:
        """Return what a file says, nothing when the group has no such file."""
        try:
            return self._fs.read(f"{self._group}/{file}")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise cgroupfs.translated(error, f"read {self._group}/{file}") from error
            return ""


def _poll(fd: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLPRI)
    poll.poll(max(0.0, seconds) * 1000)


def _nanoseconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else microseconds * 1000


def _over_devices(text: str, word: str) -> int | None:
    """Add up one number of ``io.stat``, whose lines are ``major:minor rbytes=1 wbytes=2 ...``."""
    found = [pair.partition("=")[2] for pair in text.split() if pair.startswith(f"{word}=")]
    return sum(map(int, found)) if found else None
