"""Signals of an attached command: passed on to the container, or kept."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import click

from swapbox.errors import ForcedExit

_PATIENCE = 3
_ENDING = (signal.SIGINT, signal.SIGTERM)
_KEPT = ("KILL", "STOP", "CHLD", "PIPE", "URG", "WINCH", "TTIN", "TTOU", "SEGV", "BUS", "FPE", "ILL", "TRAP")


class SignalProxy:
    """Catches the signals that are for the container; they wait here until it runs and they are passed on.

    :param forward: False for Docker's ``--sig-proxy=false``: nothing is passed on, but it still takes three
        interrupts or requests to end to leave the container alone.
    :param leaves: the first interrupt or request to end leaves, as with Docker's ``exec``.
    """

    def __init__(self, *, forward: bool = True, leaves: bool = False) -> None:
        self._numbers = _proxied() if forward and not leaves else list(_ENDING)
        self._forward = forward
        self.leaves = leaves
        self._waiting: list[int] = []
        self._endings = 0
        self._before: dict[int, Any] = {}
        self._wake = -1

    @contextlib.contextmanager
    def installed(self) -> Iterator[SignalProxy]:
        """Catch signals inside the block."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with handlers(dict.fromkeys(self._numbers, self._caught)) as self._before:
                yield self
        finally:
            os.close(self._wake)

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        """Let signals end this process inside the block: there is no container yet."""
        with handlers(self._before):
            yield

    def fileno(self) -> int:
        """Return the descriptor that is readable when signals wait."""
        return self._wake

    def take(self) -> list[int]:
        """Return the signals that have come, the first one first."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        taken = []
        while self._waiting:  # one at a time: more may come in between
            taken.append(self._waiting.pop(0))
        return taken

    def _caught(self, number: int, _frame: object) -> None:
        """Note a signal; a handler runs in the middle of anything, so more than this is not done in it."""
        self._endings += number in _ENDING
        if self._endings == _PATIENCE:
            # A container's first process ignores what it does not handle, so a user could never get out.
            click.echo(f"\ngot {self._endings} SIGTERM/SIGINTs, forcefully exiting", err=True)
            raise ForcedExit
        if self._forward:
            self._waiting.append(number)
            os.eventfd_write(self._wake, 1)


def _proxied() -> list[int]:
    """Return every signal that means something to the container, as Docker's ``--sig-proxy`` does.

    Those that stop a background job that uses the terminal are not among them: they are between this process and
    its shell. SIGWINCH has its own way.
    """
    return sorted(signal.valid_signals() - {getattr(signal, f"SIG{name}") for name in _KEPT})


@contextlib.contextmanager
def handlers(wanted: dict[int, Any]) -> Iterator[dict[int, Any]]:
    """Handle signals so inside the block; gives the handlers there were."""
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
