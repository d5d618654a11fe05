"""Networks through the plugins of the Container Network Interface (CNI): whatever they can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox import NetworkDriverSpec, Option, hookimpl

if TYPE_CHECKING:
    from swapbox import DriverContext, NetworkDriver, ProbeResult

_CONF_DIR = "/etc/cni/net.d"
_BIN_DIR = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni"


@hookimpl
def swapbox_network_drivers() -> Iterator[NetworkDriverSpec]:
    """Offer ``cni``."""
    yield NetworkDriverSpec(
        name="cni",
        summary="what a CNI configuration list says, by the CNI's own plugins",
        factory=_open,
        probe=_probe,
        capabilities=frozenset({"addresses", "by-name", "check", "names", "networks", "ports"}),
        options=(
            Option("conf-dir", "Where configuration lists are found by name.", _CONF_DIR),
            Option("bin-dir", "Where plugins are: directories, separated by colons.", _BIN_DIR),
        ),
    )


def _open(context: DriverContext) -> NetworkDriver:
    from swapbox_network_cni.driver import Driver

    return Driver(
        context.root,
        context.run_root,
        conf_dir=context.options.get("conf-dir", _CONF_DIR),
        bin_dirs=context.options.get("bin-dir", _BIN_DIR),
    )


def _probe(context: DriverContext) -> ProbeResult:
    from swapbox_network_cni.probe import probe

    return probe(context, context.options.get("bin-dir", _BIN_DIR))
