"""Who is meant by a name in a network: read from the database for every question, so never out of date."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import NamedTuple

from swapbox.networks.addresses import bare
from swapbox.store.database import Database


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

    @property
    def names(self) -> set[str]:
        """What it is called in its network, in lower case."""
        return {name.lower() for name in (self.name, self.container[:12], *self.aliases)}


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
        found = [
            member for member in self._visible(client) if {name, _head(name, member.network_name)} & member.names
        ]
        random.shuffle(found)
        return [address for one in found for address in (one.ipv4, one.ipv6) if address] if found else None

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
            " networks.internal AS internal, networks.id AS network,"
            " networks.name AS network_name FROM endpoints JOIN containers ON containers.id = container"
            " JOIN networks ON networks.id = network WHERE endpoints.id != '' AND networks.name != networks.driver"
        )
        return [
            Member(
                row["container"],
                row["network"],
                row["network_name"],
                row["name"],
                tuple(json.loads(row["asked"])["aliases"]),
                bare(row["ipv4"] or ""),
                bare(row["ipv6"] or ""),
                bool(row["internal"]),
            )
            for row in rows
        ]


def _head(name: str, network: str) -> str:
    """Return a name without that of the network behind it."""
    return name.removesuffix(f".{network.lower()}")
