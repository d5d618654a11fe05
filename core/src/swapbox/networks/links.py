"""``--link`` in the network that comes with a driver: what a container learns there of another one.

In networks of the user's a link is only a name, see :mod:`swapbox.networks.names`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from swapbox.containers.attachment_flags import parse_link
from swapbox.containers.exposed import exposed
from swapbox.errors import Conflict, InvalidInput, NotFound
from swapbox.networks.addresses import bare

if TYPE_CHECKING:
    from swapbox.containers.config import Attachment, ContainerConfig
    from swapbox.containers.records import Container
    from swapbox.engine import Engine
    from swapbox.networks.records import EndpointRow


class Linked(NamedTuple):
    """Another container, its place in the network, and what it is called there."""

    container: Container
    place: EndpointRow
    alias: str


def check(engine: Engine, asked: Attachment) -> None:
    """Check that there are the containers that a new one is linked to.

    :raises InvalidInput: there is none of a name, or it has the host's network.
    """
    for text in asked.links:
        name, _ = parse_link(text)
        try:
            other = engine.containers.find(name)
        except NotFound as error:
            raise InvalidInput(f"could not get container for {name}: {error.message}") from None
        if other.config.network_driver == "host":
            raise InvalidInput(HOST)


HOST = (
    "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
)


def links(engine: Engine, config: ContainerConfig) -> tuple[str, ...]:
    """Return the links of a container in the network that comes with a driver."""
    for one in config.networks:
        if one.links and engine.networks.is_predefined(one.network):
            return one.links
    return ()


def linked(engine: Engine, container: Container) -> list[Linked]:
    """Return the containers that one which starts is linked to.

    :raises Conflict: one does not run, or is not there any more, or is in none of its networks.
    """
    found = []
    for text in links(engine, container.config):
        name, alias = parse_link(text)
        try:
            other = engine.containers.find(name)
        except NotFound:
            raise _does_not_run(name, container, alias) from None
        if not other.state.running:
            raise _does_not_run(other.name, container, alias)
        rows = engine.networks.records.endpoints(container=other.id)
        row = next((row for row in rows if row.id and engine.networks.is_predefined(row.network.name)), None)
        if row is None:
            raise Conflict(f"cannot link to /{other.name}, as it does not belong to the default network")
        found.append(Linked(other, row, alias))
    return found


def _does_not_run(name: str, container: Container, alias: str) -> Conflict:
    return Conflict(f"cannot link to a non running container: /{name} AS /{container.name}/{alias}")


def hosts_lines(several: list[Linked]) -> str:
    """Return the lines of linked containers in ``/etc/hosts``."""
    text = ""
    for one in several:
        hostname = one.container.config.hostname or one.container.short_id
        names = dict.fromkeys((one.alias, hostname, one.container.name))
        text += f"{bare(one.place.ipv4)}\t{' '.join(names)}\n"
    return text


def environment(name: str, several: list[Linked]) -> Iterator[str]:
    """Yield the variables that tell a container of those that it is linked to.

    :param name: the container's.
    """
    for one in several:
        start, address = one.alias.upper().replace("-", "_"), bare(one.place.ipv4)
        ports = sorted(exposed(one.container.config.exposed_ports), key=lambda port: (port[1], port[0]))
        for number, (protocol, port) in enumerate(ports):
            key, url = f"{start}_PORT_{port}_{protocol.upper()}", f"{protocol}://{address}:{port}"
            if number == 0:
                yield f"{start}_PORT={url}"
            yield f"{key}={url}"
            yield f"{key}_ADDR={address}"
            yield f"{key}_PORT={port}"
            yield f"{key}_PROTO={protocol}"
        yield f"{start}_NAME=/{name}/{one.alias}"
        for item in one.container.config.env:
            if item.partition("=")[0] not in ("HOME", "PATH") and "=" in item:
                yield f"{start}_ENV_{item}"
