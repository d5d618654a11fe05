"""What ``pull`` and ``push`` print meanwhile: bars in a terminal, else one line per change of a layer's state."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import click

from swapbox.images import progress as words

if TYPE_CHECKING:
    from swapbox.cli.bars import Bars

_SILENT = frozenset({"Downloading", "Extracting", "Pushing"})


def shown(*, err: bool = False) -> Lines | Bars:
    """Return what shows a pull's progress on stdout, or on stderr."""
    if not os.isatty(2 if err else 1):
        return Lines(err=err)
    from swapbox.cli.bars import Bars

    return Bars(2 if err else 1)


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


class Loading:
    """Tells bars of what comes from a file: layers are loaded, not pulled."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._totals: dict[str, int] = {}

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        """Draw the layer's line anew."""
        total = self._totals.setdefault(digest, total)
        self._bars.layer(digest, words.LOADING, total if status == words.PULLED else current, total)

    def message(self, text: str) -> None:
        """Print a line."""
        self._bars.message(text)
