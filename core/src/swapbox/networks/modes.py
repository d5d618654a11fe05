"""What ``--network`` and its companions mean for a new container, in Docker's words where they cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.errors import Conflict, InvalidInput
from swapbox.networks.endpoints import check, find

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig
    from swapbox.engine import Engine


def settled(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    """Return a configuration that names its network driver, and its networks by names that exist.

    :raises NotFound: there is no such network or container.
    :raises InvalidInput: options do not fit the network.
    """
    if config.shared_network:
        return _shared(engine, config)
    name = config.network if config.network not in ("", "default") else ""
    if not name:
        name = engine.selector.choose("network", name=config.network_driver or None).name
    for attachment in config.networks:
        check(engine, find(engine, attachment.network or name), attachment)
    network = find(engine, name)
    driver = engine.selector.choose("network", made_with=network.driver).name
    networks = tuple(one if one.network else one._replace(network=name) for one in config.networks)
    return config._replace(
        network=network.name if config.network not in ("", "default") else "",
        network_driver=driver,
        networks=networks,
        has_endpoints=True,
    )


def _shared(engine: Engine, config: ContainerConfig) -> ContainerConfig:
    other = engine.containers.find(config.shared_network)
    conflicts = {
        "hostname": bool(config.hostname),
        "dns": bool(config.dns or config.dns_search or config.dns_options),
        "custom host-to-IP mapping": bool(config.extra_hosts),
        "mac-address": any(one.mac_address for one in config.networks),
    }
    for what, given in conflicts.items():
        if given:
            raise InvalidInput(f"conflicting options: {what} and the network mode")
    if config.ports or config.publish_all:
        raise InvalidInput("conflicting options: port publishing and the container type network mode")
    if other.config.shared_network:
        raise Conflict(f"cannot join the network of container {other.name}: it shares that of another")
    none = engine.selector.choose("network", name="none").name
    return config._replace(network=f"container:{other.id}", network_driver=none, networks=(), has_endpoints=False)
