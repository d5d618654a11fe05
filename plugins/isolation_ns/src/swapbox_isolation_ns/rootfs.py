"""Build the container's mount tree, in the container's first process.

The image is hostile: any path in it may be a symbolic link to anywhere. So every path is resolved by openat2(2)
with the container's root as ``/``, and what is mounted or made goes onto the descriptor that came out, never onto
a path. What comes from the host (the root file system, bind mounts) was opened by the creator as detached mounts,
so this process needs no path of the host, which in a user namespace it might not be allowed to walk.
"""

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from swapbox.errors import InvalidInput
from swapbox.linux import syscalls
from swapbox_isolation_ns.console import Terminal, open_pty
from swapbox_isolation_ns.failures import doing
from swapbox_isolation_ns.filesystems import mount_file_system
from swapbox_isolation_ns.plan import Plan
from swapbox_isolation_ns.plan_mounts import DEV_LINKS, Device, MountStep
from swapbox_isolation_ns.targets import exists, make_parent, make_target

_CREATE_FLAGS = os.O_PATH | os.O_CLOEXEC
_SEALED = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC


class Trees(NamedTuple):
    """Detached mounts (open_tree(2)) made by the creator.

    :param root: the root file system.
    :param binds: by index into ``plan.mounts``.
    :param devices: by path; empty when the nodes can be made with mknod(2).
    """

    root: int
    binds: dict[int, int]
    devices: dict[str, int]


def build(plan: Plan, trees: Trees) -> Terminal | None:
    """Make the tree the process's root; return the pty when the plan has one."""
    root = trees.root
    os.umask(0)  # The modes of what is made are the plan's.
    with doing("separate the mounts from the host's"):
        syscalls.mount_setattr("/", flags=syscalls.AT_RECURSIVE, propagation=syscalls.MS_PRIVATE)
    with doing(f"mount the root file system {plan.rootfs}"):
        syscalls.move_mount(root, "/")
    proc = _mount_all(plan, trees)
    terminal = None
    if plan.populate_dev:
        _populate_dev(root, plan.devices, trees.devices)
    if plan.process.terminal:
        terminal = Terminal(*open_pty(root, plan.process.size))
        _mount_console(root, terminal.slave)
    _write_sysctls(plan, proc)
    mask(root, plan.masked)
    make_read_only(root, plan.read_only_paths)
    _enter(plan, root)
    return terminal


def _mount_all(plan: Plan, trees: Trees) -> int | None:
    """Make the mounts in order; return the descriptor of the container's procfs if there is one."""
    proc: int | None = None
    for index, step in enumerate(plan.mounts):
        with doing(f"mount {step.source or step.type} on {step.target}"):
            tree = trees.binds.get(index)
            directory = tree is None or _is_directory(tree)
            # A link at /proc or /sys could put them where nothing is masked.
            follow = step.type not in ("proc", "sysfs")
            covers = step.type == "tmpfs" and exists(trees.root, step.target)
            target = make_target(trees.root, step.target, directory=directory, follow=follow)
            _check_not_proc(target, proc, step)
            if tree is None:
                mounted = mount_file_system(target, step, plan, keep_mode=covers)
                proc = mounted if step.type == "proc" else proc
            else:
                _check_kind(step, directory, target)
                syscalls.move_mount(tree, target)
            os.close(target)
    return proc


def _is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)


def _check_kind(step: MountStep, directory: bool, target: int) -> None:
    """Refuse what move_mount(2) would call an invalid argument."""
    if directory != _is_directory(target):
        hint = "are you trying to mount a directory onto a file, or a file onto a directory?"
        raise InvalidInput(f"cannot mount {step.source} on {step.target}: not a directory", hint=hint)


def _check_not_proc(target: int, proc: int | None, step: MountStep) -> None:
    """Refuse a target that a link in the image moved into /proc."""
    if proc is not None and not step.over_proc and os.fstat(target).st_dev == os.fstat(proc).st_dev:
        raise InvalidInput(f"{step.target} cannot be mounted because it is inside /proc")


def _populate_dev(root: int, devices: Sequence[Device], trees: dict[str, int]) -> None:
    for device in devices:
        with doing(f"make the device {device.path}"):
            if device.path in trees:
                target = make_target(root, device.path, directory=False)
                syscalls.move_mount(trees[device.path], target)
                os.close(target)
            else:
                _make_node(root, device)
    for link, target_path in DEV_LINKS:
        if link == "/dev/core" and not os.path.exists(target_path):
            continue  # a kernel without it
        with doing(f"link {link}"):
            _make_link(root, link, target_path)


def _make_node(root: int, device: Device) -> None:
    with make_parent(root, device.path) as (directory, name):
        with suppress(FileExistsError):
            os.mknod(name, device.mode, os.makedev(device.major, device.minor), dir_fd=directory)
            if device.uid or device.gid:
                os.chown(name, device.uid, device.gid, dir_fd=directory, follow_symlinks=False)


def _make_link(root: int, link: str, target: str) -> None:
    with make_parent(root, link) as (directory, name):
        if name == "ptmx":  # The image's own would be a pty of the host.
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
        with suppress(FileExistsError):
            os.symlink(target, name, dir_fd=directory)


def _mount_console(root: int, slave: int) -> None:
    """Bind the pty itself: its path may lead elsewhere when /dev is shared with another container."""
    with doing("mount the terminal on /dev/console"):
        tree = syscalls.open_tree(slave)
        target = make_target(root, "/dev/console", directory=False)
        syscalls.move_mount(tree, target)
        for fd in (tree, target):
            os.close(fd)


def _write_sysctls(plan: Plan, proc: int | None) -> None:
    """Write below the procfs that this process mounted itself, whatever the image has at /proc."""
    for path, value in plan.sysctls:
        with doing(f"set the sysctl {path.replace('/', '.')} to {value!r}"):
            if proc is None:
                fd = os.open(f"/proc/sys/{path}", os.O_WRONLY | os.O_CLOEXEC)
            else:
                resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
                fd = syscalls.openat2(proc, f"sys/{path}", os.O_WRONLY, resolve=resolve)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)


def mask(root: int, paths: Sequence[str]) -> None:
    """Cover files with the host's /dev/null and directories with one empty tmpfs, read-only; skip missing paths.

    Read-only keeps the container's root from changing the mode of the host's node; data it takes all the same.
    """
    empty: int | None = None
    for path in paths:
        with doing(f"mask {path}"):
            target = _existing(root, path)
            if target is None:
                continue
            if not _is_directory(target):
                cover = syscalls.open_tree("/dev/null")
                syscalls.mount_setattr(cover, set=_SEALED)
            elif empty is None:
                cover = empty = _empty_directory()
            else:
                cover = syscalls.open_tree(empty)
            syscalls.move_mount(cover, target)
            os.close(target)


def _empty_directory() -> int:
    context = syscalls.fsopen("tmpfs")
    for name, value in (("source", "tmpfs"), ("size", "0"), ("nr_inodes", "1"), ("mode", "0755")):
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, name, value)
    syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
    mount = syscalls.fsmount(context, attributes=_SEALED | syscalls.MOUNT_ATTR_NODEV)
    os.close(context)
    return mount


def make_read_only(root: int, paths: Sequence[str]) -> None:
    """Bind each path onto itself, read-only with all below; skip missing paths."""
    for path in paths:
        with doing(f"make {path} read-only"):
            target = _existing(root, path)
            if target is None:
                continue
            flags = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | syscalls.AT_RECURSIVE
            tree = syscalls.open_tree(target, flags)
            syscalls.mount_setattr(tree, flags=syscalls.AT_RECURSIVE, set=syscalls.MOUNT_ATTR_RDONLY)
            syscalls.move_mount(tree, target)
            os.close(tree)
            os.close(target)


def _existing(root: int, path: str) -> int | None:
    try:
        return syscalls.openat2(root, path, _CREATE_FLAGS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def _enter(plan: Plan, root: int) -> None:
    """Make ``root`` the root of the mount namespace and let the host's tree go (pivot_root(2), "." trick)."""
    with doing("make the root file system the root"):
        os.fchdir(root)
        syscalls.pivot_root(".", ".")
        syscalls.umount(".", syscalls.MNT_DETACH)
        os.chdir("/")
    with suppress(OSError):  # A working directory that is not there is made; chdir(2) reports what went wrong.
        os.umask(0o022)
        os.makedirs(plan.process.cwd, exist_ok=True)
    with doing("set the root file system's options"):
        if plan.propagation:
            syscalls.mount_setattr("/", propagation=plan.propagation)
        if plan.read_only:
            syscalls.mount_setattr("/", set=syscalls.MOUNT_ATTR_RDONLY)
