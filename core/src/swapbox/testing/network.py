"""What every network driver has to do. Subclass :class:`NetworkDriverContract` and give it your driver.

A driver with the capability ``networks`` subclasses :class:`NetworksContract`, and one with ``ports`` besides
:class:`PortsContract`. Their cases run in a network namespace of their own, which is the host to the driver.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.drivers.network import (
    Endpoint,
    Network,
    NetworkDriver,
    PortPublisher,
    PublishedPort,
    Rerouter,
    Subnet,
)
from swapbox.errors import SwapboxError
from swapbox.testing.hosts import Host, entered, host
from swapbox.testing.process import wait_until


class NetworkDriverContract:
    """The cases; those that connect a namespace need root."""

    @pytest.fixture
    def driver(self) -> NetworkDriver:
        """Return the driver under test."""
        raise NotImplementedError

    @pytest.fixture
    def network(self) -> Network:
        """Return a network that the driver can make."""
        raise NotImplementedError

    @pytest.fixture
    def endpoint(self, network: Network) -> Endpoint:
        """Return a container's place in the network."""
        return Endpoint("endpoint1", network, "c0ffee" * 10 + "1234", "c0ffeec0ffee")

    @pytest.fixture
    def netns(self) -> Iterator[Path]:
        """Return a new network namespace, kept by a process that does nothing."""
        if os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        with host() as made:
            yield Path(f"/proc/{made.pid}/ns/net")

    def test_a_network_is_made_and_removed_and_removing_it_again_is_fine(
        self, driver: NetworkDriver, network: Network
    ) -> None:
        driver.create_network(network)
        assert driver.namespace(network) in ("private", "host")
        driver.remove_network(network)
        driver.remove_network(network)

    @pytest.mark.root
    def test_an_endpoint_is_disconnected_as_often_as_asked(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, netns: Path
    ) -> None:
        driver.create_network(network)
        if driver.namespace(network) == "private":
            connection = driver.connect(netns, endpoint)
            assert all("/" in address for address in connection.addresses)
        driver.disconnect(netns, endpoint)
        driver.disconnect(netns, endpoint)
        driver.disconnect(None, endpoint)
        driver.remove_network(network)

    @pytest.mark.root
    def test_what_a_vanished_container_held_is_freed_once(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, netns: Path
    ) -> None:
        driver.create_network(network)
        if driver.namespace(network) == "private":
            driver.connect(netns, endpoint)
        driver.reconcile([network], lambda: [endpoint])
        driver.reconcile([network], list)
        assert driver.reconcile([network], list) == 0
        driver.remove_network(network)

    def test_disconnecting_what_was_never_connected_is_fine(
        self, driver: NetworkDriver, endpoint: Endpoint
    ) -> None:
        driver.disconnect(None, endpoint)

    def test_the_driver_may_be_closed_twice(self, driver: NetworkDriver) -> None:
        driver.close()
        driver.close()


_SECONDS = 5.0


class NetworksContract(NetworkDriverContract):
    """The cases of a driver of which people make networks."""

    @pytest.fixture(autouse=True)
    def _own_host(self) -> Iterator[None]:
        if os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        with host() as made, entered(made.pid):
            yield

    @pytest.fixture
    def network(self) -> Network:
        """Return a network of both families."""
        subnets = (Subnet("10.77.0.0/24", "10.77.0.1"), Subnet("fd77::/64", "fd77::1"))
        return Network("net", id="ab" * 32, subnets=subnets, ipv6=True)

    @pytest.fixture
    def other(self) -> Network:
        """Return a second network, of IPv4 only."""
        return Network("other", id="cd" * 32, subnets=(Subnet("10.78.0.0/24", "10.78.0.1"),))

    @pytest.fixture
    def endpoint(self, network: Network) -> Endpoint:
        """Return a container's place in the network."""
        return make_endpoint(network, 2)

    @pytest.fixture
    def neighbour(self, network: Network) -> Endpoint:
        """Return another container's place in the network."""
        return make_endpoint(network, 3)

    @pytest.fixture
    def places(self) -> Iterator[tuple[Host, Host]]:
        """Return the network namespaces of two containers."""
        with host() as one, host() as other:
            yield one, other

    def test_the_container_has_the_addresses_that_the_core_chose(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, places: tuple[Host, Host]
    ) -> None:
        driver.create_network(network)
        connection = driver.connect(netns_of(places[0]), endpoint)
        shown = places[0].ip("addr show eth0")
        assert all(address in shown for address in (*endpoint.addresses, endpoint.mac_address))
        assert connection.addresses == endpoint.addresses
        assert places[0].ip("route show default").split()[2] == "10.77.0.1"
        assert places[0].ip("-6 route show default").split()[2] == "fd77::1"
        driver.disconnect(netns_of(places[0]), endpoint)
        assert places[0].links() == set()
        driver.remove_network(network)

    @pytest.mark.parametrize("family", [4, 6])
    def test_two_containers_of_a_network_reach_each_other(
        self,
        driver: NetworkDriver,
        network: Network,
        endpoint: Endpoint,
        neighbour: Endpoint,
        places: tuple[Host, Host],
        family: int,
    ) -> None:
        driver.create_network(network)
        driver.connect(netns_of(places[0]), endpoint)
        driver.connect(netns_of(places[1]), neighbour)
        with serving(places[1], 80):
            assert reaches(places[0], bare(neighbour.addresses[family == 6]), 80)
        driver.remove_network(network)

    def test_a_second_network_is_another_interface_without_a_way_out(
        self,
        driver: NetworkDriver,
        network: Network,
        other: Network,
        endpoint: Endpoint,
        places: tuple[Host, Host],
    ) -> None:
        second = make_endpoint(other, 2)._replace(interface="eth1", gateway=False)
        for made in (network, other):
            driver.create_network(made)
        for place in (endpoint, second):
            driver.connect(netns_of(places[0]), place)
        assert places[0].links() == {"eth0", "eth1"}
        assert len(places[0].ip("route show default").splitlines()) == 1
        for made in (network, other):
            driver.remove_network(made)

    def test_containers_of_two_networks_do_not_reach_each_other(
        self,
        driver: NetworkDriver,
        network: Network,
        other: Network,
        endpoint: Endpoint,
        places: tuple[Host, Host],
    ) -> None:
        second = make_endpoint(other, 2)
        for made in (network, other):
            driver.create_network(made)
        driver.connect(netns_of(places[0]), endpoint)
        driver.connect(netns_of(places[1]), second)
        with serving(places[1], 80):
            assert reaches(places[1], bare(second.addresses[0]), 80)
            assert not reaches(places[0], bare(second.addresses[0]), 80, seconds=0.3)
        for made in (network, other):
            driver.remove_network(made)

    def test_what_somebody_has_taken_away_is_made_again(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, places: tuple[Host, Host]
    ) -> None:
        driver.create_network(network)
        driver.remove_network(network)  # as a reboot does
        driver.connect(netns_of(places[0]), endpoint)
        with serving(None, 80):
            assert reaches(places[0], "10.77.0.1", 80)
        driver.remove_network(network)

    def test_a_connection_that_fails_leaves_nothing(
        self,
        driver: NetworkDriver,
        network: Network,
        endpoint: Endpoint,
        neighbour: Endpoint,
        places: tuple[Host, Host],
    ) -> None:
        driver.create_network(network)
        before = links_of_network(driver, neighbour, places[1])
        with pytest.raises(SwapboxError):
            driver.connect(netns_of(places[0]), endpoint._replace(addresses=("10.77.0.2/24", "10.77.0.2/24")))
        assert (names_of_links(), places[0].links()) == (before, set())
        driver.remove_network(network)

    def test_a_dead_containers_links_go_and_its_addresses_can_be_given_away(
        self,
        driver: NetworkDriver,
        network: Network,
        endpoint: Endpoint,
        neighbour: Endpoint,
        places: tuple[Host, Host],
    ) -> None:
        driver.create_network(network)
        before = links_of_network(driver, neighbour, places[1])
        with host() as dead:
            driver.connect(netns_of(dead), endpoint)
        driver.disconnect(None, endpoint)
        driver.connect(netns_of(places[0]), endpoint._replace(id="99" * 32))
        with serving(None, 80):
            assert reaches(places[0], "10.77.0.1", 80)
        driver.disconnect(netns_of(places[0]), endpoint._replace(id="99" * 32))
        wait_until(lambda: names_of_links() == before, "no link is left")
        driver.remove_network(network)

    def test_a_container_that_comes_while_the_dead_are_looked_for_stays_connected(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, places: tuple[Host, Host]
    ) -> None:
        driver.create_network(network)
        live: list[Endpoint] = []

        def ask() -> list[Endpoint]:
            before = list(live)
            if not live:
                live.append(endpoint)
                driver.connect(netns_of(places[0]), endpoint)
            return before

        assert driver.reconcile([network], ask) == 0
        with serving(None, 80):
            assert reaches(places[0], "10.77.0.1", 80)
        driver.remove_network(network)

    def test_removing_networks_leaves_the_host_as_it_was(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, places: tuple[Host, Host]
    ) -> None:
        before = names_of_links()
        driver.create_network(network)
        driver.create_network(network)
        driver.connect(netns_of(places[0]), endpoint)
        driver.remove_network(network)
        assert names_of_links() == before


class PortsContract(NetworksContract):
    """The cases of a driver that publishes ports."""

    @pytest.fixture
    def endpoint(self, network: Network) -> Endpoint:
        """Return a container's place in the network, with published ports."""
        ports = [PublishedPort("tcp", 80, address, 8080) for address in ("0.0.0.0", "::")]
        ports += [PublishedPort("tcp", 80, "127.0.0.1", 8081), PublishedPort("udp", 53, "0.0.0.0", 5353)]
        return make_endpoint(network, 2)._replace(ports=tuple(ports))

    @pytest.mark.parametrize("target", ["127.0.0.1", "10.77.0.1", "fd77::1"])
    def test_a_published_port_is_reached_from_the_host(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, places: tuple[Host, Host], target: str
    ) -> None:
        driver.create_network(network)
        driver.connect(netns_of(places[0]), endpoint)
        with serving(places[0], 80):
            assert reaches(None, target, 8080)
            assert reaches(None, target, 8081) == (target == "127.0.0.1")
            driver.disconnect(None, endpoint)
            assert not reaches(None, target, 8080, seconds=0.3)
        driver.remove_network(network)

    def test_a_published_port_is_reached_by_the_neighbour_and_the_container_itself(
        self,
        driver: NetworkDriver,
        network: Network,
        endpoint: Endpoint,
        neighbour: Endpoint,
        places: tuple[Host, Host],
    ) -> None:
        driver.create_network(network)
        driver.connect(netns_of(places[0]), endpoint)
        driver.connect(netns_of(places[1]), neighbour)
        with serving(places[0], 80):
            assert reaches(places[1], "10.77.0.1", 8080)
            assert reaches(places[0], "10.77.0.1", 8080)
            assert not reaches(places[1], "10.77.0.1", 8081, seconds=0.3)
        driver.remove_network(network)

    def test_without_more_words_ports_are_published_on_every_address(
        self, driver: PortPublisher, network: Network
    ) -> None:
        assert driver.host_address(network) == ""

    def test_the_way_out_and_the_ports_go_through_another_network_and_back(
        self,
        driver: Rerouter,
        network: Network,
        other: Network,
        endpoint: Endpoint,
        places: tuple[Host, Host],
    ) -> None:
        """For drivers with the capability ``ways``."""
        if not hasattr(driver, "reroute"):
            pytest.skip("the driver has not the capability ways")
        second = make_endpoint(other, 2)._replace(interface="eth1", gateway=False)
        for made, place in ((network, endpoint), (other, second)):
            driver.create_network(made)
            driver.connect(netns_of(places[0]), place)
        with serving(places[0], 80):
            for now, then in ((second, endpoint), (endpoint, second)):
                for _ in range(2):
                    driver.reroute(netns_of(places[0]), then._replace(gateway=False, ports=()))
                    driver.reroute(netns_of(places[0]), now._replace(gateway=True, ports=endpoint.ports))
                assert places[0].ip("route show default").split()[2] == now.network.subnets[0].gateway
                assert reaches(None, "127.0.0.1", 8080)
        driver.disconnect(None, second)
        for made in (network, other):
            driver.remove_network(made)

    def test_ports_of_a_container_that_vanished_are_freed(
        self, driver: NetworkDriver, network: Network, endpoint: Endpoint, places: tuple[Host, Host]
    ) -> None:
        driver.create_network(network)
        driver.connect(netns_of(places[0]), endpoint)
        assert driver.reconcile([network], lambda: [endpoint]) == 0
        with serving(places[0], 80):
            assert reaches(None, "127.0.0.1", 8080)
            assert driver.reconcile([network], list) > 0
            assert not reaches(None, "127.0.0.1", 8080, seconds=0.3)
        driver.remove_network(network)


def make_endpoint(network: Network, number: int) -> Endpoint:
    """Return a container's place in a network, with the addresses of this number."""
    addresses = []
    for subnet in network.subnets:
        head, prefix = subnet.gateway[:-1], subnet.subnet.partition("/")[2]
        addresses.append(f"{head}{number}/{prefix}")
    mac, identity = f"02:42:0a:4d:00:{number:02x}", f"{network.id[:2]}{number:02x}" * 16
    return Endpoint(identity, network, identity, identity[:12], addresses=tuple(addresses), mac_address=mac)


def netns_of(place: Host) -> Path:
    """Return what a driver is told of a namespace."""
    return Path(f"/proc/{place.pid}/ns/net")


def links_of_network(driver: NetworkDriver, endpoint: Endpoint, place: Host) -> set[str]:
    """Return the names of the host's links once a network has had a container: some are made for the first."""
    driver.connect(netns_of(place), endpoint)
    driver.disconnect(netns_of(place), endpoint)
    return names_of_links()


def names_of_links() -> set[str]:
    """Return the names of the links of the calling thread's host."""
    return {name for _, name in socket.if_nameindex()}


def bare(address: str) -> str:
    """Return an address without prefix length."""
    return address.partition("/")[0]


@contextlib.contextmanager
def serving(place: Host | None, port: int) -> Iterator[None]:
    """Accept connections of both families at a port of a namespace, or of the calling thread's."""
    with entered(place.pid) if place else contextlib.nullcontext():
        server = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    with server:
        yield


def reaches(place: Host | None, address: str, port: int, *, seconds: float = _SECONDS) -> bool:
    """Say whether a connection can be made from a namespace, or from the calling thread's."""
    with entered(place.pid) if place else contextlib.nullcontext():
        try:
            socket.create_connection((address, port), timeout=seconds).close()
        except OSError:
            return False
    return True
