"""Groups come, hold processes, and go."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from swapbox.drivers.cgroup import CgroupController, CgroupHandle
from swapbox.errors import AlreadyExists, Conflict, NotFound, SwapboxError, Unsupported
from swapbox.testing.cgroup.base import Base, Inmate
from swapbox.testing.forked import Forked
from swapbox.testing.process import wait_until


class Groups(Base):
    """The life of a group."""

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

    def test_killing_reaches_a_fork_bomb(self, create: Callable[..., CgroupHandle], start: object) -> None:
        handle = create(pids={"limit": 50})
        bomb = os.fork()
        if bomb == 0:
            _explode(handle)
        wait_until(lambda: (handle.stats().pids or 0) > 30, "the bomb has gone off")
        handle.kill()
        os.waitpid(bomb, 0)
        handle.delete()

    def test_freezing_thawing_and_killing_twice_is_fine(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate]
    ) -> None:
        handle = create()
        inmate = start(handle)
        for act in (handle.freeze, handle.freeze, handle.thaw, handle.thaw):
            act()
        inmate.ask()
        assert inmate.answers(10)
        handle.kill()
        handle.kill()
        inmate.wait()
        handle.delete()

    def test_a_frozen_group_can_be_changed(
        self, create: Callable[..., CgroupHandle], start: Callable[[CgroupHandle], Inmate]
    ) -> None:
        handle = create(pids={"limit": 5})
        inmate = start(handle)
        handle.freeze()
        handle.update({"pids": {"limit": 9}})
        assert handle.stats().pids_limit == 9
        handle.thaw()
        inmate.ask()
        assert inmate.answers(10)

    @pytest.mark.parametrize("point", range(1, 10))
    def test_a_creation_that_was_cut_off_is_made_anew_and_removed(
        self, controller: CgroupController, parent: str, start: object, point: int
    ) -> None:
        resources = {"pids": {"limit": 7}}
        victim = os.fork()
        if victim == 0:
            sys.setprofile(_Deadly(point * 8))
            controller.create(f"{parent}/group", resources)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(victim, 0)
        handle = controller.create(f"{parent}/group", {})
        assert handle.stats().pids_limit is None
        handle.delete()
        assert controller.walk(parent) == []


class _Deadly:
    """Kills the process at its so manieth call of a function."""

    def __init__(self, left: int) -> None:
        self._left = left

    def __call__(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event in ("call", "c_call"):
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def _explode(handle: CgroupHandle) -> None:
    """Join and fork, and so do the children, for ever."""
    try:
        handle.join()
        while True:
            with suppress(BlockingIOError):  # EAGAIN: there are enough
                os.fork()
    finally:
        os._exit(0)


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
