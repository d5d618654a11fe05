"""Watching directories."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from swapbox.errors import Unavailable
from swapbox.linux.watch import Watch


def test_a_watch_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        with pytest.raises(Unavailable, match="too many open files"):
            Watch(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
