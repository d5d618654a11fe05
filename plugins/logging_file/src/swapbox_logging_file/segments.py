"""The files of one log, oldest first, and reading them while the writer rotates.

A segment is one file held open: its inode is its identity, whatever the writer calls it meanwhile, and also after
it was compressed (the gzip header remembers the inode, see ``compress``) or removed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

from swapbox_logging_file.compress import source_inode

_BLOCK = 1 << 16
_NEWEST = 0


class Segment:
    """One file of a log, open for reading."""

    def __init__(self, path: Path) -> None:
        self._file = io.BufferedReader(io.FileIO(path), _BLOCK)
        status = os.fstat(self._file.fileno())
        self.inode, self.modified, self.size = status.st_ino, status.st_mtime_ns, status.st_size
        self.compressed = path.suffix == ".gz"
        self._lines: io.BufferedIOBase = self._file
        if self.compressed:
            import gzip

            try:
                self.inode = source_inode(path) or self.inode
            except FileNotFoundError:  # removed this very moment
                self._file.close()
                raise
            self._lines = gzip.GzipFile(fileobj=self._file)
        self._torn = b""

    def lines(self, limit: int | None = None) -> Iterator[bytes]:
        """Yield whole lines up to what is there now; a later call goes on from there.

        :param limit: stop at this position, so that a busy writer cannot keep a reader for ever.
        """
        position = 0 if limit is None else self._lines.tell()
        for line in self._lines:
            if not line.endswith(b"\n"):
                self._torn += line
                return
            if self._torn:
                line, self._torn = self._torn + line, b""
            yield line
            if limit is not None:
                position += len(line)
                if position >= limit:
                    return

    def take_torn(self) -> bytes:
        """Return the line that has no end, once; a crash may have cut off no more than its newline."""
        torn, self._torn = self._torn, b""
        return torn

    def seek_last(self, count: int) -> int:
        """Go to where the last ``count`` whole lines begin; return how many of them are not in this file."""
        if self.compressed:
            return self._skip_all_but(count)
        needed, start = count + 1, self.size
        while start > 0:
            end, start = start, max(0, start - _BLOCK)
            block = os.pread(self._file.fileno(), end - start, start)
            found = block.count(b"\n")
            if found >= needed:
                self._lines.seek(start + _nth_newline_from_end(block, needed) + 1)
                return 0
            needed -= found
        self._lines.seek(0)
        return max(0, needed - 1)

    def _skip_all_but(self, count: int) -> int:
        total = sum(1 for _ in self._lines)
        self._lines.seek(0)
        for _ in range(total - count):
            self._lines.readline()
        return max(0, count - total)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
        self._file.close()


def _nth_newline_from_end(block: bytes, nth: int) -> int:
    position = len(block)
    for _ in range(nth):
        position = block.rfind(b"\n", 0, position)
    return position


def open_all(path: Path) -> list[Segment]:
    """Open the files of the log, oldest first; again whenever the writer rotated meanwhile."""
    while True:
        files = _files(path)
        segments: list[Segment] = []
        try:
            for file, _ in files:
                segments.append(Segment(file))
            if files == _files(path):
                return segments
        except FileNotFoundError:
            pass
        for segment in segments:
            segment.close()


def open_after(path: Path, inode: int) -> list[Segment]:
    """Open the files that are newer than the one with this inode; all of them when it was removed.

    The caller holds that one open, so nothing newer has its inode; something older and long compressed may have.
    """
    segments = open_all(path)
    passed = max((at + 1 for at, segment in enumerate(segments) if segment.inode == inode), default=0)
    for segment in segments[:passed]:
        segment.close()
    return segments[passed:]


def is_current(path: Path, segment: Segment) -> bool:
    """Say whether the writer may still append to the segment."""
    try:
        return path.stat().st_ino == segment.inode
    except FileNotFoundError:
        return False


def _files(path: Path) -> list[tuple[Path, int]]:
    """Return paths and inodes, oldest first; of a file and its compressed copy, the file."""
    found: dict[int, tuple[Path, int]] = {}
    try:
        entries = sorted(os.scandir(path.parent), key=lambda entry: entry.name, reverse=True)
        for entry in entries:
            number = _number(path.name, entry.name)
            if number is not None:
                found[number] = (Path(entry.path), entry.inode())
    except FileNotFoundError:
        return []
    return [found[number] for number in sorted(found, reverse=True)]


def _number(current: str, name: str) -> int | None:
    """Return 0 for the current file, 1 for ``current.1`` and ``current.1.gz``, None for other names."""
    if name == current:
        return _NEWEST
    number = name.removeprefix(f"{current}.").removesuffix(".gz")
    return int(number) if number.isdecimal() and name != number else None
