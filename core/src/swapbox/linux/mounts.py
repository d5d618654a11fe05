"""Make the mounts that a storage driver returned, and read fstab-style options.

``parse_options`` follows mount(8) and the table of options in the OCI runtime specification, so it serves the
mounts of a ``config.json`` too.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swapbox.drivers.storage import Mount
from swapbox.linux import syscalls
from swapbox.linux.overlayfs import escape_layer, split_layers
from swapbox.linux.syscalls import (
    MNT_DETACH,
    MS_BIND,
    MS_DIRSYNC,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

_SET = {
    "defaults": 0,
    "ro": MS_RDONLY,
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "nosymfollow": MS_NOSYMFOLLOW,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
    "strictatime": MS_STRICTATIME,
    "lazytime": MS_LAZYTIME,
    "sync": MS_SYNCHRONOUS,
    "dirsync": MS_DIRSYNC,
    "mand": MS_MANDLOCK,
    "silent": MS_SILENT,
    "remount": MS_REMOUNT,
    "bind": MS_BIND,
    "rbind": MS_BIND | MS_REC,
}
_CLEAR = {
    "rw": MS_RDONLY,
    "suid": MS_NOSUID,
    "dev": MS_NODEV,
    "exec": MS_NOEXEC,
    "symfollow": MS_NOSYMFOLLOW,
    "atime": MS_NOATIME,
    "diratime": MS_NODIRATIME,
    "norelatime": MS_RELATIME,
    "nostrictatime": MS_STRICTATIME,
    "nolazytime": MS_LAZYTIME,
    "async": MS_SYNCHRONOUS,
    "nomand": MS_MANDLOCK,
    "loud": MS_SILENT,
}
_PROPAGATION = {
    "private": MS_PRIVATE,
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "unbindable": MS_UNBINDABLE,
    "rprivate": MS_PRIVATE | MS_REC,
    "rshared": MS_SHARED | MS_REC,
    "rslave": MS_SLAVE | MS_REC,
    "runbindable": MS_UNBINDABLE | MS_REC,
}
OPTIONS = frozenset(_SET) | frozenset(_CLEAR) | frozenset(_PROPAGATION)
"""Every option that is not the file system's own."""

# What belongs to the mount rather than to its file system, as mount_setattr(2) spells it.
_ATTRIBUTES = {
    MS_RDONLY: syscalls.MOUNT_ATTR_RDONLY,
    MS_NOSUID: syscalls.MOUNT_ATTR_NOSUID,
    MS_NODEV: syscalls.MOUNT_ATTR_NODEV,
    MS_NOEXEC: syscalls.MOUNT_ATTR_NOEXEC,
    MS_NOATIME: 0x10,
    MS_STRICTATIME: 0x20,
    MS_RELATIME: 0,
    MS_NODIRATIME: 0x80,
    MS_NOSYMFOLLOW: 0x200000,
}
_ATIME_FLAGS = MS_NOATIME | MS_STRICTATIME | MS_RELATIME
_ATIME_FIELD = 0x70  # three values in one field: it has to be cleared whenever one of them is set
_PER_MOUNT = sum(_ATTRIBUTES)
_PAGE = os.sysconf("SC_PAGESIZE")


class MountOptions(NamedTuple):
    """Options as mount(2) takes them.

    :param flags: ``MS_*`` to set; what is neither set nor cleared stays as the kernel has it.
    :param clear: ``MS_*`` to clear, as ``rw`` and ``suid`` ask for.
    :param propagation: ``MS_PRIVATE`` and the like, perhaps with ``MS_REC``, for a mount(2) call of its own; or 0.
    :param data: what is left for the file system, joined with commas.
    """

    flags: int
    clear: int
    propagation: int
    data: str


def parse_options(options: Iterable[str]) -> MountOptions:
    """Sort fstab-style options, one per item; of two that contradict each other the last wins.

    The recursive ones of the OCI specification (``rro``) are left out: :func:`recursive_attributes` reads them.
    """
    flags = clear = propagation = 0
    for option in options:
        if option in _SET:
            flags, clear = flags | _SET[option], clear & ~_SET[option]
        elif option in _CLEAR:
            flags, clear = flags & ~_CLEAR[option], clear | _CLEAR[option]
        propagation = _PROPAGATION.get(option, propagation)
    return MountOptions(flags, clear, propagation, ",".join(_for_file_system(options)))


def attributes(options: MountOptions) -> tuple[int, int]:
    """Return what the options set and clear with mount_setattr(2)."""
    on = sum(bit for flag, bit in _ATTRIBUTES.items() if options.flags & flag)
    off = sum(bit for flag, bit in _ATTRIBUTES.items() if options.clear & flag)
    if (options.flags | options.clear) & _ATIME_FLAGS:
        off |= _ATIME_FIELD
    return on, off


def recursive_attributes(options: Iterable[str]) -> tuple[int, int]:
    """Return what ``rro``, ``rnosuid`` and the like set and clear with mount_setattr(2) and ``AT_RECURSIVE``."""
    return attributes(parse_options(option[1:] for option in options if _is_recursive(option)))


def apply(mounts: Sequence[Mount], target: Path) -> None:
    """Mount all, one on top of the other, at ``target`` in the calling process' mount namespace.

    Read-only binds are read-only at once. A list of overlay layers longer than mount(2) takes is given to the
    kernel layer by layer; one older than 6.8 gets relative paths instead, for which the calling *process* changes
    its working directory for a moment.

    :raises OSError: the kernel refused one; those made before are undone.
    """
    made = 0
    try:
        for mount in mounts:
            _mount(mount, target)
            made += 1
    except BaseException:
        for _ in range(made):
            with suppress(OSError):
                syscalls.umount(target, MNT_DETACH)
        raise


def _mount(mount: Mount, target: Path) -> None:
    options = parse_options(mount.options)
    if options.flags & MS_BIND:
        syscalls.mount(mount.source, target, None, options.flags & (MS_BIND | MS_REC))
    elif len(os.fsencode(options.data)) < _PAGE:
        syscalls.mount(mount.source, target, mount.type, options.flags, options.data or None)
    else:
        _mount_long(mount, options, target)
    try:
        _finish(mount, options, target)
    except BaseException:
        syscalls.umount(target, MNT_DETACH)
        raise


def _finish(mount: Mount, options: MountOptions, target: Path) -> None:
    on, off = attributes(options)
    if options.flags & MS_BIND and (on or off):
        _set_attributes(target, options, on, off)
    on, off = recursive_attributes(mount.options)
    if on or off:
        syscalls.mount_setattr(target, flags=syscalls.AT_RECURSIVE, set=on, clear=off)
    if options.propagation:
        syscalls.mount(None, target, None, options.propagation)


def _set_attributes(target: Path, options: MountOptions, on: int, off: int) -> None:
    try:
        syscalls.mount_setattr(target, set=on, clear=off)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        # Before Linux 5.12, or behind a seccomp filter. A remount names all flags: those it has, then ours.
        # ST_* of statvfs(3) equal MS_* for all but ST_RELATIME.
        has = os.statvfs(target).f_flag & (_PER_MOUNT & ~MS_RELATIME)
        flags = (has & ~options.clear) | (options.flags & _PER_MOUNT)
        syscalls.mount(None, target, None, MS_REMOUNT | MS_BIND | flags)


def _mount_long(mount: Mount, options: MountOptions, target: Path) -> None:
    try:
        _mount_by_layer(mount, options, target)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise
        _mount_relative(mount, options, target)


def _mount_by_layer(mount: Mount, options: MountOptions, target: Path) -> None:
    """Mount overlay by fsopen(2): each lower layer is one call (``lowerdir+``, Linux 6.8)."""
    context = syscalls.fsopen(mount.type)
    try:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "source", mount.source)
        for option in _for_file_system(mount.options):
            name, _, value = option.partition("=")
            if name == "lowerdir":
                for layer in split_layers(value):
                    syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "lowerdir+", layer)
            elif value:
                syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, name, value)
            else:
                syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, name)
        if options.flags & MS_RDONLY:
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, "ro")
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
        detached = syscalls.fsmount(context, attributes=attributes(options)[0])
    finally:
        os.close(context)
    try:
        syscalls.move_mount(detached, target)
    finally:
        os.close(detached)


def _mount_relative(mount: Mount, options: MountOptions, target: Path) -> None:
    """Mount overlay with the lower layers' paths shortened by the directory they share."""
    data = []
    base = "/"
    for option in _for_file_system(mount.options):
        name, _, value = option.partition("=")
        if name == "lowerdir":
            layers = split_layers(value)
            base = os.path.commonpath(layers)
            option = "lowerdir=" + ":".join(escape_layer(os.path.relpath(layer, base)) for layer in layers)
        data.append(option)
    target = target.absolute()
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(base)
        syscalls.mount(mount.source, target, mount.type, options.flags, ",".join(data))
    finally:
        os.fchdir(before)
        os.close(before)


def _for_file_system(options: Iterable[str]) -> list[str]:
    known = _SET.keys() | _CLEAR.keys() | _PROPAGATION.keys()
    return [option for option in options if option not in known and not _is_recursive(option)]


def _is_recursive(option: str) -> bool:
    if option[:1] != "r":
        return False
    flag = _SET.get(option[1:], 0) | _CLEAR.get(option[1:], 0)
    return flag in _ATTRIBUTES
