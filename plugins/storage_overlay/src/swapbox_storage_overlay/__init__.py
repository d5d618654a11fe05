"""Storage by overlayfs: each snapshot holds what it changed, and the kernel merges them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import DriverContext, ProbeResult, StorageDriverSpec, hookimpl

if TYPE_CHECKING:
    from swapbox_storage_overlay.driver import Driver


@hookimpl
def swapbox_storage_drivers() -> Iterator[StorageDriverSpec]:
    """Offer the driver ``overlay``."""
    yield StorageDriverSpec(
        name="overlay",
        summary="layers merged by the kernel (overlayfs)",
        factory=_open,
        probe=_probe,
        capabilities=frozenset({"direct", "changes", "rebase"}),
        priority=50,
    )


def _open(context: DriverContext) -> Driver:
    from swapbox_storage_overlay.driver import Driver

    return Driver(context.root, unprivileged=context.unprivileged)


def _probe(context: DriverContext) -> ProbeResult:
    from swapbox_storage_overlay.probe import probe

    return probe(context)
