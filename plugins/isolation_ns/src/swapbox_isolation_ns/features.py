"""The OCI features document (runtime-spec 1.1, ``features.md``): what a ``config.json`` may ask of this driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swapbox.linux import caps, mounts
from swapbox_isolation_ns.plan import NAMESPACES
from swapbox_isolation_ns.seccomp import FLAGS
from swapbox_isolation_ns.seccomp_compile import ACTIONS, OPERATORS


def features() -> Mapping[str, Any]:
    """Return the document."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.1.0",
        "hooks": [],
        "mountOptions": sorted(mounts.OPTIONS - {"remount"}),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(caps.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False},
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": [f"SCMP_CMP_{name}" for name in OPERATORS],
                "supportedFlags": sorted(FLAGS),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
    }
