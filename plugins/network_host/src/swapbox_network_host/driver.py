"""Networks in which there is nothing to connect."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from swapbox.drivers.network import Connection, Endpoint, NamespaceMode, Network
from swapbox.errors import Conflict, InvalidInput


class Driver:
    """``none`` or ``host``: each is one network, named as its driver.

    A private namespace needs no work here: the isolation driver brings loopback up when it makes the namespace.

    :param name: the driver's name and that of its only network.
    :param mode: the namespace its containers get.
    """

    def __init__(self, name: str, mode: NamespaceMode) -> None:
        self._name = name
        self._mode = mode

    def namespace(self, network: Network) -> NamespaceMode:
        """Say which namespace a container gets."""
        return self._mode

    def create_network(self, network: Network) -> None:
        """Accept the driver's one network and refuse any other."""
        for option in network.options:
            raise InvalidInput(f"unknown option {option!r} for {self._name} network driver")
        if network.name != self._name:
            raise Conflict(
                f'only one instance of "{self._name}" network is allowed, {network.name!r} would be another'
            )

    def remove_network(self, network: Network) -> None:
        """Do nothing: nothing was made."""

    def connect(self, netns: Path, endpoint: Endpoint) -> Connection:
        """Return a connection without addresses: loopback is up, and there is nothing else to connect to."""
        return Connection()

    def disconnect(self, netns: Path | None, endpoint: Endpoint) -> None:
        """Do nothing: nothing was made."""

    def reconcile(self, networks: Collection[Network], live: Callable[[], Collection[Endpoint]]) -> int:
        """Free nothing: nothing is held."""
        return 0

    def close(self) -> None:
        """Nothing is held open."""
