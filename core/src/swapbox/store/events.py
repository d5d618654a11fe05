"""What has happened to containers, images, volumes and networks: a line of JSON each, in a file on tmpfs.

Writing an event is on the way of every verb: one open, one append, no lock, no sync, some ten microseconds. Two
files bound the space: when ``current`` is full, it becomes ``previous``. They end with a reboot, as Docker's end
with its daemon. See docs/decisions/0010-events-are-lines-on-tmpfs.md.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swapbox.paths import make_private

LIMIT = 1 << 20
"""Bytes after which a new file is begun: the last three thousand events or more are there."""

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_BLOCK = 1 << 16


class Event(NamedTuple):
    """Something that happened; docs/events.md lists what does.

    :param type: ``container``, ``image``, ``volume`` or ``network``.
    :param action: Docker's word for it: ``create``, ``start``, ``die``, ``pull``.
    :param id: of the container or image; the name of a volume.
    :param time: nanoseconds since the epoch.
    :param attributes: with the labels of the container or image.
    """

    type: str
    action: str
    id: str
    time: int
    attributes: Mapping[str, str]


class EventLog:
    """The events of one run root.

    :param directory: holds the files; made when it is needed.
    :param limit: see :data:`LIMIT`.
    """

    def __init__(self, directory: Path, *, limit: int = LIMIT) -> None:
        self._directory = directory
        self._current = os.fspath(directory / "current")
        self._previous = os.fspath(directory / "previous")
        self._limit = limit

    # -- writing ----------------------------------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """Write an event.

        One write(2) in append mode, so that the lines of several processes never mix.

        :raises OSError: it cannot be written.
        """
        line = json.dumps([*event[:-1], dict(event.attributes)], separators=(",", ":"))
        fd = self._open()
        try:
            os.write(fd, line.encode() + b"\n")
            if os.fstat(fd).st_size >= self._limit:
                self._rotate(fd)
        finally:
            os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._current, _APPEND, 0o600)
        except FileNotFoundError:
            make_private(self._directory)
            return os.open(self._current, _APPEND, 0o600)

    def _rotate(self, fd: int) -> None:
        """Make ``current``, open as ``fd``, ``previous``.

        The lock belongs to this very file: of all who find it full one renames it, and nobody the file after it.
        """
        with suppress(OSError):  # another does it
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(self._current)):
                os.rename(self._current, self._previous)

    # -- reading ----------------------------------------------------------------------------------------------

    def read(self, *, since: int | None = None, until: int | None = None) -> Iterator[Event]:
        """Yield the events that are there, as they were written.

        :param since: the first moment that counts, nanoseconds since the epoch; None for the beginning.
        :param until: the last one; None for the end.
        """
        tails = self._open_tails([])
        try:
            for tail in tails:
                yield from tail.events(since, until)
        finally:
            _close(tails)

    def follow(self, *, since: int | None = None, until: int | None = None) -> Iterator[Event]:
        """Yield events as they come, up to the moment ``until`` (None: for ever).

        :param since: also those that are there, from this moment on; None leaves them out.
        :raises Unavailable: this user has all the watches the host allows.
        """
        from swapbox.linux.watch import Watch

        make_private(self._directory)
        watch = Watch(self._directory)  # before looking, so that nothing is missed between
        tails: list[_Tail] = []
        try:
            tails = self._open_tails([])
            if since is None:
                for tail in tails:
                    tail.skip()
            while True:
                for tail in tails:
                    yield from tail.events(since, until)
                if not watch.wait(_seconds_left(until)) and _seconds_left(until) == 0:
                    return
                tails = self._open_tails(tails)
        finally:
            _close(tails)
            watch.close()

    def _open_tails(self, known: "list[_Tail]") -> "list[_Tail]":
        """Return the files, the oldest first; those that are known go on where they were.

        A known file that was rotated out is read once more: whoever opened it before may have written since.
        """
        living = {tail.inode: tail for tail in known if not tail.closed}
        found: dict[tuple[int, int], _Tail] = {}
        # In this order: when a rotation comes between, the file is found twice, and not left out.
        for path in (self._current, self._previous):
            with suppress(FileNotFoundError):
                tail = _Tail(os.open(path, _READ))
                chosen = found.get(tail.inode) or living.pop(tail.inode, tail)
                if chosen is not tail:
                    tail.close()
                found[tail.inode] = chosen
        for tail in living.values():
            tail.finished = True
        return [*living.values(), *reversed(found.values())]


class _Tail:
    """One file, read from where the last reading ended."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._rest = b""
        status = os.fstat(fd)
        self.inode = (status.st_dev, status.st_ino)
        self.finished = False

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def skip(self) -> None:
        """Leave out what is there: all whole lines."""
        for _ in self._lines():
            pass

    def events(self, since: int | None, until: int | None) -> Iterator[Event]:
        """Yield the events that have been written since the last call."""
        for line in self._lines():
            event = _parse(line)
            if event and (since is None or event.time >= since) and (until is None or event.time <= until):
                yield event
        if self.finished:
            self.close()

    def _lines(self) -> Iterator[bytes]:
        while self._fd >= 0 and (block := os.read(self._fd, _BLOCK)):
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from lines

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _close(tails: list[_Tail]) -> None:
    for tail in tails:
        tail.close()


def _seconds_left(until: int | None) -> float | None:
    return None if until is None else max(0.0, (until - time.time_ns()) / 1e9)


def _parse(line: bytes) -> Event | None:
    """Read a line; None for one that a full disk or a kill has cut."""
    try:
        return Event(*json.loads(line))
    except (ValueError, TypeError):
        return None
