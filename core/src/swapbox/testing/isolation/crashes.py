"""A caller that is killed at any moment of an operation leaves the whole thing, or what ``delete`` clears away."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Literal

import pytest

from swapbox.errors import Conflict, NotFound
from swapbox.testing.box import Box, Output, wait
from swapbox.testing.isolation.base import Base

Verb = Literal["create", "start", "exec", "delete"]
POINTS = 6
INSTANTS = (0.001, 0.01)  # seconds
_PATIENCE = 40  # seconds until SIGALRM ends who waits for what never ends


class Crashes(Base):
    """Killed at calls spread over the operation, and at instants, while a runtime may be at work."""

    @pytest.fixture(scope="class")
    @classmethod
    def counted(cls) -> dict[Verb, int]:
        """How many calls each operation takes; counted once."""
        return {}

    @pytest.mark.parametrize("point", range(POINTS))
    @pytest.mark.parametrize("verb", ["create", "start", "exec", "delete"])
    def test_a_caller_killed_at_a_call_leaves_nothing_that_cannot_be_cleared(
        self, box: Box, counted: dict[Verb, int], verb: Verb, point: int
    ) -> None:
        if verb not in counted:
            counted[verb] = int(box.monitored(lambda: Output(0, str(_count_calls(box, verb)), "")).out)
        self._killed(box, verb, lambda: _die_at_call(counted[verb] * point // POINTS))

    @pytest.mark.parametrize("instant", INSTANTS)
    @pytest.mark.parametrize("verb", ["create", "start", "exec", "delete"])
    def test_a_caller_killed_at_an_instant_leaves_nothing_that_cannot_be_cleared(
        self, box: Box, verb: Verb, instant: float
    ) -> None:
        self._killed(box, verb, lambda: _die_after(instant))

    def _killed(self, box: Box, verb: Verb, doom: Callable[[], object]) -> None:
        def act() -> Output:
            _prepare(box, verb)
            victim = _fork(lambda: _doomed(box, verb, doom))
            wait(victim)
            _clear(box)
            return box.run_here("/bin/echo", "again")

        assert box.monitored(act) == Output(0, "again\n", "")


def _prepare(box: Box, verb: Verb) -> None:
    if verb == "create":
        return
    box.create("/bin/sleep", "1000")
    if verb != "start":
        box.driver.start(box.id)


def _do(box: Box, verb: Verb) -> None:
    driver = box.factory(box.context)
    if verb == "create":
        box.create("/bin/sleep", "1000")
    elif verb == "start":
        driver.start(box.id)
    elif verb == "exec":
        box.exec_here("/bin/true")
    else:
        driver.delete(box.id, force=True)


def _count_calls(box: Box, verb: Verb) -> int:
    """Return how many calls of functions an operation takes, from doing it in another process."""
    _prepare(box, verb)
    result, told = os.pipe()

    def count() -> None:
        counter = _Counter()
        sys.setprofile(counter)
        _do(box, verb)
        sys.setprofile(None)
        os.write(told, b"%d" % counter.calls)

    wait(_fork(count))
    _clear(box)
    calls = int(os.read(result, 20))
    os.close(result)
    os.close(told)
    return calls


class _Counter:
    """Counts calls in this process, not in its children; kills it at one of them."""

    def __init__(self, deadly: int = -1) -> None:
        self.calls = 0
        self._deadly, self._pid = deadly, os.getpid()

    def __call__(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event in ("call", "c_call"):
            self.calls += 1
            if self.calls == self._deadly and os.getpid() == self._pid:
                os.kill(self._pid, signal.SIGKILL)


def _die_at_call(number: int) -> None:
    sys.setprofile(_Counter(max(number, 1)))


def _die_after(seconds: float) -> None:
    # Without a handler it is as good as SIGKILL.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _doomed(box: Box, verb: Verb, doom: Callable[[], object]) -> None:
    doom()
    _do(box, verb)


def _clear(box: Box) -> None:
    """Do what an engine does with what it finds: delete it, and see that every process ends.

    Not in this process: what the victim has left is this process' child now, and dead processes of a pid namespace
    keep its init from ending until they are waited for.
    """
    deleter = _fork(lambda: _delete(box))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_PATIENCE)
    code = None
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            break
        if pid == deleter:
            code = os.waitstatus_to_exitcode(status)
    signal.alarm(0)
    assert code == 0, "the deletion failed"


def _delete(box: Box) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_PATIENCE)
    driver = box.factory(box.context)
    with suppress(NotFound):
        assert driver.state(box.id).status in ("creating", "created", "running", "stopped")
        try:
            driver.delete(box.id)
        except Conflict:
            driver.delete(box.id, force=True)


def _fork(function: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return pid
