"""Waiting in a driver that is called for a transfer: whoever gives the transfer up ends the wait.

A registry says when to come back. A thread that waits for that in ``time.sleep`` keeps a pull which has failed
elsewhere from ending; one that waits in :func:`pause` does not.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_pause: ContextVar[Callable[[float], object]] = ContextVar("pause", default=time.sleep)


def pause(seconds: float) -> None:
    """Wait so many seconds.

    Raises whatever the caller ends its threads with when they work for nothing any more: let it pass.
    """
    _pause.get()(seconds)


@contextlib.contextmanager
def pausing_by(wait: Callable[[float], object]) -> Iterator[None]:
    """Let :func:`pause` in this thread be another function inside the block."""
    token = _pause.set(wait)
    try:
        yield
    finally:
        _pause.reset(token)
