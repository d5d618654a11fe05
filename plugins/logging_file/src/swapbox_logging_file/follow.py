"""Wait until something happens in a directory: inotify(7) by ctypes."""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path

_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_EVENTS = 1 << 16
_PATIENCE = 0.05


class Watch:
    """Wakes when a file in ``directory`` grows, appears or is renamed.

    Where inotify is exhausted (``fs.inotify.max_user_instances``), it wakes every 50 ms.
    """

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLIN)
            libc.inotify_add_watch(self._fd, os.fsencode(directory), _MODIFY | _MOVED_TO | _CREATE)

    def wait(self) -> None:
        """Return at the next event, those since the last call included, and after 50 ms at the latest."""
        if self._fd < 0:
            time.sleep(_PATIENCE)
        elif self._poll.poll(_PATIENCE * 1000):
            os.read(self._fd, _EVENTS)

    def close(self) -> None:
        """Close the descriptor; calling it twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
