"""Who is meant by a name in a network: read from the database for every question, so never out of date."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from swapbox.networks.addresses import bare
from swapbox.store.database import Database

if TYPE_CHECKING:
    import sqlite3


class Member(NamedTuple):
    """A container's place in a network of the user's."""

    container: str
    network: str
    network_name: str
    name: str
    aliases: tuple[str, ...]
    ipv4: str
    ipv6: str
    internal: bool
    links: tuple[str, ...] = ()
    hostname: str = ""

    @property
    def names(self) -> set[str]:
        """What it is called in its network, in lower case."""
        return {name.lower() for name in (self.name, self.container[:12], self.hostname, *self.aliases)} - {""}

    @property
    def targets(self) -> set[str]:
        """What ``--link`` of another container may call it."""
        return {self.name.lower(), self.container, self.container[:12]}


class Names:
    """The names in a network, and in the other networks of who asks.

    :param network: the id of the network in which is asked.
    """

    def __init__(self, database: Database, network: str) -> None:
        self._database = database
        self._network = network

    def addresses(self, client: str, name: str) -> list[str] | None:
        """Return the addresses of a name, shuffled; None when it is nobody's.

        :param client: the address of who asks.
        :param name: in lower case, without the last dot; perhaps followed by a dot and the network's name.
        """
        visible = self._visible(client)
        found = [one for one in visible if {name, _head(name, one.network_name)} & one.names]
        found = found or self._linked(client, name, visible)
        random.shuffle(found)
        return [address for one in found for address in (one.ipv4, one.ipv6) if address] if found else None

    def _linked(self, client: str, name: str, visible: Sequence[Member]) -> list[Member]:
        """Return whom a name means to nobody but who asks, by ``--link``."""
        me = self._asker(client, visible)
        own = [one for one in visible if me is not None and one.container == me.container and one.links]
        meant = {
            (one.network, link.partition(":")[0].lower())
            for one in own
            for link in one.links
            if link.rpartition(":")[2].lower() == name
        }
        return [one for one in visible if any((one.network, target) in meant for target in one.targets)]

    def name(self, client: str, address: str) -> str:
        """Return the name of an address, with that of its network; empty when it is nobody's."""
        for member in self._visible(client):
            if address in (member.ipv4, member.ipv6):
                return f"{member.name}.{member.network_name}"
        return ""

    def knows(self, client: str) -> bool:
        """Say whether an address is that of somebody in the network."""
        return self._asker(client, self._members()) is not None

    def servers(self, client: str, default: Sequence[str]) -> Sequence[str]:
        """Return the name servers to pass questions on to: those the container which asks was given.

        None where it has internal networks only: a question could carry anything out.

        :param default: the host's.
        """
        members = self._members()
        me = self._asker(client, members)
        if me is None or all(one.internal for one in members if one.container == me.container):
            return ()
        row = self._database.row("SELECT config FROM containers WHERE id = ?", (me.container,))
        own: list[str] = json.loads(row["config"]).get("dns") or [] if row else []
        return own or default

    def in_use(self) -> bool:
        """Say whether anybody is connected to the network."""
        found = self._database.row("SELECT 1 FROM endpoints WHERE network = ? AND id != ''", (self._network,))
        return found is not None

    def _visible(self, client: str) -> list[Member]:
        """Return the members of all networks that who asks belongs to."""
        members = self._members()
        me = self._asker(client, members)
        mine = {one.network for one in members if me is not None and one.container == me.container}
        return [one for one in members if one.network in mine]

    def _asker(self, client: str, members: Sequence[Member]) -> Member | None:
        for member in members:
            if client in (member.ipv4, member.ipv6) and member.network == self._network:
                return member
        return None

    def _members(self) -> list[Member]:
        rows = self._database.rows(
            "SELECT container, asked, ipv4, endpoints.ipv6 AS ipv6, containers.name AS name,"
            " json_extract(containers.config, '$.hostname') AS hostname,"
            " networks.internal AS internal, networks.id AS network,"
            " networks.name AS network_name FROM endpoints JOIN containers ON containers.id = container"
            " JOIN networks ON networks.id = network WHERE endpoints.id != '' AND networks.name != networks.driver"
        )
        return [_member(row) for row in rows]


def _member(row: sqlite3.Row) -> Member:
    asked = json.loads(row["asked"])
    return Member(
        row["container"],
        row["network"],
        row["network_name"],
        row["name"],
        tuple(asked["aliases"]),
        bare(row["ipv4"] or ""),
        bare(row["ipv6"] or ""),
        bool(row["internal"]),
        tuple(asked.get("links", ())),
        row["hostname"] or "",
    )


def _head(name: str, network: str) -> str:
    """Return a name without that of the network behind it."""
    return name.removesuffix(f".{network.lower()}")
