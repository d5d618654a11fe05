"""Limits that bite, and what is counted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from swapbox.drivers.cgroup import CgroupController, CgroupHandle
from swapbox.testing.cgroup.base import MEGABYTE, Base, Inmate
from swapbox.testing.forked import Forked
from swapbox.testing.process import wait_until


class Limits(Base):
    """Limits and statistics."""

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

    def test_a_quota_throttles_and_use_grows(self, create: Callable[..., CgroupHandle], start: object) -> None:
        handle = create(cpu={"quota": 5000, "period": 100_000})
        spinner = os.fork()
        if spinner == 0:
            _spin(handle)
        try:
            wait_until(lambda: (handle.stats().cpu_throttled_ns or 0) > 0, "it was throttled")
            before = handle.stats().cpu_ns or 0
            wait_until(lambda: (handle.stats().cpu_ns or 0) > before, "its use has grown")
        finally:
            os.kill(spinner, signal.SIGKILL)
            os.waitpid(spinner, 0)

    def test_a_lower_memory_limit_bites_at_once_and_only_who_takes_too_much(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate]
    ) -> None:
        handle = create(memory={"limit": 128 * MEGABYTE, "swap": 128 * MEGABYTE})
        inmate = start(handle)
        assert _glutton(handle) == 0
        assert handle.oom_events() == 0
        handle.update({"memory": {"limit": 32 * MEGABYTE, "swap": 32 * MEGABYTE}})
        assert _glutton(handle) == -signal.SIGKILL
        assert handle.oom_events() >= 1
        inmate.ask()
        assert inmate.answers(10)


def _glutton(handle: CgroupHandle) -> int:
    pid = os.fork()
    if pid == 0:
        _devour(handle, 64 * MEGABYTE)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _spin(handle: CgroupHandle) -> None:
    """Join and compute for ever."""
    try:
        handle.join()
        while True:
            pass
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
