"""Images from directories and archives: no network is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from swapbox import DriverContext, RegistryDriver, RegistrySpec, hookimpl

_SUMMARIES = {
    "oci": "OCI image layouts in directories: oci:/path[:tag]",
    "oci-archive": "OCI image layouts in tar archives: oci-archive:/file.tar[:tag]",
    "docker-archive": "what docker save writes: docker-archive:/file.tar[:name:tag]",
}


@hookimpl
def swapbox_registries() -> Iterator[RegistrySpec]:
    """Offer a driver for each transport."""
    powers = frozenset({"local", "by-name"})
    for name, summary in _SUMMARIES.items():
        yield RegistrySpec(name=name, summary=summary, factory=_opener(name), capabilities=powers)


def _opener(name: str) -> Callable[[DriverContext], RegistryDriver]:
    def open_driver(context: DriverContext) -> RegistryDriver:
        from swapbox_registry_layout.driver import Driver

        return Driver(name, scratch=context.root)

    return open_driver
