"""Every operation in every state, once and again, against a table of what has to come of it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import pytest

from swapbox.errors import AlreadyExists, Conflict, NotFound, SwapboxError
from swapbox.testing.box import Box, wait
from swapbox.testing.isolation.base import Base

State = Literal["none", "created", "running", "stopped"]
Verb = Literal["create", "start", "exec", "kill", "state", "delete", "force"]
STATES: tuple[State, ...] = ("none", "created", "running", "stopped")
VERBS: tuple[Verb, ...] = ("create", "start", "exec", "kill", "state", "delete", "force")
STEPS = 20

# What comes of a verb in a state: the next state, or an error and no change. Left out: nothing changes.
TABLE: Mapping[tuple[State, Verb], State | type[SwapboxError]] = {
    **{("none", verb): NotFound for verb in VERBS},
    ("none", "create"): "created",
    ("created", "create"): AlreadyExists,
    ("created", "start"): "running",
    ("created", "exec"): Conflict,
    ("created", "kill"): "stopped",
    ("created", "delete"): Conflict,
    ("created", "force"): "none",
    ("running", "create"): AlreadyExists,
    ("running", "start"): Conflict,
    ("running", "kill"): "stopped",
    ("running", "delete"): Conflict,
    ("running", "force"): "none",
    ("stopped", "create"): AlreadyExists,
    ("stopped", "start"): Conflict,
    ("stopped", "exec"): Conflict,
    ("stopped", "kill"): Conflict,
    ("stopped", "delete"): "none",
    ("stopped", "force"): "none",
}


class Outcome(NamedTuple):
    """What a step has led to."""

    state: str
    error: str


class Walker:
    """Takes a container through states, in its monitor."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.init = 0

    def go(self, state: State) -> None:
        """Bring a container that is not there yet into a state."""
        path: Mapping[State, tuple[Verb, ...]] = {
            "none": (),
            "created": ("create",),
            "running": ("create", "start"),
            "stopped": ("create", "start", "kill"),
        }
        for verb in path[state]:
            self.step(verb)

    def step(self, verb: Verb) -> Outcome:
        """Do something, and look."""
        error = ""
        try:
            self._verbs()[verb]()
        except SwapboxError as raised:
            error = type(raised).__name__
        return Outcome(self.state(), error)

    def state(self) -> str:
        """Return the container's state."""
        try:
            return self.box.driver.state(self.box.id).status
        except NotFound:
            return "none"

    def end(self) -> None:
        """Leave nothing."""
        if self.state() != "none":
            self.step("force")

    def _verbs(self) -> Mapping[Verb, Callable[[], object]]:
        box, driver = self.box, self.box.driver
        return {
            "create": self._create,
            "start": lambda: driver.start(box.id),
            "exec": lambda: box.exec_here("/bin/true"),
            "kill": self._kill,
            "state": lambda: driver.state(box.id),
            "delete": lambda: driver.delete(box.id),
            "force": self._force,
        }

    def _create(self) -> None:
        self.init = self.box.create("/bin/sleep", "1000")

    def _kill(self) -> None:
        self.box.driver.kill(self.box.id, signal.SIGKILL)
        self._reap()

    def _force(self) -> None:
        self.box.driver.delete(self.box.id, force=True)
        self._reap()

    def _reap(self) -> None:
        if self.init:
            wait(self.init)
            self.init = 0


def expected(state: State, verb: Verb) -> Outcome:
    """Return what the table says."""
    result = TABLE.get((state, verb), state)
    return Outcome(state, result.__name__) if isinstance(result, type) else Outcome(result, "")


class States(Base):
    """The table holds."""

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("state", STATES)
    def test_each_operation_in_each_state_and_once_more(self, box: Box, state: State, verb: Verb) -> None:
        def act() -> list[Outcome]:
            walker = Walker(box)
            walker.go(state)
            seen = [walker.step(verb), walker.step(verb)]
            walker.end()
            return seen

        first = expected(state, verb)
        then: State = next(name for name in STATES if name == first.state)
        assert box.monitored(act) == [first, expected(then, verb)]

    @pytest.mark.parametrize("seed", range(3))
    def test_a_random_walk_follows_the_table(self, box: Box, seed: int) -> None:
        verbs = random.Random(seed).choices(VERBS, k=STEPS)

        def act() -> list[Outcome]:
            walker = Walker(box)
            seen = [walker.step(verb) for verb in verbs]
            walker.end()
            return seen

        state: State = "none"
        wanted: list[Outcome] = []
        for verb in verbs:
            wanted.append(expected(state, verb))
            state = next(name for name in STATES if name == wanted[-1].state)
        assert box.monitored(act) == wanted

    def test_of_many_deletions_at_once_one_does_it(self, box: Box) -> None:
        def act() -> list[int]:
            init = self.started(box, "/bin/sleep", "1000")
            codes = [wait(pid) for pid in [_forked(lambda: _delete(box)) for _ in range(4)]]
            wait(init)
            return codes

        codes = box.monitored(act)
        assert 0 in codes
        assert set(codes) <= {0, 1}  # 1: there is nothing any more


def _delete(box: Box) -> int:
    try:
        box.factory(box.context).delete(box.id, force=True)
    except NotFound:
        return 1
    return 0


def _forked(function: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = function()
        finally:
            os._exit(code)
    return pid
