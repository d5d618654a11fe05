"""Images from Docker Hub and from every registry that speaks the OCI distribution-spec."""

from __future__ import annotations

from collections.abc import Iterator

from swapbox import DriverContext, RegistryDriver, RegistrySpec, hookimpl
from swapbox.drivers.common import Option

_OPTIONS = (
    Option("timeout", "seconds to wait for an answer, and for each part of it", "60"),
    Option("insecure", "comma-separated hosts that are spoken to over plain HTTP, besides this machine", ""),
)


@hookimpl
def swapbox_registries() -> Iterator[RegistrySpec]:
    """Offer ``hub``."""
    yield RegistrySpec(
        name="hub",
        summary="Docker Hub and every OCI registry, over HTTPS",
        factory=_open,
        capabilities=frozenset({"login"}),
        priority=100,
        options=_OPTIONS,
    )


def _open(context: DriverContext) -> RegistryDriver:
    from swapbox_registry_hub.driver import Driver

    return Driver.from_options(context.options, warn=context.warn)
