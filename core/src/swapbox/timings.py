"""Where the time of a command goes: ``--timings``. It imports nothing of ours, and next to nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Timings:
    """Shares the time of a process out between named spans, so that they add up to the whole.

    :param first: what the process does at first.
    :param began: when it began, on the monotonic clock in nanoseconds; None for now.
    :param clock: the monotonic clock.
    """

    def __init__(
        self, first: str, *, began: int | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._clock = clock
        self._began = self._last = clock() if began is None else began
        self._spans = [first]
        self.parts: dict[str, int] = {}
        """Nanoseconds by name, in the order of the first use."""
        self.monitor: dict[str, int] = {}
        """The same of the monitor that worked for this process."""

    @property
    def phase(self) -> str:
        """What the process does when it is in no span."""
        return self._spans[0]

    def begin(self, phase: str) -> None:
        """Let the next phase begin."""
        self._charge()
        self._spans[0] = phase

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Charge what happens in the block to a name, but for inner spans, which count for themselves."""
        self._charge()
        self._spans.append(name)
        try:
            yield
        finally:
            self._charge()
            self._spans.pop()

    def total(self) -> int:
        """Return the nanoseconds since it began; they are all shared out now."""
        self._charge()
        return self._last - self._began

    def add_monitor(self, parts: Mapping[str, int]) -> None:
        """Take over what a monitor tells; it may tell more than once."""
        self.monitor.update(parts)

    def _charge(self) -> None:
        now, name = self._clock(), self._spans[-1]
        self.parts[name] = self.parts.get(name, 0) + now - self._last
        self._last = now
