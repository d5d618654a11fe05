"""A process of :class:`swapbox.images.crew.Crew`: unpacks one layer after the other, as it is told.

It speaks over a socket, one pickled tuple a message. It is told a :class:`Job` and given the open blob; it asks
how many bytes of the blob there are, and tells how far it is and how it ended.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
from typing import Any, NamedTuple

from swapbox.drivers.storage import LayerTarget
from swapbox.errors import SwapboxError
from swapbox.images.apply import NeedsLower
from swapbox.images.extract import Work, extract, write_layer
from swapbox.linux import syscalls

MESSAGE = 64 * 1024
"""Bytes of a message at most."""

_TEXT = 4096
"""Characters of a text in a message at most: it may quote names from the layer, which can be of any length."""

_BUFFER = 256 * 1024


class Job(NamedTuple):
    """A layer, and where it goes.

    :param work: with a descriptor of bounded length: see :meth:`swapbox.descriptors.Descriptor.bare`.
    """

    work: Work
    target: LayerTarget
    has_lower: bool


def main(fd: int) -> None:
    """Work until the other end of the socket is closed, or its process is gone."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    syscalls.prctl_name("swapbox-unpack")
    with socket.socket(fileno=fd) as parent:
        while True:
            data, fds, *_ = socket.recv_fds(parent, MESSAGE, 1)
            if not data:
                return
            _send(parent, _outcome(pickle.loads(data), fds[0], parent))


def _outcome(job: Job, fd: int, parent: socket.socket) -> tuple[object, ...]:
    blob = io.BufferedReader(_Growing(fd, parent), _BUFFER)
    try:
        size = extract(
            blob,
            job.work,
            lambda _, source: write_layer(
                source,
                job.target,
                job.work.rules,
                has_lower=job.has_lower,
                warn=lambda text: _send(parent, ("warn", text)),
            ),
            report=lambda taken: _send(parent, ("taken", taken)),
        )
    except NeedsLower:
        return ("needs lower",)
    except SwapboxError as error:
        return _failure(error)
    except Exception as error:
        return ("broken", f"{type(error).__name__}: {error}")
    return ("done", size)


def _failure(error: SwapboxError) -> tuple[object, ...]:
    """Return the message about an error, with what its cause says: pickle leaves causes out."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    return ("failed", type(error), error.message, error.hint, number)


def failed(kind: type[SwapboxError], message: str, hint: str | None, number: int | None) -> SwapboxError:
    """Return the error that a message ``failed`` is about.

    :param number: the errno of the error that was its cause.
    """
    error = kind(message, hint=hint)
    if number is not None:
        error.__cause__ = OSError(number, os.strerror(number))
    return error


def _send(parent: socket.socket, message: tuple[Any, ...]) -> None:
    parent.send(pickle.dumps(tuple(one[:_TEXT] if isinstance(one, str) else one for one in message)))


class _Growing(io.RawIOBase):
    """Reads a growing file no further than the other process allows."""

    def __init__(self, fd: int, parent: socket.socket) -> None:
        self._fd = fd
        self._parent = parent
        self._position = self._there = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if self._position == self._there:
            _send(self._parent, ("wait", self._position))
            self._there = pickle.loads(self._parent.recv(MESSAGE))
        most = self._there - self._position
        count = os.preadv(self._fd, [memoryview(buffer)[:most]], self._position) if most > 0 else 0
        self._position += count
        return count

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()
