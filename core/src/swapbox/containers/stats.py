"""``stats``: what containers use, from two looks at their cgroups."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from swapbox.drivers.cgroup import CgroupStats
from swapbox.errors import NotFound
from swapbox.paths import cgroup_path

if TYPE_CHECKING:
    from swapbox.containers.listing import Listed
    from swapbox.containers.records import Container
    from swapbox.engine import Engine
    from swapbox.linux.process import Process


class Subject(NamedTuple):
    """A container to look at.

    :param shown: how the user has named it.
    :param init: None when it does not run.
    """

    shown: str
    id: str
    name: str
    cgroup: str
    init: Process | None

    @classmethod
    def of(cls, container: Container, shown: str) -> Subject:
        """Make one of a container that was asked for."""
        init = container.state.init if container.state.running else None
        return cls(shown, container.id, container.name, container.config.cgroup, init)

    @classmethod
    def of_list(cls, container: Listed) -> Subject:
        """Make one of a container in a list."""
        init = container.state.init if container.running else None
        return cls(container.id[:12], container.id, container.name, str(container.config["cgroup"]), init)


class Sample(NamedTuple):
    """One look at one container.

    :param time: nanoseconds of a clock that is never set.
    :param cgroup: None when it does not run.
    :param received: bytes over its network interfaces.
    """

    time: int
    cgroup: CgroupStats | None = None
    received: int = 0
    sent: int = 0


class Usage(NamedTuple):
    """What a container uses: per cent of one processor, bytes, counts; None where the host does not say."""

    subject: Subject
    cpu: float | None
    memory: int | None
    memory_limit: int | None
    received: int
    sent: int
    read: int | None
    written: int | None
    pids: int | None

    @property
    def memory_share(self) -> float | None:
        """Per cent of the limit."""
        if self.memory is None or self.memory_limit is None:
            return None
        return self.memory * 100 / self.memory_limit if self.memory_limit else 0.0


class Sampler:
    """Looks at containers again and again; a look costs some ten small files per container, and no process.

    Nothing is held open between two looks.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._before: dict[str, Sample] = {}
        self._memory = _host_memory()
        self._host_network = _namespace("self")

    def look(self, subjects: Iterable[Subject]) -> list[Usage]:
        """Return the usage of each; of a container that is new, no processor time."""
        samples = [(subject, self._sample(subject)) for subject in subjects]
        usages = [self._usage(subject, sample) for subject, sample in samples]
        self._before = {subject.id: sample for subject, sample in samples}
        return usages

    def _sample(self, subject: Subject) -> Sample:
        if subject.init is None:
            return Sample(time.monotonic_ns())
        received, sent = self._traffic(subject.init)
        stats = self._stats(subject)
        return Sample(time.monotonic_ns(), stats, received, sent)

    def _stats(self, subject: Subject) -> CgroupStats | None:
        controller = self._engine.selector.open("cgroup", made_with=subject.cgroup)
        with contextlib.suppress(NotFound):  # it has just ended
            handle = controller.open(cgroup_path(subject.id))
            try:
                return handle.stats()
            finally:
                handle.close()
        return None

    def _traffic(self, init: Process) -> tuple[int, int]:
        """Return the bytes received and sent in the container's own network namespace (proc_pid_net(5))."""
        if _namespace(str(init.pid)) in ("", self._host_network):
            return 0, 0
        try:
            with open(f"/proc/{init.pid}/net/dev", encoding="ascii", errors="replace") as file:
                return traffic(file.readlines())
        except OSError:  # it has just ended
            return 0, 0

    def _usage(self, subject: Subject, sample: Sample) -> Usage:
        if sample.cgroup is None:
            return Usage(subject, 0.0, 0, 0, 0, 0, 0, 0, 0)
        stats, before = sample.cgroup, self._before.get(subject.id)
        memory = stats.memory
        if memory is not None and (stats.memory_cache or 0) < memory:
            memory -= stats.memory_cache or 0
        return Usage(
            subject=subject,
            cpu=_processor(before, sample),
            memory=memory,
            memory_limit=min(stats.memory_limit or self._memory, self._memory),
            received=sample.received,
            sent=sample.sent,
            read=stats.io_read,
            written=stats.io_write,
            pids=stats.pids,
        )


def traffic(lines: Sequence[str]) -> tuple[int, int]:
    """Return the bytes received and sent over all interfaces but the loopback; lines of ``/proc/net/dev``."""
    received = sent = 0
    for line in lines[2:]:
        name, _, rest = line.partition(":")
        fields = rest.split()
        if name.strip() != "lo":
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def _processor(before: Sample | None, now: Sample) -> float | None:
    """Return per cent of one processor."""
    assert now.cgroup is not None
    if now.cgroup.cpu_ns is None:
        return None
    if before is None or before.cgroup is None or before.cgroup.cpu_ns is None or before.time == now.time:
        return 0.0
    return max(0, now.cgroup.cpu_ns - before.cgroup.cpu_ns) * 100 / (now.time - before.time)


def _namespace(process: str) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/net")
    except OSError:
        return ""


def _host_memory() -> int:
    """Return the bytes of this host's memory (proc_meminfo(5))."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
