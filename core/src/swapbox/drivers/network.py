"""Networks: what a container's network namespace is connected to.

A *network* has a name and a driver. An *endpoint* is one container's place in one network. The core asks the
driver which namespace the container needs; for a private one it connects the endpoint between the container's
``create`` and ``start`` and disconnects it when the container has ended. In a private namespace loopback is up
already: the isolation driver does that when it makes the namespace.

**Who keeps what.** Of a driver with the capability ``networks`` people make networks of their own. The core keeps
them and their endpoints in its database: it gives each network an id and subnets that are free on this host,
each endpoint its addresses, and each published port a number that no other container has. The driver keeps
nothing: what it makes on the host it names after ids, so whatever it is told of later it finds by the same ids.
With the capability ``addresses`` the driver chooses addresses itself: its networks have no subnets, and the core
writes down what :meth:`NetworkDriver.connect` returns. A driver without the capability ``networks`` has one
network, of its own name.

**What ends without a word.** A reboot, or somebody who flushes rules and removes links, takes away what was made.
So :meth:`NetworkDriver.connect` makes of a network whatever is missing, and :meth:`NetworkDriver.reconcile`
removes what nobody needs any more.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from swapbox.drivers.common import DriverSpec

NamespaceMode = Literal["private", "host"]


class Subnet(NamedTuple):
    """A range of addresses of a network.

    :param subnet: with prefix length, ``172.18.0.0/16``.
    :param gateway: the host's own address in it.
    :param ip_range: the part of it that addresses are chosen from; empty for all of it.
    :param auxiliary: addresses that something else has, by its name.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    auxiliary: Mapping[str, str] = {}


class Network(NamedTuple):
    """One network as the user made it.

    :param id: 64 hexadecimal digits; empty for the only network of a driver without the capability ``networks``.
    :param internal: it has no way out.
    :param ipv6: its containers have IPv6 addresses, too.
    """

    name: str
    options: Mapping[str, str] = {}
    id: str = ""
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False
    ipv6: bool = False


class PublishedPort(NamedTuple):
    """A port of a container that the host passes on.

    :param protocol: ``tcp``, ``udp`` or ``sctp``.
    :param private: its number in the container.
    :param address: of the host, never empty; ``0.0.0.0`` and ``::`` for every address of that family.
    :param public: its number on the host.
    """

    protocol: str
    private: int
    address: str
    public: int


class Resolving(NamedTuple):
    """What was asked for of a container's ``/etc/resolv.conf``, see resolv.conf(5); the core writes it."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Endpoint(NamedTuple):
    """One container's place in one network.

    :param id: 64 hexadecimal digits; another one for each start of the container.
    :param addresses: that the core has chosen, with prefix length, at most one of each family; in a network
        without subnets those that were asked for, perhaps without.
    :param mac_address: that was asked for; empty for any.
    :param interface: its name in the container.
    :param gateway: the container's way out leads through this network.
    :param ports: to publish, through this network.
    :param aliases: more names of the container in this network.
    :param link_local: more addresses that were asked for, with prefix length.
    """

    id: str
    network: Network
    container_id: str
    hostname: str
    options: Mapping[str, str] = {}
    addresses: tuple[str, ...] = ()
    mac_address: str = ""
    interface: str = "eth0"
    gateway: bool = True
    ports: tuple[PublishedPort, ...] = ()
    aliases: tuple[str, ...] = ()
    link_local: tuple[str, ...] = ()
    resolving: Resolving = Resolving()


class Connection(NamedTuple):
    """What an endpoint got: addresses with prefix length, gateways, name servers, its hardware address."""

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
        """Make the network; on error nothing is left behind. One that is there already is fine.

        :raises InvalidInput: an option is wrong.
        :raises Conflict: it overlaps with another network.
        """
        ...

    def remove_network(self, network: Network) -> None:
        """Remove the network; one that is gone already is fine. The core has made sure that no endpoint is."""
        ...

    def connect(self, netns: Path, endpoint: Endpoint) -> Connection:
        """Connect the network namespace at ``netns`` (``/proc/<pid>/ns/net``); on error nothing is left behind.

        Whatever of the network is not there any more is made again.

        :raises Conflict: something on the host is in the way.
        """
        ...

    def disconnect(self, netns: Path | None, endpoint: Endpoint) -> None:
        """Undo :meth:`connect`; idempotent, and fine when the namespace is gone (None).

        From the return on nothing reaches the container by this endpoint, and its addresses may be given to
        another. The kernel may take a moment more to remove what belongs to a dead namespace.
        """
        ...

    def reconcile(self, networks: Collection[Network], live: Callable[[], Collection[Endpoint]]) -> int:
        """Free what belongs to no live endpoint of these networks; return how many things were freed.

        Containers start meanwhile, each written down before anything is made of it. So look what is on the host
        first and ask ``live`` then, as often as you like: what was there and belongs to none of these is nobody's.
        Meanwhile nobody makes or removes a network: ``networks`` are all there are below this root directory.
        """
        ...

    def close(self) -> None:
        """Release what the driver holds open; calling it twice is fine."""
        ...


class PortPublisher(NetworkDriver, Protocol):
    """What a driver with the capability ``ports`` can do besides."""

    def host_address(self, network: Network) -> str:
        """Return the address of the host for ports that name none; empty for every address of the host."""
        ...


class Rerouter(NetworkDriver, Protocol):
    """What a driver with the capability ``ways`` can do besides."""

    def reroute(self, netns: Path, endpoint: Endpoint) -> None:
        """Change the way out of a namespace that is connected by an endpoint to what it says now; idempotent.

        With ``gateway`` it leads through the endpoint, and its ports are published; else neither is so any more.
        """
        ...


class ConnectionChecker(NetworkDriver, Protocol):
    """What a driver with the capability ``check`` can do besides."""

    def check(self, netns: Path, endpoint: Endpoint) -> None:
        """Look whether everything is as :meth:`NetworkDriver.connect` has made it.

        :raises SwapboxError: it is not; the message says what is wrong.
        """
        ...


class NetworkDriverSpec(DriverSpec[NetworkDriver]):
    """Offer a network driver; see :class:`swapbox.drivers.common.DriverSpec`.

    Capabilities: ``networks`` (people make networks with it; see above), ``ports`` (it publishes ports, and keeps
    :class:`PortPublisher`), ``ways`` (a container's way out can change while it runs; it keeps :class:`Rerouter`),
    ``names`` (the host itself has the gateways' addresses, so that the core's name server can listen there; with
    ``addresses`` it may have them), ``addresses`` (the driver chooses them; see above), ``check`` (it keeps
    :class:`ConnectionChecker`).
    """

    kind = "network"
    __slots__ = ()
