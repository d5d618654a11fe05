"""What ``pull`` prints while it goes on: one line per change of a layer's state, as Docker does when piped."""

from __future__ import annotations

import threading

import click

_SILENT = frozenset({"Downloading", "Extracting"})


class Lines:
    """Prints state changes.

    :param err: to stderr instead of stdout.
    """

    def __init__(self, *, err: bool = False) -> None:
        self._err = err
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        """Print a layer's new state; bytes are for a terminal's bars."""
        with self._lock:
            if status in _SILENT or self._last.get(digest) == status:
                return
            self._last[digest] = status
            click.echo(f"{digest.partition(':')[2][:12]}: {status}", err=self._err)

    def message(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            click.echo(text, err=self._err)
