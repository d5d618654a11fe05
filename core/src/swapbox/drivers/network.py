"""Networks: what a container's network namespace is connected to.

A *network* has a name and a driver. An *endpoint* is one container's place in one network. The core asks the
driver which namespace the container needs; for a private one it connects the endpoint between the container's
``create`` and ``start`` and disconnects it when the container has ended. In a private namespace loopback is up
already: the isolation driver does that when it makes the namespace.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from swapbox.drivers.common import DriverSpec

NamespaceMode = Literal["private", "host"]


class Network(NamedTuple):
    """One network as the user made it."""

    name: str
    options: Mapping[str, str] = {}


class Endpoint(NamedTuple):
    """One container's place in one network."""

    id: str
    network: Network
    container_id: str
    hostname: str
    options: Mapping[str, str] = {}


class Connection(NamedTuple):
    """What an endpoint got: addresses with prefix length, gateway addresses, name servers, extra hosts lines."""

    addresses: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    mac_address: str = ""


class NetworkDriver(Protocol):
    """Connects containers."""

    def namespace(self, network: Network) -> NamespaceMode:
        """Say whether containers of this network get a network namespace of their own."""
        ...

    def create_network(self, network: Network) -> None:
        """Make the network.

        :raises InvalidInput: an option is wrong.
        :raises Conflict: it overlaps with another network.
        """
        ...

    def remove_network(self, network: Network) -> None:
        """Remove the network; one that is gone already is fine.

        :raises Conflict: an endpoint is still connected.
        """
        ...

    def connect(self, netns: Path, endpoint: Endpoint) -> Connection:
        """Connect the network namespace at ``netns`` (``/proc/<pid>/ns/net``); on error nothing is left behind."""
        ...

    def disconnect(self, netns: Path | None, endpoint: Endpoint) -> None:
        """Undo :meth:`connect`; idempotent, and fine when the namespace is gone (None)."""
        ...

    def reconcile(self, live: Collection[Endpoint]) -> int:
        """Free what belongs to no live endpoint; return how many things were freed."""
        ...

    def close(self) -> None:
        """Release what the driver holds open; calling it twice is fine."""
        ...


class NetworkDriverSpec(DriverSpec[NetworkDriver]):
    """Offer a network driver; see :class:`swapbox.drivers.common.DriverSpec`."""

    kind = "network"
    __slots__ = ()
