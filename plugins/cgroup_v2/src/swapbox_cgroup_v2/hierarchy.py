"""Where groups can be made: at the unified hierarchy's root, or in the subtree that was delegated to the user."""

from __future__ import annotations

import os
from pathlib import Path

from swapbox.errors import PermissionDenied, Unsupported
from swapbox.linux.cgroupfs import mounts

_HINT = "run inside a delegated group: systemd-run --user --scope --property Delegate=yes ..."


def find(proc: Path = Path("/proc/self")) -> str:
    """Return the topmost group below which the caller may make groups.

    :param proc: a process' folder, for tests.
    :raises Unsupported: no unified hierarchy is mounted.
    :raises PermissionDenied: nothing of it is delegated to the caller.
    """
    mount = next(mounts("cgroup2", str(proc / "mountinfo")), None)
    if mount is None:
        raise Unsupported("no cgroup v2 hierarchy is mounted")
    for group in _own_groups(mount.point, mount.root, proc):
        if _is_delegated(group):
            return group
    raise PermissionDenied(f"no group of {mount.point} is writable", hint=_HINT)


def _own_groups(point: str, root: str, proc: Path) -> list[str]:
    """Return the groups from the root of the mount down to the caller's own."""
    for line in (proc / "cgroup").read_text().splitlines():
        number, _, rest = line.partition("::")
        if number == "0" and rest:
            own = [part for part in os.path.relpath(rest, root).split("/") if part not in (".", "..")]
            return ["/".join((point, *own[:depth])) for depth in range(len(own) + 1)]
    return [point]


def _is_delegated(group: str) -> bool:
    """Say whether the caller may make groups here, give them controllers and move processes between them."""
    return all(
        os.access(path, os.W_OK) for path in (group, f"{group}/cgroup.procs", f"{group}/cgroup.subtree_control")
    )
