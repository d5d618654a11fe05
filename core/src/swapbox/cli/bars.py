"""What ``pull`` draws in a terminal: a line a layer with how far it is, as Docker does."""

from __future__ import annotations

import os
import threading
import time

from swapbox.cli.units import human_size
from swapbox.images import progress as words

_BAR = 50
_WIDE = 110
"""A terminal must have more columns than this for bars, as with Docker."""
_SECONDS = 0.1
_WITH_BAR = frozenset({words.DOWNLOADING, words.EXTRACTING, words.LOADING, words.PUSHING})
_UNFINISHED = frozenset({words.PULLING, words.WAITING, words.DOWNLOADING, words.VERIFYING})


class Bars:
    """Draws on a terminal with the cursor movements of ECMA-48 that every terminal knows.

    The cursor rests below the last line. Lines that have scrolled out of sight are left as they are.

    :param fd: the terminal.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[str] = []  # keys of layers; "" for a message
        self._states: dict[str, tuple[str, int, int]] = {}
        self._drawn: dict[str, float] = {}
        self._lock = threading.Lock()

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        """Draw a layer's line anew, if that is worth it."""
        key, now = digest.partition(":")[2][:12], time.monotonic()
        with self._lock:
            before = self._states.get(key, ("", 0, 0))
            if status == words.EXTRACTING and before[0] in _UNFINISHED:
                return  # both go on at once here; what is behind is what one waits for
            self._states[key] = (status, current, total)
            if status == before[0] and current < total and now < self._drawn.get(key, 0) + _SECONDS:
                return
            self._drawn[key] = now
            self._draw(key)

    def message(self, text: str) -> None:
        """Print a line below."""
        with self._lock:
            self._lines += [""] * (text.count("\n") + 1)
            self._write(f"{text}\n")

    def _draw(self, key: str) -> None:
        columns, rows = self._size()
        text = line(key, *self._states[key], columns=columns)
        if key not in self._lines:
            self._lines.append(key)
            self._write(f"{text}\n")
            return
        up = len(self._lines) - self._lines.index(key)
        if up < rows:
            self._write(f"\x1b[{up}A\r\x1b[2K{text}\r\x1b[{up}B")

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._fd)
        except OSError:  # it hung up
            return 80, 24
        return size.columns or 80, size.lines or 24

    def _write(self, text: str) -> None:
        data = memoryview(text.encode())
        while data:
            data = data[os.write(self._fd, data) :]


def line(key: str, status: str, current: int, total: int, *, columns: int) -> str:
    """Return a layer's line: a bar when there is room, and never more than a line."""
    text = f"{key}: {status}"
    if status in _WITH_BAR and (current > 0 or total > 0):
        text = f"{text} {_amount(current, total, bar=columns > _WIDE)}"
    return text[: columns - 1]


def _amount(current: int, total: int, *, bar: bool) -> str:
    done = human_size(current)
    if total <= 0:
        return f"{done:>8}"
    filled = min(_BAR, current * 100 // total // 2)
    box = f"[{'=' * filled}>{' ' * (_BAR - filled)}] " if bar else ""
    return f"{box}{done:>8}" + (f"/{human_size(total)}" if current <= total else "")
