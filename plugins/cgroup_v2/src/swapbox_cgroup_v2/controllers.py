"""Give groups the controllers they need: each ancestor passes them on in ``cgroup.subtree_control``."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence

from swapbox.drivers.cgroup import Resources
from swapbox.errors import Conflict, SwapboxError, Unsupported
from swapbox.linux import cgroupfs
from swapbox.linux.cgroupfs import Cgroupfs
from swapbox_cgroup_v2.settings import Setting, not_here

# They count what a container uses; the others are given to a group only when something is set in them.
_ALWAYS = ("memory", "pids", "cpu", "io")


def available(group: str) -> frozenset[str]:
    """Return the controllers that a group can pass on."""
    with open(f"{group}/cgroup.controllers", encoding="ascii") as file:
        return frozenset(file.read().split())


def lacking(base: str, resources: Resources, settings: Sequence[Setting]) -> dict[str, str]:
    """Return what needs a controller that ``base`` has not, or what no cgroup v2 can do: key to reason."""
    found, usable = not_here(resources), available(base)
    for setting in settings:
        if setting.controller not in usable:
            found[setting.key] = f"no controller {setting.controller} in {base}"
    return found


def check(missing: Mapping[str, str]) -> None:
    """Refuse what is missing.

    :raises Unsupported: something is.
    """
    for key, reason in missing.items():
        raise Unsupported(f"cannot set {key}: {reason}")


def give(fs: Cgroupfs, group: str, base: str, required: Collection[str]) -> None:
    """Let the groups from ``base`` down to the parent of ``group`` pass on controllers.

    :param required: have to be given; those that only count may fail.
    :raises Conflict: a group on the way has processes of its own.
    """
    wanted = available(base).intersection(_ALWAYS) | set(required)
    parts = group.split("/")
    for depth in range(len(base.split("/")), len(parts)):
        _enable(fs, "/".join(parts[:depth]), wanted, required)


def _enable(fs: Cgroupfs, group: str, wanted: Collection[str], required: Collection[str]) -> None:
    file = f"{group}/cgroup.subtree_control"
    for controller in sorted(set(wanted) - set(fs.read(file).split())):
        try:
            fs.write(file, f"+{controller}")
        except OSError as error:
            if controller in required:
                raise _failure(error, controller, group) from error


def _failure(error: OSError, controller: str, group: str) -> SwapboxError:
    if error.errno == errno.EBUSY:
        return Conflict(
            f"cannot give the controller {controller} to the children of {group}: it has processes of its own",
            hint="cgroup v2 lets only a group without processes do that; move them into a child group first",
        )
    return cgroupfs.translated(error, f"give the controller {controller} to the children of {group}")
