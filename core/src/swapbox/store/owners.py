"""Who needs something that nothing refers to yet: a process, named so that it can be seen to be gone."""

from __future__ import annotations

import os

from swapbox.linux.process import Process

OWNER_LABEL = "swapbox.owner"
"""The label of a snapshot that was made for a layer or container that is not recorded yet."""


def owner() -> str:
    """Return the calling process as text."""
    process = Process.of(os.getpid())
    return f"{process.pid}.{process.start}"


def is_gone(owner: str) -> bool:
    """Say whether a process that :func:`owner` named has ended; what follows a second dot does not matter."""
    pid, start, *_ = owner.split(".")
    return not Process(int(pid), int(start)).alive()
