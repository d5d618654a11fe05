"""Mount the file systems of a container: proc, sysfs, tmpfs, devpts, mqueue, cgroup."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from swapbox.linux import syscalls
from swapbox_isolation_ns.plan import NAMESPACES, Plan
from swapbox_isolation_ns.plan_mounts import MountStep

_COPY = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC | syscalls.AT_RECURSIVE
_CGROUP = "/sys/fs/cgroup"
_NOT_ALLOWED = (errno.EPERM, errno.EACCES)

Options = Sequence[tuple[str, str | None]]


def mount_file_system(target: int, step: MountStep, plan: Plan, *, keep_mode: bool = False) -> int:
    """Mount what ``step`` asks for on the descriptor ``target``; return the mount, whose descriptor stays open.

    :param keep_mode: without a mode of its own the mount's root gets that of the directory it covers.
    """
    if step.type in ("cgroup", "cgroup2"):
        mount = _mount_cgroups(target, step, plan)
    else:
        mount = _make(step, _options(target, step) if keep_mode else step.options, plan)
        syscalls.move_mount(mount, target)
    if step.propagation != syscalls.MS_PRIVATE:
        syscalls.mount_setattr(mount, propagation=step.propagation)
    return mount


def _make(step: MountStep, options: Options, plan: Plan) -> int:
    try:
        return detached(step.type, step.source or step.type, options, step.set)
    except OSError as error:
        # A user namespace may mount what belongs to its own network, pid or ipc namespace. When that one was there
        # before, the host's mount is all there is.
        owner = {"sysfs": "network", "proc": "pid", "mqueue": "ipc"}.get(step.type)
        if error.errno not in _NOT_ALLOWED or owner is None or plan.new & NAMESPACES[owner]:
            raise
        host = {"sysfs": "/sys", "proc": "/proc", "mqueue": "/dev/mqueue"}[step.type]
        mount = syscalls.open_tree(host, _COPY)
        syscalls.mount_setattr(mount, flags=syscalls.AT_RECURSIVE, set=step.set, propagation=syscalls.MS_PRIVATE)
        return mount


def _options(target: int, step: MountStep) -> Options:
    if any(name == "mode" for name, _ in step.options):
        return step.options
    return (*step.options, ("mode", f"{stat.S_IMODE(os.fstat(target).st_mode):o}"))


def detached(kind: str, source: str, options: Options, attributes: int) -> int:
    """Return a new mount of file system ``kind`` that is attached nowhere yet."""
    context = syscalls.fsopen(kind)
    try:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, "source", source)
        for name, value in options:
            if value is None:
                syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, name)
            else:
                syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, name, value)
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
        return syscalls.fsmount(context, attributes=attributes)
    finally:
        os.close(context)


def _mount_cgroups(target: int, step: MountStep, plan: Plan) -> int:
    """Mount the container's own part of the hierarchies: one mount with cgroup v2, one for each with v1."""
    attributes = step.set
    hierarchies = _hierarchies()
    if not any(controllers for controllers, _ in hierarchies):
        path = hierarchies[0][1] if hierarchies else "/"
        mount = _cgroup(plan, "cgroup2", (), f"{_CGROUP}{path}", attributes)
        syscalls.move_mount(mount, target)
        return mount
    # The mount is made writable and read-only at the end: the hierarchies' mount points go onto it.
    writable = attributes & ~syscalls.MOUNT_ATTR_RDONLY
    mount = detached("tmpfs", "tmpfs", (("mode", "755"),), writable)
    syscalls.move_mount(mount, target)
    for controllers, path in hierarchies:
        if controllers:
            with _skipping_forbidden():
                _mount_hierarchy(mount, plan, controllers, path, attributes)
    syscalls.mount_setattr(mount, set=attributes)
    return mount


class _skipping_forbidden(suppress):  # noqa: N801 - used like the function it derives from
    """Leave out a hierarchy that this user namespace may not mount, or that is mounted with other options."""

    def __init__(self) -> None:
        super().__init__(PermissionError, FileNotFoundError)


def _mount_hierarchy(top: int, plan: Plan, controllers: str, path: str, attributes: int) -> None:
    """Mount one hierarchy below the tmpfs ``top``, which is ours and needs no caution."""
    name = controllers.removeprefix("name=")
    if controllers != name:
        options: Options = (("name", name),)
    else:
        options = tuple((controller, None) for controller in name.split(","))
    mount = _cgroup(plan, "cgroup", options, f"{_CGROUP}/{name}{path}", attributes)
    os.mkdir(name, 0o755, dir_fd=top)
    onto = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=top)
    syscalls.move_mount(mount, onto)
    os.close(mount)
    os.close(onto)
    if "," in name:
        for alias in name.split(","):
            os.symlink(name, alias, dir_fd=top)


def _cgroup(plan: Plan, kind: str, options: Options, host_path: str, attributes: int) -> int:
    """Return a hierarchy's mount: it starts at the cgroup namespace's root, else the container's part is bound."""
    if plan.owns("cgroup"):
        with suppress(PermissionError):
            return detached(kind, "cgroup", options, attributes)
    mount = syscalls.open_tree(host_path)
    syscalls.mount_setattr(mount, set=attributes, propagation=syscalls.MS_PRIVATE)
    return mount


def _hierarchies() -> list[tuple[str, str]]:
    """Return controllers and own path of each hierarchy (cgroups(7)); for version 2 the controllers are empty."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        fields = [line.rstrip("\n").split(":", 2) for line in file]
    return [(controllers, path.rstrip("/")) for _, controllers, path in fields]
