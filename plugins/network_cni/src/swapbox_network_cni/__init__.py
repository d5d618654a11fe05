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
            Option("gc", "Clean-up frees what others hold by the same lists, too (GC): true or false.", "false"),
        ),
    )


def _open(context: DriverContext) -> NetworkDriver:
    from swapbox_network_cni.driver import Driver

    return Driver(
        context.root,
        context.run_root,
        conf_dir=context.options.get("conf-dir", _CONF_DIR),
        bin_dirs=context.options.get("bin-dir", _BIN_DIR),
        gc=_truth(context.options.get("gc", "false")),
    )


def _truth(value: str) -> bool:
    """Read the option ``gc``.

    :raises InvalidInput: it is neither word.
    """
    if value not in ("true", "false"):
        from swapbox.errors import InvalidInput

        raise InvalidInput(f"invalid value of gc in [options.network.cni]: {value!r}", hint="use true or false")
    return value == "true"


def _probe(context: DriverContext) -> ProbeResult:
    from swapbox_network_cni.probe import probe

    return probe(context, context.options.get("bin-dir", _BIN_DIR))
