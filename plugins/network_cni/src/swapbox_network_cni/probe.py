"""Whether this host carries CNI networks: asked before each container, so it only looks."""

from __future__ import annotations

import os

from swapbox.drivers.common import DriverContext, ProbeResult, Supported, Unsupported
from swapbox.linux import caps, syscalls

_NET_ADMIN = 1 << caps.NAMES.index("CAP_NET_ADMIN")


def probe(context: DriverContext, bin_dirs: str) -> ProbeResult:
    """Look for the privilege and for a directory of plugins."""
    if context.unprivileged:
        return Unsupported("it needs root")
    if not syscalls.capget()[0] & _NET_ADMIN:
        return Unsupported("it needs the capability CAP_NET_ADMIN")
    if not any(os.path.isdir(directory) for directory in bin_dirs.split(":")):
        return Unsupported(f"it needs CNI plugins, such as those of containernetworking-plugins, in {bin_dirs}")
    return Supported()
