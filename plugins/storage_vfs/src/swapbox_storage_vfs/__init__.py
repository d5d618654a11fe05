"""Storage by plain copies: simple, and it works everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import DriverContext, StorageDriverSpec, hookimpl

if TYPE_CHECKING:
    from swapbox_storage_vfs.driver import Driver


@hookimpl
def swapbox_storage_drivers() -> Iterator[StorageDriverSpec]:
    """Offer the driver ``vfs``."""
    yield StorageDriverSpec(
        name="vfs",
        summary="plain copies, works everywhere",
        factory=_open,
        capabilities=frozenset({"direct"}),
        priority=10,
    )


def _open(context: DriverContext) -> Driver:
    from swapbox_storage_vfs.driver import Driver

    return Driver(context.root)
