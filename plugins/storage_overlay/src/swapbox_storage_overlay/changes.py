"""What an upper directory changed, told as ``docker diff`` tells it.

Follows the kernel's Documentation/filesystems/overlayfs.rst: a 0:0 character device hides a name, an opaque
directory hides all of that name below, and a directory merges with those below until something else is in the way.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swapbox.drivers.storage import Change
from swapbox.linux.descent import Descent


class _Below(NamedTuple):
    """What the lower layers show under one name.

    :param path: the file or directory that is seen; None when there is none.
    :param merged: the directories that merge, nearest first; empty when it is not a directory.
    """

    path: Path | None
    merged: tuple[Path, ...] = ()


class _Level(NamedTuple):
    """A directory of the upper layer on the way down.

    :param lowers: the directories that it merges with, nearest first.
    :param whole: nothing of the lower layers shines through: what the upper lacks is deleted.
    :param names: what is left to look at, the next one last.
    :param untold: a change that holds only when something below has changed.
    """

    at: str
    lowers: tuple[Path, ...]
    whole: bool
    names: list[str]
    untold: list[Change]


def changes(upper: Path, lowers: Sequence[Path], prefix: str) -> Iterator[Change]:
    """Yield the changes, parents before children, names in order.

    The upper directory is walked by descriptors: a container that runs may change it at the same time.

    :param lowers: the trees it builds on, nearest first.
    :param prefix: of overlay's extended attributes: ``trusted.overlay.`` or ``user.overlay.``.
    """
    root = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with Descent(root) as place:
            yield from _Differ(prefix, place).run(tuple(lowers))
    finally:
        os.close(root)


class _Differ:
    def __init__(self, prefix: str, place: Descent) -> None:
        self._prefix = prefix
        self._place = place
        self._levels: list[_Level] = []

    def run(self, lowers: tuple[Path, ...]) -> Iterator[Change]:
        self._push("", lowers, whole=False, untold=[])
        while self._levels:
            level = self._levels[-1]
            if level.names:
                yield from self._one(level, level.names.pop())
            else:
                self._levels.pop()
                if self._levels:
                    self._place.leave()

    def _push(self, at: str, lowers: tuple[Path, ...], *, whole: bool, untold: list[Change]) -> None:
        names = set(map(os.fsdecode, self._place.names()))
        if whole:
            names.update(name for lower in lowers for name in os.listdir(lower))
        self._levels.append(_Level(at, lowers, whole, sorted(names, reverse=True), untold))

    def _one(self, level: _Level, name: str) -> Iterator[Change]:
        below = self._below(level.lowers, name)
        info = self._place.look(os.fsencode(name))
        at = f"{level.at}/{name}"
        if info is None or _is_whiteout(info):
            # Without a mark in a directory that shows the lower layers it has vanished just now.
            if below.path is not None and (info is not None or level.whole):
                yield from self._tell(Change("D", at))
            return
        here = f"/proc/self/fd/{self._place.fd}/{name}"
        changed = below.path is None or not self._same(here, info, below.path)
        if changed:
            yield from self._tell(Change("A" if below.path is None else "C", at))
        if stat.S_ISDIR(info.st_mode):
            whole = level.whole or self._is_opaque(here)
            if self._place.enter(os.fsencode(name)):
                # A copy that differs in nothing is on the way to a change, or to none.
                self._push(at, below.merged, whole=whole, untold=[] if changed else [Change("C", at)])

    def _tell(self, change: Change) -> Iterator[Change]:
        for level in self._levels:
            yield from level.untold
            level.untold.clear()
        yield change

    def _below(self, lowers: tuple[Path, ...], name: str) -> _Below:
        merged: list[Path] = []
        for lower in lowers:
            path = lower / name
            try:
                mode = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not stat.S_ISDIR(mode):
                if not merged and not _is_whiteout(path.lstat()):
                    return _Below(path)
                break
            merged.append(path)
            if self._is_opaque(path):
                break
        return _Below(merged[0], tuple(merged)) if merged else _Below(None)

    def _is_opaque(self, path: str | Path) -> bool:
        return self._attributes(path).get(self._prefix + "opaque") == b"y"

    def _same(self, here: str, info: os.stat_result, lower: Path) -> bool:
        return _identity(info) == _identity(lower.lstat()) and self._visible(here) == self._visible(lower)

    def _visible(self, path: str | Path) -> dict[str, bytes]:
        return {name: value for name, value in self._attributes(path).items() if not name.startswith(self._prefix)}

    def _attributes(self, path: str | Path) -> dict[str, bytes]:
        with suppress(FileNotFoundError):  # gone meanwhile
            return {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
            }
        return {}


def _is_whiteout(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def _identity(info: os.stat_result) -> tuple[int, ...]:
    identity = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev)
    if stat.S_ISDIR(info.st_mode):  # its size and time change with its entries
        return identity
    return (*identity, info.st_size, info.st_mtime_ns)
