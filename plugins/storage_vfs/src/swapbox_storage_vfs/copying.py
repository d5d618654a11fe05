"""Copy a tree with all an image may hold: owners, modes, times, extended attributes, hard links, holes, devices.

Data is shared with the original where the file system can (btrfs, xfs, bcachefs: ``FICLONE``), else copied inside
the kernel, else read and written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_CHUNK = 1 << 20
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.ENOTTY)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory to ``target``, which must not exist; no symbolic link is followed. Sockets are left out.

    :raises OSError: something cannot be copied; ``target`` is left half done.
    """
    links: dict[tuple[int, int], str] = {}
    made: list[tuple[str, str]] = []
    waiting = [(os.fspath(source), os.fspath(target))]
    while waiting:
        here, there = waiting.pop()
        os.mkdir(there, 0o700)
        made.append((here, there))
        with os.scandir(here) as entries:
            for entry in entries:
                path = os.path.join(there, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, path))
                else:
                    _copy_leaf(entry, path, links)
    # Children before parents: to fill a directory changes its time, and may need more permission than it has.
    for here, there in reversed(made):
        _copy_metadata(here, there, os.lstat(here))


def _copy_leaf(entry: os.DirEntry[str], target: str, links: dict[tuple[int, int], str]) -> None:
    info = entry.stat(follow_symlinks=False)
    inode = (info.st_dev, info.st_ino)
    if inode in links:
        os.link(links[inode], target, follow_symlinks=False)
        return
    if stat.S_ISSOCK(info.st_mode):
        return
    if stat.S_ISREG(info.st_mode):
        _copy_file(entry.path, target)
    elif stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(entry.path), target)
    else:
        os.mknod(target, stat.S_IFMT(info.st_mode) | 0o600, info.st_rdev)
    _copy_metadata(entry.path, target, info)
    if info.st_nlink > 1:
        links[inode] = target


def _copy_metadata(source: str, target: str, info: os.stat_result) -> None:
    # In this order: chown clears set-user-ID bits and capabilities, and each step changes the time.
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(target, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)


def _copy_file(source: str, target: str) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if not _share(reader, writer):
                _copy_extents(reader, writer, os.fstat(reader).st_size)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _share(reader: int, writer: int) -> bool:
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def _copy_extents(reader: int, writer: int, size: int) -> None:
    """Copy the data and leave the holes; a file system that knows no holes shows one extent."""
    os.truncate(writer, size)
    end = 0
    while end < size:
        try:
            start = os.lseek(reader, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # nothing but a hole is left
        end = os.lseek(reader, start, os.SEEK_HOLE)
        _copy_range(reader, writer, start, end)


def _copy_range(reader: int, writer: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(reader, writer, end - start, start, start)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            done = os.pwrite(writer, os.pread(reader, min(_CHUNK, end - start), start), start)
        if done == 0:  # the file is shorter than it was
            return
        start += done
