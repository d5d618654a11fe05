"""Volumes as directories of this host, or as what mount(8) can mount."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import DriverContext, VolumeDriverSpec, hookimpl

if TYPE_CHECKING:
    from swapbox_volume_local.driver import Driver


@hookimpl
def swapbox_volume_drivers() -> Iterator[VolumeDriverSpec]:
    """Offer the driver ``local``."""
    yield VolumeDriverSpec(
        name="local",
        summary="directories of this host, or what it can mount",
        factory=_open,
        priority=100,
    )


def _open(context: DriverContext) -> Driver:
    from swapbox_volume_local.driver import Driver

    return Driver(context.root)
