"""The OCI features document (runtime-spec 1.1, ``features.md``) of a runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from swapbox_isolation_oci.program import ask

_ASSUMED: Mapping[str, Any] = {
    "ociVersionMin": "1.0.0",
    "ociVersionMax": "1.0.2",
    "hooks": [],
    "mountOptions": [],
    "linux": {"namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"]},
}
"""What every runtime of OCI 1.0 has, for those that cannot tell."""


def features(path: str) -> Mapping[str, Any]:
    """Return what the program says of itself; before OCI 1.1 there was no such question."""
    said = ask((path, "features"))
    if said.code != 0:
        return _ASSUMED
    try:
        document: Mapping[str, Any] = json.loads(said.out)
        return {**_ASSUMED, **document, "linux": {**_ASSUMED["linux"], **document["linux"]}}
    except (ValueError, KeyError, TypeError):
        return _ASSUMED
