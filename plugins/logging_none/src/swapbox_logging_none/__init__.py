"""No log at all: what the container prints goes to attached clients and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import LogDriverSpec, hookimpl

if TYPE_CHECKING:
    from swapbox import DriverContext, LogDriver


@hookimpl
def swapbox_log_drivers() -> Iterator[LogDriverSpec]:
    """Offer ``none``."""
    yield LogDriverSpec(
        name="none",
        summary="keeps no log",
        factory=_open,
        capabilities=frozenset({"recipe"}),
    )


def _open(_context: DriverContext) -> LogDriver:
    from swapbox_logging_none.driver import Driver

    return Driver()
