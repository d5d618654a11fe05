"""Copy what an image has at a path into a volume: owners, modes, times, attributes, links, holes, devices.

The volume may belong to a container that runs and is hostile: nothing is written or read through a symbolic link
in it, and what is changed is changed by descriptor. A file gets its name when it is whole, so a copy that was
killed is finished by another one, which leaves alone what is there.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from swapbox.linux import syscalls
from swapbox.linux.descent import Descent

_PARTIAL = b".swapbox-partial-"
_CANNOT_SHARE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EINVAL)
_INSIDE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


def copy_into(source: int, target: int) -> None:
    """Copy the content of a directory, and what is said of itself, into another; sockets are left out.

    :param source: descriptor of a directory that nobody changes.
    :param target: descriptor of the volume's root.
    :raises OSError: something cannot be copied.
    """
    with Descent(source) as here, Descent(target) as there:
        _Copy(here, there, target).run()


class _Copy:
    """One copy; ``here`` and ``there`` are always in the same place of either tree."""

    def __init__(self, here: Descent, there: Descent, target: int) -> None:
        self._here = here
        self._there = there
        self._target = target
        self._path = b"."
        self._links: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        waiting = [self._names()]
        while waiting:
            if waiting[-1]:
                name = waiting[-1].pop()
                if self._copy(name):
                    waiting.append(self._names())
                continue
            # After the content: to fill a directory changes its time, and may need more permission than it has.
            _copy_metadata(self._here.fd, self._there.fd)
            waiting.pop()
            if waiting:
                self._path = self._path.rpartition(b"/")[0]
                self._here.leave()
                self._there.leave()

    def _names(self) -> list[bytes]:
        """Return what is to be copied here; drop what a killed copy has left half done."""
        for name in self._there.names():
            if name.startswith(_PARTIAL):
                with suppress(OSError):
                    os.unlink(name, dir_fd=self._there.fd)
        return self._here.names()[::-1]

    def _copy(self, name: bytes) -> bool:
        """Copy one name; True when it is a directory, into which the copy has gone."""
        info = self._here.look(name)
        if info is None or stat.S_ISSOCK(info.st_mode):
            return False
        if stat.S_ISDIR(info.st_mode):
            return self._enter(name)
        if self._there.look(name) is None:
            partial = _PARTIAL + os.urandom(8).hex().encode()
            try:
                self._make(name, partial, info)
                os.rename(partial, name, src_dir_fd=self._there.fd, dst_dir_fd=self._there.fd)
            except BaseException:
                with suppress(OSError):
                    os.unlink(partial, dir_fd=self._there.fd)
                raise
        if info.st_nlink > 1:
            self._links.setdefault((info.st_dev, info.st_ino), self._path + b"/" + name)
        return False

    def _enter(self, name: bytes) -> bool:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self._there.fd)
        if not self._there.enter(name):
            return False  # something else has this name
        if not self._here.enter(name):
            self._there.leave()
            return False
        self._path += b"/" + name
        return True

    def _make(self, name: bytes, partial: bytes, info: os.stat_result) -> None:
        if self._link(partial, info):
            return
        here, there = self._here.fd, self._there.fd
        if stat.S_ISREG(info.st_mode):
            made = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=there)
        else:
            if stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink(name, dir_fd=here), partial, dir_fd=there)
            else:
                os.mknod(partial, stat.S_IFMT(info.st_mode) | 0o600, info.st_rdev, dir_fd=there)
            made = os.open(partial, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=there)
        try:
            if stat.S_IFMT(os.fstat(made).st_mode) != stat.S_IFMT(info.st_mode):
                raise OSError(errno.ESTALE, "a file was replaced while it was copied")
            if stat.S_ISREG(info.st_mode):
                copy_data(here, name, made, info.st_size)
            source = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            try:
                _copy_metadata(source, made)
            finally:
                os.close(source)
        finally:
            os.close(made)

    def _link(self, partial: bytes, info: os.stat_result) -> bool:
        """Link to a file that is copied already; False when this is its first name, or it was replaced."""
        first = self._links.get((info.st_dev, info.st_ino))
        if first is None:
            return False
        try:
            fd = syscalls.openat2(self._target, first, os.O_PATH | os.O_NOFOLLOW, resolve=_INSIDE)
        except OSError:
            return False
        try:
            os.link(_path(fd), partial, dst_dir_fd=self._there.fd, follow_symlinks=True)
        finally:
            os.close(fd)
        return True


def _path(fd: int) -> str:
    """Return a path that leads to the very file that a descriptor stands for, even to a symbolic link."""
    return f"/proc/self/fd/{fd}"


def _copy_metadata(source: int, target: int) -> None:
    """Copy owner, mode, attributes and times from one open file to another."""
    info, here, there = os.fstat(source), _path(source), _path(target)
    # In this order: chown clears set-user-ID bits and capabilities, and each step changes the time.
    os.chown(there, info.st_uid, info.st_gid)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(there, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(here):
        _copy_attribute(here, there, name)
    os.utime(there, ns=(info.st_atime_ns, info.st_mtime_ns))


def _copy_attribute(here: str, there: str, name: str) -> None:
    try:
        os.setxattr(there, name, os.getxattr(here, name))
    except OSError as error:
        # The volume's file system has none, or an engine without root's powers may not set this one.
        if error.errno != errno.EOPNOTSUPP and not (error.errno == errno.EPERM and not name.startswith("user.")):
            raise


def copy_data(directory: int, name: bytes, writer: int, size: int) -> None:
    """Copy the data of a file and leave its holes."""
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
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
    finally:
        os.close(reader)


def _copy_range(reader: int, writer: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(reader, writer, end - start, start, start)
        except OSError as error:
            if error.errno not in _CANNOT_SHARE:
                raise
            done = os.pwrite(writer, os.pread(reader, min(1 << 20, end - start), start), start)
        if done == 0:  # the file is shorter than it was
            return
        start += done
