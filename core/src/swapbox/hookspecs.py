"""The whole extension surface: every hook swapbox calls, and what it does when an implementation fails.

A plugin implements any of these with ``@swapbox.hookimpl``. *Offering* hooks yield spec records and are called
once, when drivers are chosen. *Editing and observing* hooks are called while containers live; each has a
:class:`Policy`. Drivers themselves are plain objects that the core calls directly: no storage or I/O call ever
goes through pluggy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from swapbox.plugins.markers import hookspec

if TYPE_CHECKING:
    import click

    from swapbox.descriptors import Descriptor
    from swapbox.drivers.cgroup import CgroupControllerSpec
    from swapbox.drivers.isolation import IsolationDriverSpec
    from swapbox.drivers.logging import LogDriverSpec
    from swapbox.drivers.network import NetworkDriverSpec
    from swapbox.drivers.registry import RegistrySpec
    from swapbox.drivers.storage import StorageDriverSpec
    from swapbox.drivers.volume import VolumeDriverSpec
    from swapbox.references import Reference
    from swapbox.store.events import Event


class Policy(NamedTuple):
    """What the core does when an implementation of a hook raises or takes too long.

    :param on_error: ``fail`` ends the operation with the plugin's error; ``warn`` prints it and goes on.
    :param timeout: seconds an implementation may take before that counts as an error.
    """

    on_error: Literal["fail", "warn"]
    timeout: float


POLICIES: Mapping[str, Policy] = {
    "swapbox_container_spec": Policy(on_error="fail", timeout=10.0),
    "swapbox_verify_image": Policy(on_error="fail", timeout=60.0),
    "swapbox_event": Policy(on_error="warn", timeout=2.0),
    "swapbox_cli": Policy(on_error="warn", timeout=2.0),
    "swapbox_doctor": Policy(on_error="warn", timeout=10.0),
}


class Finding(NamedTuple):
    """One line of ``swapbox info``: what a plugin found on this host."""

    level: Literal["ok", "warning", "error"]
    message: str
    hint: str = ""


@hookspec
def swapbox_registries() -> Iterator[RegistrySpec]:  # type: ignore[empty-body]
    """Offer registry drivers."""


@hookspec
def swapbox_storage_drivers() -> Iterator[StorageDriverSpec]:  # type: ignore[empty-body]
    """Offer storage drivers."""


@hookspec
def swapbox_isolations() -> Iterator[IsolationDriverSpec]:  # type: ignore[empty-body]
    """Offer isolation drivers."""


@hookspec
def swapbox_cgroup_controllers() -> Iterator[CgroupControllerSpec]:  # type: ignore[empty-body]
    """Offer cgroup controllers."""


@hookspec
def swapbox_log_drivers() -> Iterator[LogDriverSpec]:  # type: ignore[empty-body]
    """Offer log drivers."""


@hookspec
def swapbox_network_drivers() -> Iterator[NetworkDriverSpec]:  # type: ignore[empty-body]
    """Offer network drivers."""


@hookspec
def swapbox_volume_drivers() -> Iterator[VolumeDriverSpec]:  # type: ignore[empty-body]
    """Offer volume drivers."""


@hookspec
def swapbox_container_spec(spec: dict[str, Any], container: Mapping[str, Any]) -> None:
    """Edit the OCI ``config.json`` of a container in place, before it is written."""


@hookspec
def swapbox_verify_image(reference: Reference, descriptor: Descriptor) -> None:
    """Refuse an image by raising, after its manifest was resolved and before any blob is fetched."""


@hookspec
def swapbox_event(event: Event) -> None:
    """Observe what happened."""


@hookspec
def swapbox_cli(group: click.Group) -> None:
    """Add commands to the command line."""


@hookspec
def swapbox_doctor() -> Iterator[Finding]:  # type: ignore[empty-body]
    """Report what is well or wrong on this host, for ``swapbox info``."""
