"""What is recorded of a container whose monitor was killed."""

from __future__ import annotations

import os

import pytest

from swapbox.containers.records import RunState
from swapbox.containers.recovery import _last_word
from swapbox.linux.process import Process


@pytest.mark.parametrize(("started", "finished"), [(100, 50), (50, 100)], ids=["as usual", "clock set back"])
@pytest.mark.parametrize(("ended", "code"), [(True, 3), (False, 255)])
def test_only_what_the_monitor_has_seen_is_the_last_word(
    started: int, finished: int, ended: bool, code: int
) -> None:
    init = Process.of(os.getpid())
    state = RunState("running", init, init, exit_code=3, started=started, finished=finished, ended=ended)
    assert _last_word(state).exit_code == code
    assert not _last_word(state).ended
