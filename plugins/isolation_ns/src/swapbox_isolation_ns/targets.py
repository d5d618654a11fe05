"""Paths inside a container's root: resolved, and made where they are missing, without ever leaving it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from swapbox.linux import syscalls

_LINKS_LIMIT = 40  # the kernel's own, path_resolution(7)
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def exists(root: int, path: str) -> bool:
    """Say whether there is anything at ``path`` below ``root``."""
    try:
        os.close(syscalls.openat2(root, path, os.O_PATH))
    except OSError:
        return False
    return True


def make_target(root: int, path: str, *, directory: bool, follow: bool = True) -> int:
    """Return an ``O_PATH`` descriptor for ``path`` below ``root``, made as a directory or empty file if missing.

    :param follow: when false, a symbolic link anywhere in the path is an error.
    :raises OSError: it cannot be made, or leads through something that is not a directory.
    """
    resolve = syscalls.RESOLVE_IN_ROOT | (0 if follow else syscalls.RESOLVE_NO_SYMLINKS)
    try:
        return syscalls.openat2(root, path, os.O_PATH, resolve=resolve)
    except FileNotFoundError:
        if not (directory and _make_last(root, path)):
            _make(root, path, directory=directory)
        return syscalls.openat2(root, path, os.O_PATH, resolve=resolve)


@contextmanager
def make_parent(root: int, path: str) -> Iterator[tuple[int, str]]:
    """Yield the directory that holds ``path``, made if missing, and the last name."""
    parent, _, name = path.rpartition("/")
    fd = make_target(root, parent or "/", directory=True)
    try:
        yield fd, name
    finally:
        os.close(fd)


def _make_last(root: int, path: str) -> bool:
    """Make only the last name, the usual case; return whether that was possible."""
    parent, _, name = path.rpartition("/")
    try:
        fd = syscalls.openat2(root, parent or "/", _DIRECTORY & ~os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        os.mkdir(name, 0o755, dir_fd=fd)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _make(root: int, path: str, *, directory: bool) -> None:
    """Walk from ``root`` name by name, as the kernel would, and make what is missing.

    Unlike mkdir(2) this goes on through a link that dangles: images have ``/etc/resolv.conf`` link to a file in
    ``/run`` that only exists when the system runs.
    """
    todo = [name for name in reversed(path.split("/")) if name not in ("", ".")]
    walked = [os.dup(root)]
    links = 0
    try:
        while todo:
            name = todo.pop()
            if name == "..":
                if len(walked) > 1:
                    os.close(walked.pop())
                continue
            link = _link(walked[-1], name)
            if link is not None:
                links += 1
                if links > _LINKS_LIMIT:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if link.startswith("/"):
                    _close(walked[1:])
                    del walked[1:]
                todo += [part for part in reversed(link.split("/")) if part not in ("", ".")]
            elif todo or directory:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=walked[-1])
                walked.append(os.open(name, _DIRECTORY, dir_fd=walked[-1]))
            else:
                flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o755, dir_fd=walked[-1]))
    finally:
        _close(walked)


def _link(directory: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
