"""What sets rules on this host: nftables, or iptables where nft is missing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from swapbox.drivers.network import Endpoint, Network
from swapbox.errors import Unsupported
from swapbox_network_bridge.program import find


class Firewall(Protocol):
    """Sets the rules of networks and endpoints; every change is one transaction."""

    def has_network(self, network: Network) -> bool:
        """Say whether a network's rules are there."""
        ...

    def add_network(self, network: Network) -> None:
        """Put a network's rules in place, or anew."""
        ...

    def remove_network(self, network: Network) -> None:
        """Remove a network's rules, and those of endpoints in it."""
        ...

    def guard_forwarding(self, *, wide: bool) -> None:
        """Drop what this host, which is about to forward packets, would pass between others than bridges."""
        ...

    def publish(self, endpoint: Endpoint) -> None:
        """Put the rules of an endpoint's published ports in place."""
        ...

    def withdraw(self, endpoint: Endpoint) -> None:
        """Remove what :meth:`publish` made; that there is nothing is fine."""
        ...

    def reconcile(self, network: Network, live: Callable[[], Collection[Endpoint]]) -> int:
        """Remove the rules of endpoints that are not alive; return how many had any."""
        ...


def open_firewall() -> Firewall:
    """Return what works here.

    :raises Unsupported: neither program is installed.
    """
    if (nft := find("nft")) is not None:
        from swapbox_network_bridge.nft import Nft

        return Nft(nft)
    from swapbox_network_bridge.iptables import Iptables, programs

    if found := programs():
        return Iptables(found)
    raise Unsupported("neither nft nor iptables is installed", hint="install the package nftables")
