"""Whether this host carries a bridge network: asked before each container, so it only looks."""

from __future__ import annotations

from swapbox.drivers.common import DriverContext, ProbeResult, Supported, Unsupported
from swapbox.linux import caps, syscalls
from swapbox_network_bridge.program import find

_NET_ADMIN = 1 << caps.NAMES.index("CAP_NET_ADMIN")


def probe(context: DriverContext) -> ProbeResult:
    """Look for the privilege and the programs."""
    if context.unprivileged:
        return Unsupported("it needs root")
    if not syscalls.capget()[0] & _NET_ADMIN:
        return Unsupported("it needs the capability CAP_NET_ADMIN")
    if find("nft") is None and find("iptables") is None:
        return Unsupported("it needs the program nft of the package nftables, or iptables")
    return Supported()
