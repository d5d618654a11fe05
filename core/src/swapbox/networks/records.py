"""What the database has of networks: a row for each, for each place in one, for each published port."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from swapbox.containers.config import Attachment
from swapbox.drivers import network as drivers
from swapbox.drivers.network import PublishedPort, Subnet
from swapbox.errors import InvalidInput, NotFound
from swapbox.store.database import Database
from swapbox.store.owners import is_gone, owner

if TYPE_CHECKING:
    import sqlite3

State = Literal["new", "ready", "removing"]
"""What is being done to a network, or was when a process was killed: ``new`` and ``removing`` may be made."""


class Network(NamedTuple):
    """A network as the database has it; ``created`` in nanoseconds since the epoch.

    ``attachable`` and ``ipam_options`` are for ``network inspect`` alone. The other fields are those of
    :class:`swapbox.drivers.network.Network`.
    """

    id: str
    name: str
    driver: str
    created: int = 0
    subnets: tuple[Subnet, ...] = ()
    options: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    internal: bool = False
    ipv6: bool = False
    state: State = "ready"
    attachable: bool = False
    ipam_options: Mapping[str, str] = {}

    @property
    def ipv4(self) -> bool:
        """Its containers have IPv4 addresses."""
        return not self.subnets or any(":" not in subnet.subnet for subnet in self.subnets)

    def for_driver(self) -> drivers.Network:
        """Return what its driver is told of it."""
        return drivers.Network(
            self.name,
            id=self.id,
            options=self.options,
            subnets=self.subnets,
            internal=self.internal,
            ipv6=self.ipv6,
        )


class EndpointRow(NamedTuple):
    """A container's place in a network as the database has it.

    :param id: of this start's endpoint; empty when it is not connected.
    :param position: the number of its interface.
    :param ipv4: its lease, with prefix length; empty when it has none.
    :param gateways: where the driver chooses them; else they are the network's.
    :param nameservers: where the driver chooses addresses, those to ask; else the network's gateways, if any.
    :param leads_out: the container's way out goes through it, as it is now.
    """

    container: str
    network: Network
    position: int
    asked: Attachment
    id: str = ""
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    gateways: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    leads_out: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its leases."""
        return tuple(filter(None, (self.ipv4, self.ipv6)))


class NetworkRecords:
    """The networks in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def identity(self) -> str:
        """Return what tells this database from every other one, also from one at the same path."""
        row = self._database.row("SELECT id FROM identity")
        return str(row["id"]) if row is not None else ""

    # -- networks -----------------------------------------------------------------------------------------------

    def all(self) -> list[Network]:
        """Return every network, in whatever state, by name."""
        return [_network(row) for row in self._database.rows("SELECT * FROM networks ORDER BY name")]

    def find(self, text: str) -> Network | None:
        """Return the network with this name, id or unique beginning of its id, in whatever state.

        :raises InvalidInput: the beginning fits several.
        """
        row = self._database.row(
            "SELECT * FROM networks WHERE name = ?1 OR id = ?1 ORDER BY id = ?1 DESC", (text,)
        )
        if row is not None:
            return _network(row)
        if not text or text.strip("0123456789abcdef"):
            return None
        rows = self._database.rows("SELECT * FROM networks WHERE id >= ? AND id < ?", (text, text + "g"))
        if len(rows) > 1:
            raise InvalidInput(f"network {text} is ambiguous ({len(rows)} matches found on ID prefix)")
        return _network(rows[0]) if rows else None

    def add(self, network: Network) -> None:
        """Write a new network, whose name is not taken."""
        fields = network._replace(
            subnets=json.dumps([subnet._asdict() for subnet in network.subnets]),  # type: ignore[arg-type]
            options=json.dumps(network.options),  # type: ignore[arg-type]
            labels=json.dumps(network.labels),  # type: ignore[arg-type]
            ipam_options=json.dumps(network.ipam_options),  # type: ignore[arg-type]
        )
        names, marks = ", ".join(Network._fields), ", ".join("?" * len(fields))
        self._database.execute(f"INSERT INTO networks ({names}) VALUES ({marks})", fields)

    def set_state(self, network_id: str, state: State) -> None:
        """Write a network's state."""
        self._database.execute("UPDATE networks SET state = ? WHERE id = ?", (state, network_id))

    def remove(self, network_id: str) -> None:
        """Forget a network; what would have been connected to it will miss it."""
        with self._database.transaction():
            self._database.execute(
                "INSERT OR REPLACE INTO lost_networks SELECT container, name, asked"
                " FROM endpoints JOIN networks ON network = networks.id WHERE network = ?",
                (network_id,),
            )
            self._database.execute("DELETE FROM endpoints WHERE network = ?", (network_id,))
            self._database.execute("DELETE FROM networks WHERE id = ?", (network_id,))

    # -- endpoints ----------------------------------------------------------------------------------------------

    def attach(self, container_id: str, network: Network, asked: Attachment) -> bool:
        """Write that a container, or one that the calling process is about to make, belongs to a network.

        :return: False when it does already.
        """
        text = json.dumps(asked._asdict())
        return self._database.insert(
            "INSERT INTO endpoints (container, network, position, owner, asked, id, mac) VALUES "
            "(?1, ?2, (SELECT coalesce(max(position) + 1, 0) FROM endpoints WHERE container = ?1),"
            " ?3, ?4, '', '')",
            (container_id, network.id, owner(), text),
        )

    def attach_again(self, container_id: str) -> None:
        """Give a container its places in the networks that were removed and made anew, with the same name.

        :raises NotFound: one was not made anew.
        """
        lost = self._database.rows("SELECT name, asked FROM lost_networks WHERE container = ?", (container_id,))
        for row in lost:
            network = self.find(row["name"])
            if network is None or network.name != row["name"]:
                hint = f"`swapbox network create {row['name']}` makes it anew"
                raise NotFound(f"network {row['name']} not found", hint=hint)
            self.attach(container_id, network, _asked(row))
        if lost:
            self._database.execute("DELETE FROM lost_networks WHERE container = ?", (container_id,))

    def ask_anew(self, container_id: str, network: Network, asked: Attachment) -> None:
        """Write what a container that is not connected asks for in a network, instead of what it did before."""
        self._database.execute(
            "UPDATE endpoints SET asked = ? WHERE container = ? AND network = ? AND id = ''",
            (json.dumps(asked._asdict()), container_id, network.id),
        )

    def detach(self, container_id: str, network_id: str) -> None:
        """Forget a container's place in a network."""
        self._database.execute(
            "DELETE FROM endpoints WHERE container = ? AND network = ?", (container_id, network_id)
        )

    def forget(self, container_id: str) -> None:
        """Forget all places of a container."""
        with self._database.transaction():
            self._database.execute("DELETE FROM endpoints WHERE container = ?", (container_id,))
            self._database.execute("DELETE FROM lost_networks WHERE container = ?", (container_id,))
            self._database.execute("DELETE FROM published_ports WHERE container = ?", (container_id,))

    def endpoints(self, *, container: str = "", network: str = "") -> list[EndpointRow]:
        """Return the places of a container, those in a network, or all, in the order of their interfaces.

        Those that a process wrote which is gone, and has made no container of it, are left out.
        """
        given = {name: value for name, value in (("container", container), ("network", network)) if value}
        where = "".join(f" {'AND' if number else 'WHERE'} {name} = ?" for number, name in enumerate(given))
        rows = self._database.rows(f"{_ENDPOINTS}{where} ORDER BY container, position", given.values())
        return [_endpoint(row) for row in rows if row["recorded"] or not is_gone(row["owner"])]

    def names(self) -> dict[str, list[str]]:
        """Return the names of each container's networks, sorted."""
        found: dict[str, list[str]] = {}
        for row in self._database.rows(
            "SELECT container, name FROM endpoints JOIN networks ON networks.id = network ORDER BY name"
        ):
            found.setdefault(row["container"], []).append(row["name"])
        return found

    def lost(self) -> list[EndpointRow]:
        """Return the places of containers that there are not, and that nobody is making."""
        rows = self._database.rows(_ENDPOINTS)
        return [_endpoint(row) for row in rows if not row["recorded"] and is_gone(row["owner"])]

    def leased(self, network_id: str) -> tuple[list[str], list[str]]:
        """Return the IPv4 and IPv6 addresses of a network that are taken, with prefix length."""
        rows = self._database.rows(
            "SELECT ipv4, ipv6 FROM endpoints WHERE network = ? AND id != ''", (network_id,)
        )
        return [row["ipv4"] for row in rows if row["ipv4"]], [row["ipv6"] for row in rows if row["ipv6"]]

    def lease(self, row: EndpointRow) -> None:
        """Write the id and the addresses of an endpoint."""
        self._database.execute(
            "UPDATE endpoints SET id = ?, ipv4 = ?, ipv6 = ?, mac = ?, gateways = ?,"
            " nameservers = ?, leads_out = ? WHERE container = ? AND network = ?",
            (
                row.id,
                row.ipv4 or None,
                row.ipv6 or None,
                row.mac,
                " ".join(row.gateways),
                " ".join(row.nameservers),
                row.leads_out,
                row.container,
                row.network.id,
            ),
        )

    def lead_out(self, container_id: str, network_id: str) -> None:
        """Write through which network a container's way out goes; empty for none."""
        self._database.execute(
            "UPDATE endpoints SET leads_out = (network = ?) WHERE container = ?", (network_id, container_id)
        )

    def ask(self, endpoint: drivers.Endpoint, nameservers: Iterable[str]) -> None:
        """Write which name servers come with an endpoint whose driver has chosen its addresses."""
        self._database.execute(
            "UPDATE endpoints SET nameservers = ? WHERE container = ? AND network = ?",
            (" ".join(nameservers), endpoint.container_id, endpoint.network.id),
        )

    def learn(
        self, endpoint: drivers.Endpoint, addresses: Iterable[str], *, gateways: Iterable[str], mac: str
    ) -> bool:
        """Write what a driver has chosen for an endpoint; ports of families without an address are withdrawn.

        :return: False when another container has one of the addresses.
        :raises NotFound: the container is not in the network any more.
        """
        chosen = {":" in address: address for address in addresses}
        own = (endpoint.container_id, endpoint.network.id)
        with self._database.transaction():
            if self._database.row(
                "SELECT 1 FROM endpoints WHERE container != ? AND network = ? AND (ipv4 = ? OR ipv6 = ?)",
                (*own, chosen.get(False), chosen.get(True)),
            ):
                return False
            written = self._database.execute(
                "UPDATE endpoints SET ipv4 = ?, ipv6 = ?, mac = ?, gateways = ?"
                " WHERE container = ? AND network = ?",
                (
                    chosen.get(False),
                    chosen.get(True),
                    mac,
                    " ".join(gateways),
                    *own,
                ),
            )
            if not written:
                raise NotFound(f"network {endpoint.network.name} not found")
            lost = [port for port in endpoint.ports if (":" in port.address) not in chosen]
            self._database.executemany(
                "DELETE FROM published_ports WHERE protocol = ? AND public = ? AND address = ?",
                [(port.protocol, port.public, port.address) for port in lost],
            )
        return True

    def release(self, container_id: str) -> None:
        """Give back the addresses and ports of a container."""
        with self._database.transaction():
            self._database.execute(
                "UPDATE endpoints SET id = '', ipv4 = NULL, ipv6 = NULL, mac = '', gateways = '',"
                " nameservers = '', leads_out = 0"
                " WHERE container = ?",
                (container_id,),
            )
            self._database.execute("DELETE FROM published_ports WHERE container = ?", (container_id,))

    def withdraw(self, container_id: str) -> None:
        """Give back the ports of a container."""
        self._database.execute("DELETE FROM published_ports WHERE container = ?", (container_id,))

    # -- ports --------------------------------------------------------------------------------------------------

    def publish(self, container_id: str, ports: Iterable[PublishedPort]) -> None:
        """Write the ports of a container, which nobody has."""
        self._database.executemany(
            "INSERT INTO published_ports (protocol, private, address, public, container) VALUES (?,?,?,?,?)",
            [(*port, container_id) for port in ports],
        )

    def published(self, container_ids: Collection[str] = ()) -> dict[str, list[PublishedPort]]:
        """Return the published ports of the running containers named, or of all, by container."""
        where = " WHERE container = ?" if len(container_ids) == 1 else ""
        rows = self._database.rows(
            f"SELECT * FROM published_ports{where} ORDER BY private, protocol, address, public",
            container_ids if where else (),
        )
        found: dict[str, list[PublishedPort]] = {}
        for row in rows:
            port = PublishedPort(row["protocol"], row["private"], row["address"], row["public"])
            found.setdefault(row["container"], []).append(port)
        return found


_ENDPOINTS = (
    "SELECT endpoints.id AS endpoint, container, position, asked, owner, mac, gateways, nameservers,"
    " leads_out, networks.*,"
    " endpoints.ipv4 AS own_ipv4, endpoints.ipv6 AS own_ipv6,"
    " (SELECT 1 FROM containers WHERE containers.id = container) AS recorded"
    " FROM endpoints JOIN networks ON networks.id = network"
)


def _network(row: "sqlite3.Row") -> Network:
    return Network(
        id=row["id"],
        name=row["name"],
        driver=row["driver"],
        created=row["created"],
        subnets=tuple(Subnet(**subnet) for subnet in json.loads(row["subnets"])),
        options=json.loads(row["options"]),
        labels=json.loads(row["labels"]),
        internal=bool(row["internal"]),
        ipv6=bool(row["ipv6"]),
        state=row["state"],
        attachable=bool(row["attachable"]),
        ipam_options=json.loads(row["ipam_options"]),
    )


def _asked(row: "sqlite3.Row") -> Attachment:
    asked: dict[str, Any] = json.loads(row["asked"])
    asked |= {name: tuple(value) for name, value in asked.items() if isinstance(value, list)}
    return Attachment(**asked)


def _endpoint(row: "sqlite3.Row") -> EndpointRow:
    return EndpointRow(
        container=row["container"],
        network=_network(row),
        position=row["position"],
        asked=_asked(row),
        id=row["endpoint"],
        ipv4=row["own_ipv4"] or "",
        ipv6=row["own_ipv6"] or "",
        mac=row["mac"],
        gateways=tuple(row["gateways"].split()),
        nameservers=tuple(row["nameservers"].split()),
        leads_out=bool(row["leads_out"]),
    )
