"""Read a json-file log: since, until, tail and follow, across rotated and compressed files."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.drivers.logging import LogQuery, LogRecord
from swapbox_logging_file.records import Parser
from swapbox_logging_file.segments import is_current, open_after, open_all

if TYPE_CHECKING:
    from swapbox_logging_file.follow import Watch


def read(path: Path, query: LogQuery) -> Iterator[LogRecord]:
    """Yield the records of the log whose current file is ``path``."""
    reader = _Reader(path, query)
    try:
        yield from reader.existing()
        if query.follow:
            yield from reader.following()
    finally:
        reader.close()


class _Reader:
    """One read: the files that are still to be read, oldest first, all open so that none can vanish."""

    def __init__(self, path: Path, query: LogQuery) -> None:
        self._path = path
        self._query = query
        self._parser = Parser()
        self._watch: Watch | None = None
        if query.follow:
            from swapbox_logging_file.follow import Watch

            self._watch = Watch(path.parent)
        self._segments = open_all(path)

    def existing(self) -> Iterator[LogRecord]:
        """Yield what is there already."""
        query = self._query
        if query.tail is None:
            return self._drain()
        if query.since is None and query.until is None:
            self._seek_last(query.tail)
            return self._drain()
        return iter(deque(self._drain(), maxlen=query.tail))

    def following(self) -> Iterator[LogRecord]:
        """Yield what comes, and return when no more will."""
        while True:
            # Both are asked before reading: what was written before the answer is read after it.
            ended = self._query.ended() or self._is_past_until()
            rotated = bool(self._segments) and not is_current(self._path, self._segments[-1])
            yield from self._drain()
            if self._segments and (rotated or ended):
                yield from self._selected([self._segments[-1].take_torn()])
            if (rotated or not self._segments) and self._open_newer():
                continue
            if ended:
                return
            if self._watch:
                self._watch.wait()

    def close(self) -> None:
        for segment in self._segments:
            segment.close()
        if self._watch:
            self._watch.close()

    def _is_past_until(self) -> bool:
        return self._query.until is not None and time.time_ns() > self._query.until

    def _open_newer(self) -> bool:
        """Go on to the files after the last one; say whether there are any."""
        newer = open_after(self._path, self._segments[-1].inode if self._segments else 0)
        if newer:
            for segment in self._segments:
                segment.close()
            self._segments = newer
        return bool(newer)

    def _drain(self) -> Iterator[LogRecord]:
        """Read all files to their ends, and keep the last one for what will be appended to it."""
        since = self._query.since
        while self._segments:
            segment = self._segments[0]
            is_last = len(self._segments) == 1
            if is_last or since is None or segment.modified >= since:
                limit = None if self._query.follow or segment.compressed else segment.size
                yield from self._selected(segment.lines(limit))
                if not (is_last and self._query.follow):
                    yield from self._selected([segment.take_torn()])
            if is_last:
                return
            segment.close()
            del self._segments[0]

    def _selected(self, lines: Iterable[bytes]) -> Iterator[LogRecord]:
        since, until = self._query.since, self._query.until
        parse = self._parser.parse
        for line in lines:
            record = parse(line)
            if record is None or (since is not None and record.time < since):
                continue
            if until is None or record.time <= until:
                yield record

    def _seek_last(self, count: int) -> None:
        """Drop the files, and go past the records, that are not among the last ``count``."""
        missing = count
        for at in range(len(self._segments) - 1, -1, -1):
            missing = self._segments[at].seek_last(missing)
            if missing == 0:
                for segment in self._segments[:at]:
                    segment.close()
                del self._segments[:at]
                return
