"""The two networks that need nothing: ``none`` (loopback only) and ``host`` (the host's own)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import NetworkDriverSpec, hookimpl

if TYPE_CHECKING:
    from swapbox import DriverContext, NetworkDriver


@hookimpl
def swapbox_network_drivers() -> Iterator[NetworkDriverSpec]:
    """Offer ``none`` and ``host``."""
    # Where no bridge can be, containers are cut off rather than let into the host's network.
    yield NetworkDriverSpec(name="none", summary="loopback only", factory=_none, priority=20)
    yield NetworkDriverSpec(
        name="host", summary="the host's own network, not isolated", factory=_host, priority=10
    )


def _none(_context: DriverContext) -> NetworkDriver:
    from swapbox_network_host.driver import Driver

    return Driver("none", "private")


def _host(_context: DriverContext) -> NetworkDriver:
    from swapbox_network_host.driver import Driver

    return Driver("host", "host")
