"""The networks of an engine: create, find, remove, and freeing what crashes have left.

The row of a network is written before its driver makes it and deleted after its driver has removed it, so nothing
on the host outlives its row. What a killed process left half done, its ``state`` tells whoever looks at it next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from swapbox.drivers.common import BY_NAME
from swapbox.drivers.network import Subnet
from swapbox.errors import Conflict, InvalidInput, NotFound, PermissionDenied, SwapboxError
from swapbox.networks.records import Network, NetworkRecords

if TYPE_CHECKING:
    from swapbox.drivers.network import Endpoint, NetworkDriver
    from swapbox.engine import Engine


class Networks:
    """The networks of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.records = NetworkRecords(engine.database)

    # -- looking ------------------------------------------------------------------------------------------------

    def find(self, text: str) -> Network:
        """Return a network by its name, id or unique beginning of its id.

        :raises NotFound: there is none.
        :raises InvalidInput: the beginning fits several.
        """
        for network in self.predefined():
            if text and (text == network.name or network.id.startswith(text)):
                return network
        found = self.records.find(text)
        if found is None or found.state != "ready":
            raise NotFound(f"network {text} not found")
        return found

    def all(self) -> list[Network]:
        """Return every network by name, also those that drivers bring along."""
        made = [network for network in self.records.all() if network.state == "ready"]
        names = {network.name for network in made}
        return sorted(made + [one for one in self.predefined() if one.name not in names], key=lambda n: n.name)

    def predefined(self) -> list[Network]:
        """Return the networks that are there without anybody's making them, each named as its driver.

        A driver of which people make networks has one, too, which is made when it is first used; of a driver that
        serves who names it, it is not there before.
        """
        found = []
        for offer in self._engine.plugins.offers("network"):
            name = offer.spec.name
            if "networks" not in offer.spec.capabilities:
                found.append(Network(_fixed_id(name), name, name))
                continue
            made = self.records.find(name)
            is_made = made is not None and made.state == "ready" and made.name == name
            if made is not None and is_made:
                found.append(made)
            elif BY_NAME not in offer.spec.capabilities:
                found.append(Network(self._default_id(name), name, name))
        return found

    def _default_id(self, driver: str) -> str:
        """Return the id of the network that comes with a driver: always the same one of one database."""
        return _fixed_id(f"{driver} {self._engine.paths.root} {self.records.identity()}")

    def is_predefined(self, name: str) -> bool:
        """Say whether a network of this name comes with a driver."""
        return any(offer.spec.name == name for offer in self._engine.plugins.offers("network"))

    def driver(self, network: Network) -> NetworkDriver:
        """Return what makes a network.

        :raises PluginError: its plugin is gone.
        """
        return self._engine.selector.open("network", made_with=network.driver)

    def can(self, driver: str, capability: str) -> bool:
        """Say whether a driver is there and has a capability, see :class:`swapbox.NetworkDriverSpec`."""
        offers = self._engine.plugins.offers("network")
        return any(one.spec.name == driver and capability in one.spec.capabilities for one in offers)

    # -- making -------------------------------------------------------------------------------------------------

    def default(self, driver: str) -> Network:
        """Return the network that has its driver's name; it is made when it is not there."""
        found = self.records.find(driver)
        if found is not None and found.state == "ready" and found.name == driver:
            return found
        with self._locked():
            found = self.records.find(driver)
            if found is not None and found.state == "ready" and found.name == driver:
                return found
            # When the root directory was thrown away, what it had on this host may be there yet, and in the way.
            self._reconcile(driver)
            return self._make(Network(self._default_id(driver), driver, driver))

    def create(
        self,
        name: str,
        *,
        driver: str = "",
        subnets: Sequence[Subnet] = (),
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        internal: bool = False,
        ipv4: bool = True,
        ipv6: bool = False,
        attachable: bool = False,
        ipam_options: Mapping[str, str] | None = None,
    ) -> Network:
        """Make a network and return it.

        :param driver: empty for the best one that makes networks.
        :param subnets: without any, or without a family that it needs, some are chosen.
        :param ipam_options: what :mod:`swapbox.networks.choosing` does not look at, but ``inspect`` shows.
        :raises InvalidInput: the name, a subnet or an option is wrong.
        :raises Conflict: the name is taken, or a subnet overlaps with another network's.
        :raises Unavailable: no subnet is free.
        """
        from swapbox.networks.choosing import check_name, making_driver

        check_name(name)
        if not (ipv4 or ipv6):
            raise InvalidInput("IPv4 or IPv6 must be enabled")
        if self.is_predefined(name):
            raise PermissionDenied(f"operation is not permitted on predefined {name} network")
        asked = Network(
            id=_new_id(),
            name=name,
            driver=making_driver(self._engine, driver),
            subnets=tuple(subnets),
            options=options or {},
            labels=labels or {},
            internal=internal,
            ipv6=ipv6,
            attachable=attachable,
            ipam_options=ipam_options or {},
        )
        with self._locked():
            return self._make(asked, ipv4=ipv4)

    def _make(self, asked: Network, *, ipv4: bool = True) -> Network:
        from swapbox.networks.choosing import with_subnets

        found = self.records.find(asked.name)
        if found is not None and found.name == asked.name:
            if found.state == "ready":
                raise Conflict(f"network with name {asked.name} already exists")
            self._finish_removal(found)
        network = with_subnets(self._engine, asked, ipv4=ipv4)._replace(created=time.time_ns(), state="new")
        self.records.add(network)
        try:
            self.driver(network).create_network(network.for_driver())
        except BaseException:
            self.records.remove(network.id)
            raise
        self.records.set_state(network.id, "ready")
        self._engine.emit("network", "create", network.id, {"name": network.name, "type": network.driver})
        return network._replace(state="ready")

    # -- removing -----------------------------------------------------------------------------------------------

    def remove(self, text: str) -> Network:
        """Remove a network, and forget what stopped containers had to do with it.

        :raises NotFound: there is none.
        :raises PermissionDenied: it comes with its driver.
        :raises Conflict: a running container is connected to it.
        """
        from swapbox.networks.endpoints import connected

        network = self.find(text)
        if self.is_predefined(network.name):
            raise PermissionDenied(f"{network.name} is a pre-defined network and cannot be removed")
        for row in connected(self._engine, network):  # with the side effect of freeing what the dead held
            name = self._engine.records.find(row.container).name
            shown = f'name:"{name}" id:"{row.id[:12]}"'
            raise Conflict(f"error while removing network: network {network.name} has active endpoints ({shown})")
        with self._locked():
            with self._engine.database.transaction():
                if any(row.id for row in self.records.endpoints(network=network.id)):
                    raise Conflict(f"error while removing network: network {network.name} has active endpoints")
                self.records.set_state(network.id, "removing")
            self._finish_removal(network)
        self._engine.emit("network", "destroy", network.id, {"name": network.name, "type": network.driver})
        return network

    def _finish_removal(self, network: Network) -> None:
        from swapbox.networks.resolving import stop

        stop(self._engine, network.id)
        self.driver(network).remove_network(network.for_driver())
        self.records.remove(network.id)

    # -- freeing ------------------------------------------------------------------------------------------------

    def tidy(self) -> int:
        """Free what crashes and reboots have left: half-made networks, leases, and what drivers keep for them.

        :return: how many things were freed.
        """
        from swapbox.networks.endpoints import connected

        records = self.records
        freed = self._tidy_networks()
        for row in records.lost():
            records.forget(row.container)
            freed += 1
        networks = records.all()
        for network in networks:
            connected(self._engine, network)  # frees what the dead hold
        for name in {network.driver for network in networks}:
            with self._locked():
                freed += self._reconcile(name)
        return freed

    def _reconcile(self, driver: str) -> int:
        """Let a driver free what is nobody's; to be called with the lock of all networks."""
        own = [network.for_driver() for network in self.records.all() if network.driver == driver]
        try:
            opened = self._engine.selector.open("network", made_with=driver)
            return opened.reconcile(own, partial(self._held, driver))
        except SwapboxError as error:
            self._engine.warn(f"networks of {driver}: {error.message}")
            return 0

    def _held(self, driver: str) -> list[Endpoint]:
        """Return the places of a driver's networks that are anybody's now."""
        from swapbox.networks.endpoints import for_driver

        return [for_driver(row) for row in self.records.endpoints() if row.id and row.network.driver == driver]

    def _tidy_networks(self) -> int:
        half_made = [network for network in self.records.all() if network.state != "ready"]
        if not half_made:
            return 0
        freed = 0
        with self._locked():  # so nobody is at it: whoever was has been killed
            for network in self.records.all():
                try:
                    if network.state != "ready":
                        self._finish_removal(network)
                        freed += 1
                except SwapboxError as error:
                    self._engine.warn(f"network {network.name} stays: {error.message}")
        return freed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from making or removing networks: each looks at the subnets of all."""
        from swapbox.volumes.locks import name_lock

        with name_lock(self._engine.paths.root / "networks.lock", "networks"):
            yield


def _new_id() -> str:
    return os.urandom(32).hex()


def _fixed_id(name: str) -> str:
    """Return the id of the one network of a driver that has no more."""
    import hashlib

    return hashlib.sha256(f"swapbox network {name}".encode()).hexdigest()
