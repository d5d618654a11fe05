"""This process' own terminal: its size, and its raw mode while a container has it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import signal
import struct
import termios
from collections.abc import Callable, Iterator
from typing import Any

from swapbox.cli.app import ClientError
from swapbox.cli.signals import handlers


@contextlib.contextmanager
def raw_terminal(*, wanted: bool) -> Iterator[None]:
    """Put the terminal on stdin into raw mode inside the block, and back whatever happens.

    What was typed before stays (TCSANOW). In the background this stops the process (SIGTTOU) until it is brought
    to the foreground. Signals that nobody catches end this process only after the terminal is restored.
    """
    if not wanted or not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    restore = functools.partial(_set_attributes, before)
    with _restored_at_death(restore):
        raw = termios.tcgetattr(0)
        _make_raw(raw)
        _set_attributes(raw)
        try:
            yield
        finally:
            restore()


def _set_attributes(attributes: list[Any]) -> None:
    while True:
        try:
            return termios.tcsetattr(0, termios.TCSANOW, attributes)
        except termios.error as error:
            if error.args[0] != errno.EINTR:  # the handler of SIGCONT: we were stopped, and go on
                return None  # EIO: the terminal has hung up, there is nothing to set


@contextlib.contextmanager
def _restored_at_death(restore: Callable[[], None]) -> Iterator[None]:
    """Restore the terminal before a signal ends this process that it does not handle."""

    def die(number: int, _frame: object) -> None:
        restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    deadly = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    unhandled = (signal.SIG_DFL, signal.default_int_handler)
    with handlers({number: die for number in deadly if signal.getsignal(number) in unhandled}):
        yield


def _make_raw(attributes: list[Any]) -> None:
    """Change a terminal's attributes as cfmakeraw(3) does."""
    t = termios
    attributes[0] &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
    attributes[1] &= ~t.OPOST
    attributes[2] = attributes[2] & ~(t.CSIZE | t.PARENB) | t.CS8
    attributes[3] &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
    attributes[6][t.VMIN], attributes[6][t.VTIME] = 1, 0


def check_terminal(*, tty: bool) -> None:
    """Refuse to carry a stdin that is no terminal to a container's terminal, as Docker's client does.

    :raises ClientError: it would.
    """
    if tty and not os.isatty(0):
        raise ClientError("the input device is not a TTY")


def terminal_size(fd: int) -> tuple[int, int] | None:
    """Return (rows, columns) of a terminal; None when it is none or does not say."""
    try:
        rows, columns, *_ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (rows, columns) if rows and columns else None
