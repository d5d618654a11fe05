"""Whether this host can carry the driver; looks only, makes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from swapbox.drivers.common import DriverContext, ProbeResult, Supported, Unsupported

MACHINES = ("x86_64", "aarch64")
_NAMESPACES = ("pid", "mnt", "uts", "ipc", "net")
_OLDEST = (5, 12)  # mount_setattr(2)
_CAP_SYS_ADMIN = 1 << 21
# Each forbids user namespaces to ordinary users when it holds the value beside it.
_USERNS_SWITCHES = (
    ("user/max_user_namespaces", "0"),
    ("kernel/unprivileged_userns_clone", "0"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1"),
)


def probe(_context: DriverContext) -> ProbeResult:
    """Say whether this host can carry the driver, and if not, what is missing."""
    host = os.uname()
    if host.machine not in MACHINES:
        return Unsupported(f"there is no start gate for {host.machine}, only for {' and '.join(MACHINES)}")
    if _version(host.release) < _OLDEST:
        return Unsupported(f"linux {host.release} is older than {_OLDEST[0]}.{_OLDEST[1]}")
    for name in _NAMESPACES:
        if not Path("/proc/self/ns", name).exists():
            return Unsupported(f"this kernel has no {name} namespaces")
    if _effective() & _CAP_SYS_ADMIN:
        return Supported()
    return _probe_user_namespaces()


def _probe_user_namespaces() -> ProbeResult:
    if not Path("/proc/self/ns/user").exists():
        return Unsupported("not root, and this kernel has no user namespaces")
    for name, forbidden in _USERNS_SWITCHES:
        path = Path("/proc/sys", name)
        if path.exists() and path.read_text().strip() == forbidden:
            return Unsupported(f"not root, and {path} is {forbidden}")
    return Supported()


def _effective() -> int:
    """Return the effective capabilities; from proc, since the probe is on the path of every command."""
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))


def _version(release: str) -> tuple[int, int]:
    major, minor, *_ = (*release.split("."), "0")
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)
