"""Bridge networks: the driver. What every start and end of a container needs is here; the rest comes late."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from swapbox.drivers.network import Connection, Endpoint, NamespaceMode, Network
from swapbox.errors import Unavailable
from swapbox_network_bridge.firewall import Firewall, open_firewall
from swapbox_network_bridge.netlink import Netlink, open_namespace
from swapbox_network_bridge.options import Settings, host_address, marks, port_name, settings


class Driver:
    """Networks on bridges.

    :param run_root: has the lock of who makes bridges and rules.
    :param place: returns what tells the networks of one root directory from those of others; empty for no such
        difference.
    :param firewall: sets the rules; None for what works best here.
    """

    def __init__(
        self, run_root: Path, *, place: Callable[[], str] = str, firewall: Firewall | None = None
    ) -> None:
        self._run_root = run_root
        self._place = place
        self._firewall_in_use = firewall

    @property
    def _firewall(self) -> Firewall:
        if self._firewall_in_use is None:
            self._firewall_in_use = open_firewall()
        return self._firewall_in_use

    def warm_up(self) -> None:
        """Find the firewall while the monitor waits for its order."""
        _ = self._firewall

    def namespace(self, network: Network) -> NamespaceMode:
        """Say that every container has a namespace of its own."""
        return "private"

    # -- networks -----------------------------------------------------------------------------------------------

    def create_network(self, network: Network) -> None:
        """Make the bridge and its rules."""
        settings(network)
        with self._locked():
            try:
                self._make(network)
            except BaseException:
                with contextlib.suppress(Unavailable):
                    self._remove(network)
                raise

    def _make(self, network: Network) -> None:
        from swapbox_network_bridge import bridge

        bridge.check(network)
        # Rules first: there is no moment in which containers can be reached that must not be.
        self._firewall.add_network(network)
        for wide in (False, True)[: 2 if network.ipv6 else 1]:
            if not bridge.forwards(wide=wide):
                # As Docker does: a host that was no router must not become one between networks of its own.
                self._firewall.guard_forwarding(wide=wide)
                bridge.forward(wide=wide)
        bridge.make(network, owner=self._owner())  # last: a bridge that is up says that everything is there

    def remove_network(self, network: Network) -> None:
        """Remove the bridge and its rules."""
        with self._locked():
            self._remove(network)

    def _remove(self, network: Network) -> None:
        from swapbox_network_bridge import bridge

        bridge.remove(network)
        self._firewall.remove_network(network)

    def reconcile(self, networks: Collection[Network], live: Callable[[], Collection[Endpoint]]) -> int:
        """Remove links and rules of endpoints that are not alive, and networks that nobody knows any more."""
        from swapbox_network_bridge import bridge

        freed = 0
        for network in networks:
            freed += bridge.reconcile(network, live) + self._firewall.reconcile(network, live)
        for stray in bridge.strays(self._owner(), {network.id for network in networks}):
            with self._locked():
                self._firewall.remove_network(stray)
                bridge.remove(stray)  # last: it is what is found
            freed += 1
        return freed

    def _owner(self) -> str:
        """Return a word that stands in the alias of every bridge made here."""
        return self._place()

    def host_address(self, network: Network) -> str:
        """Return where ports are published that name no address: as the network's options say."""
        return host_address(network)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._run_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._run_root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    # -- endpoints ----------------------------------------------------------------------------------------------

    def connect(self, netns: Path, endpoint: Endpoint) -> Connection:
        """Make a pair of links, one end at the bridge and one in the container, and publish ports."""
        own = settings(endpoint.network)
        with _sockets(netns, endpoint) as (host, fd), contextlib.ExitStack() as undo:
            self._connect(host, fd, endpoint, own, undo)
            undo.pop_all()
        gateways = tuple(subnet.gateway for subnet in endpoint.network.subnets)
        return Connection(endpoint.addresses, gateways, mac_address=endpoint.mac_address)

    def _connect(
        self, host: Netlink, netns: int, endpoint: Endpoint, own: Settings, undo: contextlib.ExitStack
    ) -> None:
        bridge = self._bridge(host, endpoint.network, own)
        name, wide = port_name(endpoint), any(":" in address for address in endpoint.addresses)
        host.make_pair(
            name, bridge=bridge, peer=endpoint.interface, netns=netns, mac=endpoint.mac_address, mtu=own.mtu
        )
        undo.callback(host.remove, name)
        if endpoint.ports or not own.icc:
            host.set_port(name, hairpin=bool(endpoint.ports), isolated=not own.icc)
        inside = Netlink.inside(netns)
        try:
            index = inside.index(endpoint.interface)
            inside.set_up(index, ipv6=wide)
            for address in (*endpoint.addresses, *endpoint.link_local):
                inside.add_address(index, address)
            for gateway in _gateways(endpoint):
                inside.set_default_route(index, gateway)
        finally:
            inside.close()
        if endpoint.ports:
            undo.callback(self._firewall.withdraw, endpoint)
            self._firewall.publish(endpoint)

    def reroute(self, netns: Path, endpoint: Endpoint) -> None:
        """Set or drop the default routes through the endpoint, and publish or withdraw its ports."""
        with _sockets(netns, endpoint) as (host, fd):
            with contextlib.closing(Netlink.inside(fd)) as inside:
                index = inside.index(endpoint.interface)
                for gateway in _gateways(endpoint._replace(gateway=True)):
                    change = inside.set_default_route if endpoint.gateway else inside.drop_default_route
                    change(index, gateway)
            self._firewall.withdraw(endpoint)
            if endpoint.ports:
                own = settings(endpoint.network)
                host.set_port(port_name(endpoint), hairpin=True, isolated=not own.icc)
                self._firewall.publish(endpoint)

    def _bridge(self, host: Netlink, network: Network, own: Settings) -> int:
        """Return the number of the network's bridge; what of the network is not there is made."""
        if (index := self._complete(host, network, own)) is not None:
            return index
        with self._locked():
            if (index := self._complete(host, network, own)) is not None:
                return index
            self._make(network)
        return host.index(own.bridge)

    def _complete(self, host: Netlink, network: Network, own: Settings) -> int | None:
        """Return the number of the network's bridge; None when something of the network is missing."""
        link = host.link(own.bridge)
        if link is None or not link.up or not marks(link.alias, network):
            return None
        return link.number if self._firewall.has_network(network) else None

    def disconnect(self, netns: Path | None, endpoint: Endpoint) -> None:
        """Withdraw the ports and cut the link; that of a namespace that is gone the kernel removes by itself.

        Removing it here would let every container's end wait for the 30 ms that the kernel needs for it.
        """
        if endpoint.ports:
            self._firewall.withdraw(endpoint)
        host = Netlink()
        try:
            if netns is None:
                host.cut(port_name(endpoint))
            else:
                host.remove(port_name(endpoint))
        except OSError as error:
            raise Unavailable(
                f"cannot disconnect from network {endpoint.network.name}: {error.strerror}"
            ) from error
        finally:
            host.close()

    def close(self) -> None:
        """Nothing is held open."""


@contextlib.contextmanager
def _sockets(netns: Path, endpoint: Endpoint) -> Iterator[tuple[Netlink, int]]:
    """Yield a netlink socket of the host and a descriptor of a container's namespace, to change both.

    :raises Unavailable: the kernel refuses.
    """
    try:
        with contextlib.closing(Netlink()) as host:
            fd = open_namespace(netns)
            try:
                yield host, fd
            finally:
                os.close(fd)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unavailable(f"cannot connect to network {endpoint.network.name}: {reason}") from error


def _gateways(endpoint: Endpoint) -> Iterator[str]:
    """Yield the gateways of the container's default routes."""
    if not endpoint.gateway or endpoint.network.internal:
        return
    families = {":" in address for address in endpoint.addresses}
    for subnet in endpoint.network.subnets:
        if (":" in subnet.gateway) in families:
            families.remove(":" in subnet.gateway)
            yield subnet.gateway
