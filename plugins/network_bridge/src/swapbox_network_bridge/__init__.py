"""Networks on a Linux bridge, with a way out through NAT and published ports: Docker's default."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import NetworkDriverSpec, hookimpl

if TYPE_CHECKING:
    from swapbox import DriverContext, NetworkDriver, ProbeResult


@hookimpl
def swapbox_network_drivers() -> Iterator[NetworkDriverSpec]:
    """Offer ``bridge``."""
    yield NetworkDriverSpec(
        name="bridge",
        summary="a bridge on this host, NAT to the outside, published ports",
        factory=_open,
        probe=_probe,
        capabilities=frozenset({"names", "networks", "ports", "warm", "ways"}),
        priority=60,
    )


def _open(context: DriverContext) -> NetworkDriver:
    from swapbox_network_bridge.driver import Driver

    return Driver(context.run_root, place=context.place)


def _probe(context: DriverContext) -> ProbeResult:
    from swapbox_network_bridge.probe import probe

    return probe(context)
