"""Whether bind mounts can be what ``-v ...:rshared`` and ``rslave`` ask for, see mount_namespaces(7).

A monitor lives in a mount namespace of its own, in which everything is a slave of the host's. So what is mounted
on the host appears in a container, and nothing that a container mounts ever appears on the host.
"""

from __future__ import annotations

import os

from swapbox.containers.config import MountSpec
from swapbox.errors import Conflict


def check_propagation(mount: MountSpec) -> None:
    """Check that the host's mount passes on what is mounted below it; the calling process is a monitor.

    :raises Conflict: it does not, in Docker's words.
    """
    kind = mount.propagation.removeprefix("r")
    if kind not in ("shared", "slave"):
        return
    point, propagates = _mount_of(mount.source)
    if not propagates:
        what = "a shared mount" if kind == "shared" else "a shared or slave mount"
        raise Conflict(f"path {mount.source} is mounted on {point} but it is not {what}")


def _mount_of(path: str) -> tuple[str, bool]:
    """Return the mount point that a path is below, and whether that mount is another one's slave."""
    path, best, propagates = os.path.realpath(path), "", False
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            point = _unescaped(fields[4])
            if len(point) >= len(best) and f"{path}/".startswith(f"{point.rstrip('/')}/"):
                optional = fields[6 : fields.index("-")]
                best, propagates = point, any(word.startswith("master:") for word in optional)
    return best, propagates


def _unescaped(text: str) -> str:
    """Return a path of mountinfo, in which blanks and backslashes are octal numbers, see proc_pid_mountinfo(5)."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
