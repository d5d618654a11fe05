"""Storage for swapbox by the command ``cp``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import DriverContext, Option, ProbeResult, StorageDriverSpec, Supported, Unsupported, hookimpl

if TYPE_CHECKING:
    from swapbox_storage_cp.driver import Driver


@hookimpl
def swapbox_storage_drivers() -> Iterator[StorageDriverSpec]:
    """Offer the driver ``cp``."""
    yield StorageDriverSpec(
        name="cp",
        summary="copies made by the command cp",
        factory=_open,
        probe=_probe,
        options=(Option("reflink", "share blocks with the original: auto, always or never", "auto"),),
    )


def _open(context: DriverContext) -> Driver:
    from swapbox_storage_cp.driver import Driver

    return Driver(context.root, reflink=context.options.get("reflink", "auto"))


def _probe(_context: DriverContext) -> ProbeResult:
    from shutil import which

    return Supported() if which("cp") else Unsupported("there is no command cp")
