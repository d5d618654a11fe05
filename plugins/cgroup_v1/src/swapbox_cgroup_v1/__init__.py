"""Limits and accounting by cgroup v1: one hierarchy of groups per controller."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import CgroupControllerSpec, Supported, Unsupported, hookimpl

if TYPE_CHECKING:
    from swapbox import CgroupController, DriverContext, ProbeResult


@hookimpl
def swapbox_cgroup_controllers() -> Iterator[CgroupControllerSpec]:
    """Offer ``v1``."""
    yield CgroupControllerSpec(
        name="v1",
        summary="cgroup v1 hierarchies",
        factory=_open,
        probe=_probe,
        capabilities=frozenset({"track"}),
        priority=50,
    )


def _open(_context: DriverContext) -> CgroupController:
    from swapbox_cgroup_v1.driver import Controller
    from swapbox_cgroup_v1.hierarchies import find

    return Controller(find())


def _probe(_context: DriverContext) -> ProbeResult:
    import os

    from swapbox_cgroup_v1.hierarchies import find

    hierarchies = find()
    if not hierarchies:
        return Unsupported("no cgroup v1 hierarchy is mounted")
    for point in hierarchies.values():
        if not os.access(point, os.W_OK):
            return Unsupported(f"{point} is not writable")
    return Supported()
