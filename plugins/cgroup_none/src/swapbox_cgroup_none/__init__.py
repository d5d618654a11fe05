"""No cgroup at all: containers run without limits and accounting where the host offers no cgroups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import CgroupControllerSpec, hookimpl

if TYPE_CHECKING:
    from swapbox import CgroupController, DriverContext


@hookimpl
def swapbox_cgroup_controllers() -> Iterator[CgroupControllerSpec]:
    """Offer ``none``."""
    yield CgroupControllerSpec(name="none", summary="no limits, no accounting", factory=_open)


def _open(_context: DriverContext) -> CgroupController:
    from swapbox_cgroup_none.driver import Controller

    return Controller()
