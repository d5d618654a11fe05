"""What every network driver has to do. Subclass :class:`NetworkDriverContract` and give it your driver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.drivers.network import Endpoint, Network, NetworkDriver


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
        from swapbox.linux import syscalls

        ready, told = os.pipe()
        stay, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(go)
            syscalls.unshare(syscalls.CLONE_NEWNET)
            os.write(told, b".")
            os.read(stay, 1)
            os._exit(0)
        os.read(ready, 1)
        yield Path(f"/proc/{pid}/ns/net")
        for fd in (ready, told, stay, go):
            os.close(fd)
        os.waitpid(pid, 0)

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
        driver.reconcile([network], [endpoint])
        driver.reconcile([network], [])
        assert driver.reconcile([network], []) == 0
        driver.remove_network(network)

    def test_disconnecting_what_was_never_connected_is_fine(
        self, driver: NetworkDriver, endpoint: Endpoint
    ) -> None:
        driver.disconnect(None, endpoint)

    def test_the_driver_may_be_closed_twice(self, driver: NetworkDriver) -> None:
        driver.close()
        driver.close()
