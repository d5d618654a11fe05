"""What ``--network`` and its companions mean for a new container, in Docker's words where they cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.errors import InvalidInput
from swapbox.networks.endpoints import check, find

if TYPE_CHECKING:
    from swapbox.containers.config import Attachment, ContainerConfig
    from swapbox.engine import Engine


def settled(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return a configuration that names its network driver, and its networks by names that exist.

    :raises NotFound: there is no such network or container.
    :raises InvalidInput: options do not fit the network.
    """
    if config.shared_network:
        return _shared(engine, config)
    if config.network.startswith("container:"):
        raise InvalidInput("invalid network mode: invalid container format container:<name|id>")
    name = config.network if config.network not in ("", "default") else ""
    if not name:
        name = engine.selector.choose("network", name=config.network_driver or None).name
    for attachment in config.networks:
        _check_attachment(engine, attachment, attachment.network or name)
    network = find(engine, name)
    driver = engine.selector.choose("network", made_with=network.driver).name
    networks = tuple(one if one.network else one._replace(network=name) for one in config.networks)
    return config._replace(
        network=network.name if config.network not in ("", "default") else "",
        network_driver=driver,
        networks=networks,
        has_endpoints=True,
    )


def _check_attachment(engine: Engine, attachment: Attachment, name: str) -> None:
    network = find(engine, name)
    check(engine, network, attachment)
    if attachment.links and engine.networks.is_predefined(network.name):
        from swapbox.networks.links import check as check_links

        check_links(engine, attachment)


def check_fixed(name: str, attachment: Attachment) -> None:
    """Check what is asked for in the network of a driver that has only one.

    :raises InvalidInput: with Docker's words.
    """
    if attachment.addresses:
        raise InvalidInput("user specified IP address is supported on user defined networks only")
    if attachment.links and name == "host":
        from swapbox.networks.links import HOST

        raise InvalidInput(HOST)


def _shared(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    conflicts = {
        "hostname": bool(config.hostname),
        "dns": bool(config.dns),
        "custom host-to-IP mapping": bool(config.extra_hosts),
        "mac-address": any(one.mac_address for one in config.networks),
    }
    for what, given in conflicts.items():
        if given:
            raise InvalidInput(f"conflicting options: {what} and the network mode")
    if config.ports or config.publish_all:
        raise InvalidInput("conflicting options: port publishing and the container type network mode")
    if any(one.links for one in config.networks):
        undefined = "This would result in undefined behavior"
        raise InvalidInput(f"conflicting options: container type network can't be used with links. {undefined}")
    other = engine.containers.find(config.shared_network)
    none = engine.selector.choose("network", name="none").name
    return config._replace(network=f"container:{other.id}", network_driver=none, networks=(), has_endpoints=False)
