"""Whether this host can carry a runtime: its program is there, answers, and gets along with the cgroups here."""

from __future__ import annotations

import os

from swapbox.drivers.common import Broken, DriverContext, ProbeResult, Supported, Unsupported
from swapbox_isolation_oci.features import features
from swapbox_isolation_oci.program import ask, find

_NEEDED = ("mount", "pid", "network")
UNIFIED = "/sys/fs/cgroup/unified/cgroup.controllers"


def probe(name: str, context: DriverContext) -> ProbeResult:
    """Say whether this host can carry the runtime ``name``, and if not, what is missing."""
    path = find(name)
    if path is None:
        return Unsupported(f"the program {name} is not in $PATH")
    if os.geteuid() != 0:
        return Unsupported(f"{name} is used by root, or in the user namespace that swapbox makes")
    if name == "crun" and (controllers := _in_unified()):
        return Unsupported(
            f"crun does not work with cgroup v1 while cgroup v2 beside it has controllers ({controllers})"
        )
    if (code := ask((path, "--version")).code) != 0:
        return Broken(f"{path} --version ended with {code}")
    namespaces = features(path)["linux"]["namespaces"]
    lacking = [kind for kind in _NEEDED if kind not in namespaces]
    return Unsupported(f"{path} has no namespace of kind {', '.join(lacking)}") if lacking else Supported()


def _in_unified() -> str:
    """Return the controllers of a cgroup v2 hierarchy that is mounted beside those of version 1."""
    try:
        with open(UNIFIED, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
