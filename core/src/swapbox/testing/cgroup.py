"""What every cgroup controller has to do. Subclass :class:`CgroupControllerContract` and give it your controller.

The suite works on a real kernel with real processes; :class:`FakeCgroupfs` lets a driver's own tests look at what
is written, in a temporary folder.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from swapbox.drivers.cgroup import CgroupController, CgroupHandle
from swapbox.errors import AlreadyExists, Conflict, NotFound, SwapboxError, Unsupported
from swapbox.linux.cgroupfs import Cgroupfs
from swapbox.testing.forked import Forked

MEGABYTE = 1 << 20


class FakeCgroupfs(Cgroupfs):
    """A kernel for a temporary folder: gives new groups files, and remembers what is written.

    :param files: what each new group has.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self.writes: list[tuple[str, str]] = []

    def mkdir(self, group: str) -> None:
        """Make a group with files."""
        super().mkdir(group)
        for name, text in self._files.items():
            (Path(group) / name).write_text(text)

    def rmdir(self, group: str) -> None:
        """Remove a group with its files."""
        for entry in Path(group).iterdir():
            if entry.is_file():
                entry.unlink()
        super().rmdir(group)

    def write(self, file: str, *values: str) -> None:
        """Remember the values by the file's name."""
        for value in values:
            self.writes.append((Path(file).name, value))
            super().write(file, value)


class Inmate:
    """A process inside a group that echoes bytes until it is released."""

    def __init__(self, handle: CgroupHandle) -> None:
        request, self._requests = os.pipe()
        self._answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _echo(handle, request, answer, self._requests)
        os.close(request)
        os.close(answer)
        self._status: int | None = None
        assert os.read(self._answers, 1) == b"+", "the process could not join"

    def ask(self) -> None:
        """Send a byte to echo."""
        os.write(self._requests, b"?")

    def answers(self, timeout: float) -> bool:
        """Say whether the echo comes within so many seconds."""
        return bool(select.select([self._answers], [], [], timeout)[0]) and os.read(self._answers, 1) == b"?"

    def wait(self) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def end(self) -> None:
        """Kill it if it still lives, and clean up."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        for fd in (self._requests, self._answers):
            os.close(fd)


def _echo(handle: CgroupHandle, request: int, answer: int, other_end: int) -> None:
    try:
        os.close(other_end)
        handle.join()
        os.write(answer, b"+")
        while byte := os.read(request, 1):
            os.write(answer, byte)
    finally:
        os._exit(0)


class CgroupControllerContract:
    """The cases; those about groups need the capability ``track``."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"track"})

    @pytest.fixture
    def controller(self) -> CgroupController:
        """Return the controller under test."""
        raise NotImplementedError

    @pytest.fixture
    def parent(self, controller: CgroupController) -> Iterator[str]:
        """Return the path below which this test makes its groups."""
        parent = f"swapbox-test-{os.getpid()}"
        yield parent
        for path in (*controller.walk(parent), parent):
            with suppress(NotFound):
                handle = controller.open(path)
                handle.kill()
                handle.delete()

    @pytest.fixture
    def create(self, controller: CgroupController, parent: str) -> Iterator[Callable[..., CgroupHandle]]:
        """Return a function that makes the test's group."""
        handles: list[CgroupHandle] = []

        def create(**resources: Any) -> CgroupHandle:
            for key, reason in controller.missing(resources).items():
                pytest.skip(f"{key} cannot be set here: {reason}")
            handles.append(controller.create(f"{parent}/group", resources))
            return handles[-1]

        yield create
        for handle in handles:
            handle.close()

    @pytest.fixture
    def start(self) -> Iterator[Callable[[CgroupHandle], Inmate]]:
        """Return a function that starts a process in a group."""
        inmates: list[Inmate] = []

        def start(handle: CgroupHandle) -> Inmate:
            inmates.append(Inmate(handle))
            return inmates[-1]

        yield start
        for inmate in inmates:
            inmate.end()

    @pytest.fixture(autouse=True)
    def _tracks(self, request: pytest.FixtureRequest) -> None:
        if "track" not in self.capabilities and "start" in request.fixturenames:
            pytest.skip("the controller has no capability 'track'")

    def test_a_group_is_made_found_and_removed(self, controller: CgroupController, parent: str) -> None:
        handle = controller.create(f"{parent}/group", {})
        assert handle.path == f"{parent}/group"
        assert handle.processes() == []
        if "track" in self.capabilities:
            assert controller.walk(parent) == [f"{parent}/group"]
        handle.delete()
        handle.delete()
        assert controller.walk(parent) == []

    def test_what_was_never_made_is_not_found(self, controller: CgroupController, parent: str) -> None:
        if "track" not in self.capabilities:
            pytest.skip("the controller has no capability 'track'")
        assert controller.walk(parent) == []
        with pytest.raises(NotFound, match=parent):
            controller.open(f"{parent}/group")

    def test_a_removed_group_is_not_found_by_its_handle(
        self, create: Callable[..., CgroupHandle], start: object
    ) -> None:
        handle = create()
        handle.delete()
        for use in (handle.stats, handle.processes, lambda: handle.add(os.getpid()), lambda: handle.update({})):
            with pytest.raises(NotFound, match="group"):
                use()

    def test_handle_and_controller_may_be_closed_twice(
        self, controller: CgroupController, create: Callable[..., CgroupHandle]
    ) -> None:
        handle = create()
        for _ in range(2):
            handle.close()
            controller.close()
        handle.delete()

    def test_what_is_reported_missing_is_refused_and_nothing_is_left(
        self, controller: CgroupController, parent: str
    ) -> None:
        for resources in ({"network": {"classID": 1}}, {"rdma": {"mlx5_1": {"hcaHandles": 1}}}):
            for key in controller.missing(resources):
                assert key.partition(".")[0] in resources
                with pytest.raises(Unsupported, match=key):
                    controller.create(f"{parent}/group", resources)
        assert controller.walk(parent) == []

    def test_a_failed_create_leaves_nothing(self, controller: CgroupController, parent: str) -> None:
        with pytest.raises(SwapboxError, match="cpus"):
            controller.create(f"{parent}/group", {"cpu": {"cpus": "9999"}})
        assert controller.walk(parent) == []

    def test_a_process_that_joins_is_inside(
        self,
        controller: CgroupController,
        create: Callable[..., CgroupHandle],
        start: Callable[[CgroupHandle], Inmate],
    ) -> None:
        handle = create()
        inmate = start(handle)
        assert handle.processes() == [inmate.pid]
        again = controller.open(handle.path)
        assert again.processes() == [inmate.pid]
        again.close()

    def test_a_process_can_be_added(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate], parent: str
    ) -> None:
        handle = create()
        child = Forked(lambda: signal.sigwait([signal.SIGTERM]))
        handle.add(child.pid)
        assert handle.processes() == [child.pid]
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)

    def test_a_group_in_use_is_neither_made_again_nor_removed(
        self,
        controller: CgroupController,
        create: Callable[..., CgroupHandle],
        start: Callable[[CgroupHandle], Inmate],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("swapbox.linux.cgroupfs.PATIENCE", 0.0)
        handle = create()
        inmate = start(handle)
        with pytest.raises(AlreadyExists, match="group"):
            controller.create(handle.path, {})
        with pytest.raises(Conflict, match="group"):
            handle.delete()
        assert controller.open(handle.path).processes() == [inmate.pid]

    def test_a_group_that_a_crash_left_is_made_anew(
        self, controller: CgroupController, create: Callable[..., CgroupHandle], start: object
    ) -> None:
        old = create(pids={"limit": 7})
        new = controller.create(old.path, {})
        assert new.stats().pids_limit is None
        new.close()

    def test_a_frozen_process_does_not_answer_until_it_is_thawed(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate]
    ) -> None:
        handle = create()
        inmate = start(handle)
        handle.freeze()
        inmate.ask()
        assert not inmate.answers(0.1)
        handle.thaw()
        assert inmate.answers(10)

    def test_killing_reaches_frozen_processes_too(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate]
    ) -> None:
        handle = create()
        inmates = [start(handle) for _ in range(3)]
        handle.freeze()
        handle.kill()
        assert [inmate.wait() for inmate in inmates] == [-signal.SIGKILL] * 3
        handle.delete()

    def test_killing_reaches_processes_that_fork_away(
        self, create: Callable[..., CgroupHandle], start: object
    ) -> None:
        handle = create()
        ready, told = os.pipe()
        if os.fork() == 0:
            _hop(handle, told)
        os.read(ready, 1)
        handle.kill()
        handle.delete()
        os.wait()
        os.close(ready)
        os.close(told)

    def test_killing_an_empty_group_is_fine(self, create: Callable[..., CgroupHandle]) -> None:
        create().kill()

    def test_no_more_processes_than_allowed(self, create: Callable[..., CgroupHandle], start: object) -> None:
        handle = create(pids={"limit": 3})
        assert Forked(lambda: _fork_in(handle, 10)).result() == 2

    def test_a_limit_can_be_changed(self, create: Callable[..., CgroupHandle], start: object) -> None:
        handle = create(pids={"limit": 3})
        handle.update({"pids": {"limit": 5}})
        assert Forked(lambda: _fork_in(handle, 10)).result() == 4
        assert handle.stats().pids_limit == 5
        handle.update({"pids": {"limit": -1}})
        assert handle.stats().pids_limit is None

    def test_too_much_memory_is_death_and_is_counted(
        self, create: Callable[..., CgroupHandle], start: object
    ) -> None:
        handle = create(memory={"limit": 32 * MEGABYTE, "swap": 32 * MEGABYTE})
        assert handle.oom_events() == 0
        glutton = os.fork()
        if glutton == 0:
            _devour(handle, 100 * MEGABYTE)
        assert os.waitstatus_to_exitcode(os.waitpid(glutton, 0)[1]) == -signal.SIGKILL
        assert handle.oom_events() >= 1

    def test_memory_limits_are_raised_and_lowered_together(self, create: Callable[..., CgroupHandle]) -> None:
        handle = create(memory={"limit": 32 * MEGABYTE, "swap": 48 * MEGABYTE})
        for limit in (64, 16):
            handle.update({"memory": {"limit": limit * MEGABYTE, "swap": (limit + 8) * MEGABYTE}})
            assert handle.stats().memory_limit == limit * MEGABYTE

    def test_usage_is_counted(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate]
    ) -> None:
        handle = create(pids={"limit": 9}, memory={"limit": 64 * MEGABYTE})
        start(handle)
        stats = handle.stats()
        assert (stats.pids, stats.pids_limit, stats.memory_limit) == (1, 9, 64 * MEGABYTE)
        assert stats.memory is not None
        assert stats.cpu_ns is not None
        assert stats.cpu_ns > 0

    def test_only_the_devices_on_the_list_can_be_opened(
        self, create: Callable[..., CgroupHandle], start: object
    ) -> None:
        handle = create(
            devices=[
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rw"},
                {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"},
            ]
        )
        assert Forked(lambda: _openable_in(handle)).result() == {"null", "null for writing", "zero"}

    def test_cpus_are_pinned_at_creation_and_later(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate]
    ) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        handle = create(cpu={"cpus": str(cpus[0])})
        inmate = start(handle)
        assert os.sched_getaffinity(inmate.pid) == {cpus[0]}
        handle.update({"cpu": {"cpus": str(cpus[-1])}})
        assert os.sched_getaffinity(inmate.pid) == {cpus[-1]}

    def test_an_update_may_be_the_first_to_need_a_controller(
        self,
        controller: CgroupController,
        create: Callable[..., CgroupHandle],
        start: Callable[[CgroupHandle], Inmate],
    ) -> None:
        cpus = {"cpu": {"cpus": str(min(os.sched_getaffinity(0)))}}
        for key, reason in controller.missing(cpus).items():
            pytest.skip(f"{key} cannot be set here: {reason}")
        handle = create()
        inmate = start(handle)
        handle.update(cpus)
        assert os.sched_getaffinity(inmate.pid) == {min(os.sched_getaffinity(0))}


def _hop(handle: CgroupHandle, told: int) -> None:
    """Fork and end, again and again, in the group."""
    try:
        handle.join()
        hops = 0
        while os.fork() == 0:
            hops += 1
            if hops == 10:
                os.write(told, b".")
    finally:
        os._exit(0)


def _fork_in(handle: CgroupHandle, count: int) -> int:
    """Join, fork up to ``count`` children and return how many there could be."""
    handle.join()
    children: list[int] = []
    try:
        for _ in range(count):
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except BlockingIOError:  # EAGAIN
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)


def _devour(handle: CgroupHandle, size: int) -> None:
    """Join and use memory until killed, or end with 0."""
    try:
        handle.join()
        bytearray(b"x") * size
    finally:
        os._exit(0)


def _openable_in(handle: CgroupHandle) -> set[str]:
    """Join and return which devices can be opened."""
    handle.join()
    opened = set()
    for name, path, flags in (
        ("null", "/dev/null", os.O_RDONLY),
        ("null for writing", "/dev/null", os.O_RDWR),
        ("zero", "/dev/zero", os.O_RDONLY),
        ("zero for writing", "/dev/zero", os.O_WRONLY),
        ("full", "/dev/full", os.O_RDONLY),
    ):
        with suppress(PermissionError):
            os.close(os.open(path, flags))
            opened.add(name)
    return opened
