"""Directory trees as a storage driver meets them: written by strangers, never followed through a symbolic link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from swapbox.linux.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Descriptors and stack frames held at once; deeper parts are moved up and deleted from there.
_DEPTH_LIMIT = 64


def remove_tree(path: Path) -> None:
    """Delete a directory and all below it; what is gone already, or goes meanwhile, is fine.

    Any depth, any mode: a path below may be longer than PATH_MAX and a directory closed to its owner. The caller
    sees to it that no stranger writes there at the same time.

    :raises OSError: something cannot be deleted, for example because it is a mount point.
    """
    with suppress(FileNotFoundError):
        top = _open(path)
        try:
            while _empty(top, top, 0):
                pass
        finally:
            os.close(top)
        os.rmdir(path)


def _empty(directory: int, top: int, depth: int) -> bool:
    """Delete all below ``directory``; return whether a part was too deep and was moved up to ``top`` instead."""
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    moved = False
    for name, is_directory in names:
        with suppress(FileNotFoundError):
            if not is_directory:
                os.unlink(name, dir_fd=directory)
            elif depth == _DEPTH_LIMIT:
                os.rename(name, os.urandom(16).hex(), src_dir_fd=directory, dst_dir_fd=top)
                moved = True
            else:
                moved |= _remove(name, directory, top, depth + 1)
    return moved


def _remove(name: str, parent: int, top: int, depth: int) -> bool:
    directory = _open(name, dir_fd=parent)
    try:
        moved = _empty(directory, top, depth)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)
    return moved


def _open(path: str | Path, *, dir_fd: int | None = None) -> int:
    if os.geteuid() != 0:  # root needs no permission; others may have taken it from themselves
        os.chmod(path, 0o700, dir_fd=dir_fd)
    return os.open(path, _DIRECTORY, dir_fd=dir_fd)


def disk_usage(path: Path) -> tuple[int, int]:
    """Return the bytes allocated and the inodes used by a directory and all below it.

    Hard links count once. What vanishes meanwhile or cannot be reached (a path above PATH_MAX) is not counted. A
    container may be renaming there: no link is followed out of the directory.
    """
    seen: set[tuple[int, int]] = set()
    size = 0
    for info in _walk(path):
        if (info.st_dev, info.st_ino) not in seen:
            seen.add((info.st_dev, info.st_ino))
            size += info.st_blocks * 512
    return size, len(seen)


def _walk(path: Path) -> Iterator[os.stat_result]:
    with suppress(OSError):
        yield os.lstat(path)
        root = os.open(path, _DIRECTORY)
        try:
            yield from _walk_below(root)
        finally:
            os.close(root)


def _walk_below(root: int) -> Iterator[os.stat_result]:
    directories = ["."]
    while directories:
        here = directories.pop()
        for name, info in _look_into(root, here):
            yield info
            if stat.S_ISDIR(info.st_mode):
                directories.append(f"{here}/{name}")


def _look_into(root: int, path: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(OSError):
        directory = openat2(root, path, _DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    with suppress(OSError):
                        yield entry.name, entry.stat(follow_symlinks=False)
        finally:
            os.close(directory)
