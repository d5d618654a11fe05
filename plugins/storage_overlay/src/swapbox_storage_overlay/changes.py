"""What an upper directory changed, told as ``docker diff`` tells it.

Follows the kernel's Documentation/filesystems/overlayfs.rst: a 0:0 character device hides a name, an opaque
directory hides all of that name below, and a directory merges with those below until something else is in the way.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from swapbox.drivers.storage import Change


class _Below(NamedTuple):
    """What the lower layers show under one name.

    :param path: the file or directory that is seen; None when there is none.
    :param merged: the directories that merge, nearest first; empty when it is not a directory.
    """

    path: Path | None
    merged: tuple[Path, ...] = ()


def changes(upper: Path, lowers: Sequence[Path], prefix: str) -> Iterator[Change]:
    """Yield the changes, parents before children, names in order.

    :param lowers: the trees it builds on, nearest first.
    :param prefix: of overlay's extended attributes: ``trusted.overlay.`` or ``user.overlay.``.
    """
    return _Differ(prefix).directory(upper, tuple(lowers), "", whole=False)


class _Differ:
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def directory(self, upper: Path, lowers: tuple[Path, ...], at: str, *, whole: bool) -> Iterator[Change]:
        """Yield the changes below a directory.

        :param whole: nothing of the lower layers shines through: what the upper lacks is deleted.
        """
        names = set(os.listdir(upper))
        gone = {name for lower in lowers for name in os.listdir(lower)} - names if whole else set()
        for name in sorted(names | gone):
            below = self._below(lowers, name)
            if name in gone or _is_whiteout(upper / name):
                if below.path is not None:
                    yield Change("D", f"{at}/{name}")
            else:
                yield from self._entry(upper / name, below, f"{at}/{name}", whole=whole)

    def _entry(self, path: Path, below: _Below, at: str, *, whole: bool) -> Iterator[Change]:
        inside: Iterator[Change] = iter(())
        if stat.S_ISDIR(path.lstat().st_mode):
            inside = self.directory(path, below.merged, at, whole=whole or self._is_opaque(path))
        if below.path is None:
            yield Change("A", at)
        elif not self._same(path, below.path):
            yield Change("C", at)
        else:
            # A copy that differs in nothing: a file opened for writing, or a directory on the way to a change.
            first = next(inside, None)
            if first is None:
                return
            yield Change("C", at)
            inside = chain((first,), inside)
        yield from inside

    def _below(self, lowers: tuple[Path, ...], name: str) -> _Below:
        merged: list[Path] = []
        for lower in lowers:
            path = lower / name
            try:
                mode = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not stat.S_ISDIR(mode):
                if not merged and not _is_whiteout(path):
                    return _Below(path)
                break
            merged.append(path)
            if self._is_opaque(path):
                break
        return _Below(merged[0], tuple(merged)) if merged else _Below(None)

    def _is_opaque(self, path: Path) -> bool:
        return self._attributes(path).get(self._prefix + "opaque") == b"y"

    def _same(self, one: Path, other: Path) -> bool:
        return _identity(one) == _identity(other) and self._visible(one) == self._visible(other)

    def _visible(self, path: Path) -> dict[str, bytes]:
        return {name: value for name, value in self._attributes(path).items() if not name.startswith(self._prefix)}

    def _attributes(self, path: Path) -> dict[str, bytes]:
        return {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }


def _is_whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _identity(path: Path) -> tuple[int, ...]:
    info = path.lstat()
    identity = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev)
    if stat.S_ISDIR(info.st_mode):  # its size and time change with its entries
        return identity
    return (*identity, info.st_size, info.st_mtime_ns)
