"""CNI networks: the driver."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from swapbox.drivers.network import Connection, Endpoint, NamespaceMode, Network
from swapbox.errors import DataError, InvalidInput, NotFound, SwapboxError, Unsupported, from_os_error
from swapbox_network_cni import links, results, verbs
from swapbox_network_cni.attachments import PATIENCE, Attachment, Attachments, Busy, Place
from swapbox_network_cni.lists import PluginList, of_network
from swapbox_network_cni.program import Plugins


class Driver:
    """Networks as configuration lists say.

    :param root: where attachments are kept.
    :param run_root: where bridges are kept that plugins have made.
    :param conf_dir: where lists are found by name.
    :param bin_dirs: where plugins are, separated by colons.
    :param gc: nobody else uses the lists: what no attachment below ``root`` holds is nobody's.
    """

    def __init__(self, root: Path, run_root: Path, *, conf_dir: str, bin_dirs: str, gc: bool = False) -> None:
        self._root = root
        self._conf_dir = conf_dir
        self._gc = gc
        self._plugins = Plugins(bin_dirs)
        self._attachments = Attachments(root)
        self._bridges = links.Bridges(run_root)

    def namespace(self, network: Network) -> NamespaceMode:
        """Say that every container has a namespace of its own."""
        return "private"

    # -- networks -----------------------------------------------------------------------------------------------

    def create_network(self, network: Network) -> None:
        """Look whether the list is right and its plugins are there: they make what they need with containers."""
        if network.internal:
            raise InvalidInput(f"network {network.name} cannot be internal: its list says what it is")
        verbs.check_plugins(self._plugins, self._list(network))

    def _list(self, network: Network) -> PluginList:
        return verbs.agreed(self._plugins, of_network(network, self._conf_dir))

    def remove_network(self, network: Network) -> None:
        """Disconnect what is still there, and remove the bridges that plugins have made."""
        with _translated(f"remove network {network.name}"):
            for name in self._attachments.names():
                if self._network_of(name) == network.id:
                    self._free(name, keep_links=False)
            self._bridges.remove(network)

    def _network_of(self, name: str) -> str:
        """Return the id of an attachment's network; empty when it cannot be read: then it keeps no network."""
        try:
            attachment = self._attachments.peek(name)
        except DataError:
            return ""
        return attachment.network if attachment is not None else ""

    def reconcile(self, networks: Collection[Network], live: Callable[[], Collection[Endpoint]]) -> int:
        """Disconnect the attachments of endpoints that are not alive, and let plugins look what they have left."""
        with _translated("free what is left of CNI networks"):
            before = self._attachments.names()
            own, alive = {network.id for network in networks}, {endpoint.id for endpoint in live()}
            freed, failure = 0, None
            for name in before:
                try:
                    if name not in alive:
                        freed += self._free_dead(name, own)
                except SwapboxError as error:
                    failure = error
            try:
                self._collect(networks)
            except SwapboxError as error:
                failure = error
            if failure is not None:
                raise failure
            return freed

    def _free_dead(self, name: str, own: Collection[str]) -> int:
        """Undo an attachment of one of our networks, unless a plugin is at it: others wait for who does this."""
        attachment = self._attachments.peek(name)
        if attachment is not None and attachment.network not in own:
            return 0
        try:
            return self._free(name, keep_links=True, seconds=0)
        except Busy:
            return 0

    def _collect(self, networks: Collection[Network]) -> None:
        """Let the plugins of the lists that have GC free what no attachment of ours holds."""
        if not self._gc:
            return
        lists = {}
        for network in networks:
            with contextlib.suppress(SwapboxError):  # a list that is gone or wrong now
                found = self._list(network)
                lists[found.name] = found
        if not any(found.collects for found in lists.values()):
            return
        with self._adding(fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
            if not alone:  # an attachment that is being made now must be among the valid ones: next time, then
                return
            kept = [one for name in self._attachments.names() if (one := self._attachments.peek(name))]
            for found in lists.values():
                if found.collects:
                    verbs.collect(self._plugins, found, [(one.endpoint, one.interface) for one in kept])

    @contextlib.contextmanager
    def _adding(self, how: int) -> Iterator[bool]:
        """Yield whether the lock was taken that everybody has who makes an attachment, in common with others."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, how)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def host_address(self, network: Network) -> str:
        """Return where ports are published that name no address: everywhere."""
        return ""

    # -- endpoints ----------------------------------------------------------------------------------------------

    def connect(self, netns: Path, endpoint: Endpoint) -> Connection:
        """Run ADD of every plugin of the list."""
        with _translated(f"connect to network {endpoint.network.name}"):
            attachment = _attachment(endpoint, self._list(endpoint.network))
            try:
                with self._adding(fcntl.LOCK_SH), self._attachments.made(endpoint.id) as place:
                    return self._connect(place, attachment, netns, endpoint)
            except Exception:
                with self._adding(fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
                    if alone:
                        self._bridges.forget_unmade(endpoint.network)
                raise

    def _connect(self, place: Place, attachment: Attachment, netns: Path, endpoint: Endpoint) -> Connection:
        self._bridges.note(endpoint.network, attachment.plugins.plugins)
        place.write(attachment)
        try:
            result = verbs.add(self._plugins, place, attachment, str(netns))
            got = results.connection(result, endpoint.interface)
            results.check(endpoint, got)
        except Exception:  # who is killed, or insists on ending, leaves the attachment to be found
            with contextlib.suppress(SwapboxError):  # if it fails the attachment stays, too
                verbs.delete(self._plugins, place, attachment, str(netns))
            raise
        return got

    def disconnect(self, netns: Path | None, endpoint: Endpoint) -> None:
        """Run DEL of every plugin of the list that the endpoint was connected with."""
        with _translated(f"disconnect from network {endpoint.network.name}"):
            self._free(endpoint.id, netns=str(netns or ""), keep_links=True)

    def _free(self, endpoint: str, *, netns: str = "", keep_links: bool, seconds: float = PATIENCE) -> int:
        """Undo an attachment; return how many there were.

        :param keep_links: the kernel removes pairs of links with the namespace, and nobody waits for that.
        :param seconds: how long to wait for a plugin that is at it.
        """
        with self._attachments.found(endpoint, seconds=seconds) as place:
            if place is None:
                return 0
            attachment = place.read()
            if attachment is None:  # nothing was done yet
                place.remove()
                return 1
            names = results.host_links(place.result() or {})
            if not netns:
                links.cut(names)
            verbs.delete(self._plugins, place, attachment, netns)
            if not keep_links:
                links.remove(names)
            return 1

    def check(self, netns: Path, endpoint: Endpoint) -> None:
        """Run CHECK of every plugin of the list that the endpoint was connected with."""
        what = f"check network {endpoint.network.name}"
        with _translated(what), self._attachments.found(endpoint.id) as place:
            attachment = place.read() if place is not None else None
            if place is None or attachment is None:
                raise NotFound(f"network {endpoint.network.name}: endpoint {endpoint.id} is not connected")
            verbs.check(self._plugins, place, attachment, str(netns))

    def close(self) -> None:
        """Nothing is held open."""


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Raise errors of the system as ours."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, doing) from error


def _attachment(endpoint: Endpoint, plugins: PluginList) -> Attachment:
    """Return what plugins are told of an endpoint.

    :raises Unsupported: no plugin can do what is asked for.
    """
    if endpoint.ports and not plugins.has("portMappings"):
        raise Unsupported(
            f"network {endpoint.network.name} publishes no ports: no plugin has the capability portMappings",
            hint=f'add {{"type": "portmap", "capabilities": {{"portMappings": true}}}} to {plugins.source}',
        )
    if endpoint.link_local:
        raise Unsupported(
            f"network {endpoint.network.name} gives no link-local addresses: {endpoint.link_local[0]}"
        )
    return Attachment(
        endpoint=endpoint.id,
        network=endpoint.network.id,
        interface=endpoint.interface,
        arguments=_arguments(endpoint, plugins),
        capabilities=_capabilities(endpoint, plugins),
        plugins=plugins if endpoint.gateway else plugins.without_way_out(),
    )


def _capabilities(endpoint: Endpoint, plugins: PluginList) -> dict[str, Any]:
    """Return what those plugins are told that have a capability, see CONVENTIONS.md of the CNI."""
    mappings = [
        {"hostPort": port.public, "containerPort": port.private, "protocol": port.protocol, "hostIP": port.address}
        for port in endpoint.ports
    ]
    told = {
        "portMappings": mappings,
        "ips": list(endpoint.addresses),
        "mac": endpoint.mac_address,
        "dns": _dns(endpoint),
        "aliases": {plugins.name: list(endpoint.aliases)} if endpoint.aliases else None,
    }
    return {name: value for name, value in told.items() if value}


def _dns(endpoint: Endpoint) -> dict[str, list[str]]:
    asked = endpoint.resolving
    told = {"servers": asked.servers, "searches": asked.search, "options": asked.options}
    return {name: list(value) for name, value in told.items() if value}


def _arguments(endpoint: Endpoint, plugins: PluginList) -> str:
    """Return ``CNI_ARGS``: what a network's plugins have no capability for, and options of the endpoint."""
    told = {"IgnoreUnknown": "1"}
    if endpoint.addresses and not plugins.has("ips"):
        told["IP"] = ",".join(endpoint.addresses)
    if endpoint.mac_address and not plugins.has("mac"):
        told["MAC"] = endpoint.mac_address
    for name, value in endpoint.options.items():
        if set(f"{name}{value}") & set(";=") or not name:
            raise InvalidInput(f"invalid option of network {endpoint.network.name}: {name}={value!r}")
        told[name] = value
    return ";".join(f"{name}={value}" for name, value in told.items())
