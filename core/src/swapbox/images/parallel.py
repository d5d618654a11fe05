"""Layers that are unpacked in parallel, for drivers with the capabilities ``direct`` and ``rebase``.

Each is written into a snapshot without a parent, as soon as its bytes arrive, in whatever order that is; they are
committed in the image's order, each on top of the one before. A layer that another process is at is left to it.
One that refers to the layers below waits for them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from swapbox.images import progress as words
from swapbox.images.crew import Crew, Outcome
from swapbox.images.extract import Work
from swapbox.images.layers import Layer
from swapbox.images.unpack import CLAIM_POLL, Step, Unpacker
from swapbox.images.unpacker import Job

_MOST = 4
_WORTH_IT = 1024 * 1024
"""Bytes beside the largest layer that are worth further processes, each of which takes 30 ms to begin."""


def crew_size(layers: Sequence[Layer], capabilities: frozenset[str]) -> int:
    """Return how many processes are to unpack layers; 1 where this one is enough."""
    sizes = [layer.descriptor.size for layer in layers]
    if not capabilities >= {"direct", "rebase"} or not all(layer.feed for layer in layers):
        return 1
    if sum(sizes) - max(sizes, default=0) < _WORTH_IT:
        return 1
    return min(len(os.sched_getaffinity(0)), len(layers), _MOST)


def unpack(unpacker: Unpacker, steps: Sequence[Step], *, size: int) -> None:
    """Make the committed snapshots of all steps; raises as :func:`swapbox.images.unpack.unpack_layers`."""
    work = _Parallel(unpacker, steps)
    try:
        with Crew(size, report=work.report, warn=unpacker.warn) as crew:
            crew.watch(step.layer.feed for step in steps if step.layer.feed)
            for step in steps:
                work.finish(step, crew)
    except BaseException:
        work.discard()  # now that nobody writes there any more
        raise


class _Parallel:
    """The state of it: a step is ``_waiting`` until it is written to ``_keys``, and then in ``_written``."""

    def __init__(self, unpacker: Unpacker, steps: Sequence[Step]) -> None:
        self._unpacker = unpacker
        self._progress = unpacker.progress
        self._waiting = list(steps)
        self._keys: dict[str, Step] = {}
        self._written: dict[str, Outcome] = {}
        self._left: set[str] = set()
        self._sizes = {step.layer.descriptor.digest: step.layer.descriptor.size for step in steps}

    def report(self, digest: str, taken: int) -> None:
        """Tell the progress how much of a layer was taken."""
        self._progress.layer(digest, words.EXTRACTING, taken, self._sizes[digest])

    def finish(self, step: Step, crew: Crew) -> None:
        """Commit a step whose parent is committed, once it is written; meanwhile write those above it."""
        while step.chain not in self._written:
            left_to_others = self._start(crew)
            if step in self._waiting and self._unpacker.has(step):
                self._waiting.remove(step)
                self._unpacker.end(step)
                return
            self._hear(crew, CLAIM_POLL if left_to_others else None)
        self._start(crew)
        key, size = self._written[step.chain]
        if size is None:
            self._discard(key)
            self._unpacker.unpack_mounted(step)
        else:
            self._unpacker.commit(step, key, size, parent=step.parent)
            del self._keys[key]
        self._unpacker.end(step)

    def _start(self, crew: Crew) -> bool:
        """Start what can be; say whether another process has a claim on what could."""
        left_to_others = False
        for step in list(self._waiting):
            feed = step.layer.feed
            if not crew.idle:
                break
            if feed is None or not feed.begun:
                continue
            if not self._unpacker.claim(step):
                left_to_others = True
                self._leave(step)
            elif not self._unpacker.has(step):
                self._waiting.remove(step)
                self._unpacker.begin(step)
                key, _ = self._unpacker.prepare(step, None)
                self._keys[key] = step
                work = Work(step.layer.descriptor.bare(), step.layer.diff_id, self._unpacker.rules)
                crew.start(key, Job(work, self._unpacker.target(key), step.parent is not None), feed)
        return left_to_others

    def _leave(self, step: Step) -> None:
        """Tell, once, that another process is at a step."""
        if step.chain not in self._left:
            self._left.add(step.chain)
            self._progress.layer(step.layer.descriptor.digest, words.LEFT)

    def _hear(self, crew: Crew, seconds: float | None) -> None:
        for outcome in crew.wait(seconds):
            step = self._keys[outcome.key]
            self._written[step.chain] = outcome

    def discard(self) -> None:
        """Remove what was written and not committed."""
        for key in list(self._keys):
            self._discard(key)

    def _discard(self, key: str) -> None:
        self._unpacker.discard(key)
        del self._keys[key]
