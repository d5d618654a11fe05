"""Wait until something happens in a directory: inotify(7) by ctypes."""

from __future__ import annotations

import ctypes
import os
import select
from pathlib import Path

from swapbox.errors import Unavailable

_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100
_BUFFER = 1 << 16


class Watch:
    """Tells when a file in a directory grows, appears or is renamed.

    :raises Unavailable: this user has all the watches the host allows.
    """

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        wanted = _MODIFY | _MOVED_TO | _CREATE
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(directory), wanted) < 0:
            reason = os.strerror(ctypes.get_errno()).lower()
            self.close()
            raise Unavailable(
                f"cannot watch {directory}: {reason}", hint="see fs.inotify.max_user_instances, sysctl(8)"
            )

    def wait(self, seconds: float | None) -> bool:
        """Wait for a change, those since the last call included; False when there was none in so many seconds."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(None if seconds is None else seconds * 1000):
            return False
        os.read(self._fd, _BUFFER)  # what has changed is found by looking
        return True

    def close(self) -> None:
        """Close the descriptor; calling it twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
