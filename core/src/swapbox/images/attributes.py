"""Owner, mode, extended attributes and times of what a layer writes.

Changing the owner clears set-id bits and capabilities, so it comes first; every other change may touch the times,
so they come last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from swapbox.errors import PermissionDenied
from swapbox.images.tarstream import SYMLINK, TarEntry

_MARKS = (b"trusted.overlay.", b"user.overlay.")
_HINT = "give the user more ids in /etc/subuid and /etc/subgid, and install the package uidmap"
_OF_THE_HOST = ("security.", "trusted.overlay.", "user.overlay.")


class Attributes:
    """Sets the attributes of entries.

    Extended attributes that the file system does not take are left out, as Docker does, and so are those by which
    overlay marks deletions.

    :param unprivileged: an owner that the caller may not give a file to is left out.
    :param warn: told of the first such owner, where there is one id only.
    """

    def __init__(self, *, unprivileged: bool, warn: Callable[[str], None]) -> None:
        self._unprivileged = unprivileged
        self._warn = warn
        self._one_id = False

    def set_open(self, entry: TarEntry, fd: int) -> None:
        """Set those of an open file or directory."""
        self._own(entry, fd)
        os.fchmod(fd, entry.mode)
        if entry.xattrs:
            _set_xattrs(entry, fd)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def set_at(self, entry: TarEntry, parent: int, name: bytes) -> None:
        """Set those of a link or node, which cannot be opened.

        A node must be nobody else's to replace meanwhile; see :meth:`set_pinned`.
        """
        path = b"/proc/self/fd/%d/%b" % (parent, name)
        self._own(entry, path)
        if entry.kind != SYMLINK:
            os.chmod(path, entry.mode)
        _set_xattrs(entry, path)
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)

    def set_pinned(self, entry: TarEntry, fd: int) -> None:
        """Set those of a node by a descriptor of ``O_PATH``, which nobody can exchange for a link."""
        path = b"/proc/self/fd/%d" % fd
        self._own(entry, path, follow=True)
        os.chmod(path, entry.mode)
        os.utime(path, ns=(entry.mtime, entry.mtime))

    def _own(self, entry: TarEntry, file: int | bytes, *, follow: bool = False) -> None:
        try:
            if isinstance(file, int):
                os.fchown(file, entry.uid, entry.gid)
            else:
                os.chown(file, entry.uid, entry.gid, follow_symlinks=follow)
        except OSError as error:
            if not self._unprivileged:
                raise
            if error.errno == errno.EINVAL:
                self._not_mapped(entry, error)
            elif error.errno != errno.EPERM:  # without any powers, everything is the caller's own
                raise

    def _not_mapped(self, entry: TarEntry, error: OSError) -> None:
        from swapbox.linux.idmaps import has_one_id

        if self._one_id:
            return
        name = repr(os.fsdecode(entry.name))
        owner = f"owner {entry.uid}:{entry.gid} of {name} is not mapped in this user namespace"
        if not has_one_id():
            raise PermissionDenied(owner, hint=_HINT) from error
        self._one_id = True
        self._warn(f"every file of the image belongs to root here: {owner}; {_HINT}")


def forget_xattrs(fd: int) -> None:
    """Remove what a directory of a lower layer had: only the last layer that has a directory describes it."""
    for key in os.listxattr(fd):
        if not key.startswith(_OF_THE_HOST):
            os.removexattr(fd, key)


def _set_xattrs(entry: TarEntry, file: int | bytes) -> None:
    for key, value in entry.xattrs.items():
        if key.startswith(_MARKS):
            continue
        try:
            os.setxattr(file, key, value, follow_symlinks=isinstance(file, int))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise
