"""Limits and accounting by cgroup v2: one unified hierarchy, also in a subtree delegated to a user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import CgroupControllerSpec, Supported, Unsupported, hookimpl

if TYPE_CHECKING:
    from swapbox import CgroupController, DriverContext, ProbeResult

# Where a hybrid layout leaves some other controller to v2, containers still cannot be limited by it.
_NEEDED = frozenset({"memory", "pids"})


@hookimpl
def swapbox_cgroup_controllers() -> Iterator[CgroupControllerSpec]:
    """Offer ``v2``."""
    yield CgroupControllerSpec(
        name="v2",
        summary="cgroup v2, the unified hierarchy",
        factory=_open,
        probe=_probe,
        capabilities=frozenset({"track"}),
        priority=60,
    )


def _open(_context: DriverContext) -> CgroupController:
    from swapbox_cgroup_v2.driver import Controller
    from swapbox_cgroup_v2.hierarchy import find

    return Controller(find())


def _probe(_context: DriverContext) -> ProbeResult:
    from swapbox.errors import SwapboxError
    from swapbox_cgroup_v2.controllers import available
    from swapbox_cgroup_v2.hierarchy import find

    try:
        base = find()
    except SwapboxError as error:
        return Unsupported(error.message)
    missing = _NEEDED - available(base)
    if missing:
        return Unsupported(
            f"no controllers {', '.join(sorted(missing))} in {base}:"
            " the cgroup v1 hierarchies have them, or nobody delegated them"
        )
    return Supported()
