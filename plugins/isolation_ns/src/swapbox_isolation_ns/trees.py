"""Open what a container takes from the host as detached mounts, before it is cloned.

The creator may walk any path; the child, in a user namespace of its own, often may not. And a source that is
opened once cannot be exchanged afterwards.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack

from swapbox.errors import NotFound
from swapbox.linux import syscalls
from swapbox_isolation_ns.failures import doing, translate
from swapbox_isolation_ns.plan import Plan
from swapbox_isolation_ns.plan_mounts import MountStep
from swapbox_isolation_ns.rootfs import Trees

_COPY = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC


def open_trees(plan: Plan, stack: ExitStack, *, bind_devices: bool) -> Trees:
    """Open the root file system, the sources of bind mounts and, if they cannot be made, the devices.

    :raises NotFound: a source does not exist.
    """
    with doing(f"open the root file system {plan.rootfs}"):
        root = _opened(stack, syscalls.open_tree(plan.rootfs, _COPY | syscalls.AT_RECURSIVE))
        syscalls.mount_setattr(root, flags=syscalls.AT_RECURSIVE, propagation=syscalls.MS_PRIVATE)
    binds = {index: _opened(stack, _open_bind(step)) for index, step in enumerate(plan.mounts) if step.bind}
    devices: dict[str, int] = {}
    if bind_devices and plan.populate_dev:
        for device in plan.devices:
            with doing(f"open the device {device.path}"):
                devices[device.path] = _opened(stack, syscalls.open_tree(device.path, _COPY))
    return Trees(root, binds, devices)


def _opened(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _open_bind(step: MountStep) -> int:
    try:
        tree = syscalls.open_tree(step.source, _COPY | (syscalls.AT_RECURSIVE if step.recursive else 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NotFound(f"bind source path does not exist: {step.source}") from None
        raise translate(error, f"open the bind source {step.source}") from error
    try:
        _set_options(tree, step)
    except OSError as error:
        os.close(tree)
        raise translate(error, f"set the options of the bind mount {step.target}") from error
    return tree


def _set_options(tree: int, step: MountStep) -> None:
    """Set what was asked for and leave the rest, such as flags of the source's mount that may not be cleared."""
    syscalls.mount_setattr(
        tree,
        flags=syscalls.AT_RECURSIVE if step.propagation_recursive else 0,
        propagation=step.propagation,
    )
    if step.recursive_set or step.recursive_clear:
        syscalls.mount_setattr(
            tree, flags=syscalls.AT_RECURSIVE, set=step.recursive_set, clear=step.recursive_clear
        )
    if step.set or step.clear:
        syscalls.mount_setattr(tree, set=step.set, clear=step.clear)
