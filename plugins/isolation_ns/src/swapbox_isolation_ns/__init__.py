"""Isolation by Linux namespaces, in process: no daemon, no runtime binary, one clone(2) per container."""

from __future__ import annotations

from collections.abc import Iterator

from swapbox import DriverContext, IsolationDriver, IsolationDriverSpec, ProbeResult, hookimpl


@hookimpl
def swapbox_isolations() -> Iterator[IsolationDriverSpec]:
    """Offer ``ns``."""
    yield IsolationDriverSpec(
        name="ns",
        summary="Linux namespaces, made by swapbox itself",
        factory=_open,
        probe=_probe,
        capabilities=frozenset({"warm"}),
        priority=50,
    )


def _open(context: DriverContext) -> IsolationDriver:
    from swapbox_isolation_ns.driver import Driver

    return Driver(context)


def _probe(context: DriverContext) -> ProbeResult:
    from swapbox_isolation_ns.probe import probe

    return probe(context)
