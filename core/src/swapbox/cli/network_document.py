"""Networks as Docker's API describes them: each alone, and as a container's ``NetworkSettings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swapbox.cli.units import format_time
from swapbox.networks.addresses import bare
from swapbox.networks.endpoints import connected
from swapbox.networks.queries import driver_name

if TYPE_CHECKING:
    from swapbox.containers.config import Attachment, ContainerConfig
    from swapbox.containers.records import Container
    from swapbox.drivers.network import Subnet
    from swapbox.engine import Engine
    from swapbox.networks.records import EndpointRow, Network

_NEVER = "0001-01-01T00:00:00Z"


def network_document(engine: Engine, text: str) -> dict[str, Any]:
    """Return the document of a network, found by name, id or beginning of its id.

    :raises NotFound: there is none.
    """
    network = engine.networks.find(text)
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": format_time(network.created) if network.created else _NEVER,
        "Scope": "local",
        "Driver": driver_name(network),
        "EnableIPv4": network.ipv4,
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": dict(network.ipam_options) if network.created else None,
            "Config": [_subnet(subnet) for subnet in network.subnets] or None,
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": _containers(engine, network),
        "Options": dict(sorted(network.options.items())),
        "Labels": dict(sorted(network.labels.items())),
    }


def _subnet(subnet: Subnet) -> dict[str, Any]:
    document: dict[str, Any] = {"Subnet": subnet.subnet}
    if subnet.ip_range:
        document["IPRange"] = subnet.ip_range
    document["Gateway"] = subnet.gateway
    if subnet.auxiliary:
        document["AuxiliaryAddresses"] = dict(sorted(subnet.auxiliary.items()))
    return document


def _containers(engine: Engine, network: Network) -> dict[str, dict[str, str]]:
    """Return the running containers of a network."""
    if network.created:
        rows = {row.container: row for row in connected(engine, network)}
        names = {name: engine.records.find(name).name for name in rows}
        return {
            identity: _member(names[identity], row.id, row.mac, row.ipv4, row.ipv6)
            for identity, row in rows.items()
        }
    return {
        container.id: _member(container.name, _plain_endpoint(network, container))
        for container in engine.containers.all()
        if container.state.running and _is_plainly_in(container.config, network)
    }


def _is_plainly_in(config: ContainerConfig, network: Network) -> bool:
    return not config.has_endpoints and (config.network or config.network_driver) == network.name


def _member(name: str, endpoint: str, mac: str = "", ipv4: str = "", ipv6: str = "") -> dict[str, str]:
    return {"Name": name, "EndpointID": endpoint, "MacAddress": mac, "IPv4Address": ipv4, "IPv6Address": ipv6}


def _plain_endpoint(network: Network, container: Container) -> str:
    """Return the id of a place in a network whose driver keeps no endpoints."""
    import hashlib

    return hashlib.sha256(f"{network.name} {container.id}".encode()).hexdigest()


# -- of a container -----------------------------------------------------------------------------------------------


def network_settings(engine: Engine, container: Container) -> dict[str, Any]:
    """Return the ``NetworkSettings`` of a container."""
    config = container.config
    networks = {row.network.name: _joined(row, container) for row in rows_of(engine, container)}
    if not config.has_endpoints and not config.shared_network:
        networks = {config.network or config.network_driver: _joined(None, container)}
    own = next((one for name, one in networks.items() if name == config.network_driver), _joined(None, container))
    same = ("EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen")
    init = container.state.init if container.state.running else None
    return {
        "Bridge": "",
        "SandboxID": container.id if init else "",
        "SandboxKey": f"/proc/{init.pid}/ns/net" if init else "",
        "Ports": _ports(engine, container) if config.has_endpoints else {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{name: own[name] for name in (*same, "IPv6Gateway", "MacAddress")},
        "Networks": networks,
    }


def rows_of(engine: Engine, container: Container) -> list[EndpointRow]:
    """Return the places of a container in networks."""
    return engine.networks.records.endpoints(container=container.id) if container.config.has_endpoints else []


def _joined(row: EndpointRow | None, container: Container) -> dict[str, Any]:
    ways = [subnet.gateway for subnet in row.network.subnets] or row.gateways if row and row.id else ()
    gateways = {":" in gateway: gateway for gateway in ways}
    ipv4, ipv6 = (row.ipv4, row.ipv6) if row else ("", "")
    own = row is not None and row.network.name != row.network.driver
    aliases = row.asked.aliases if row else ()
    hostname = container.config.hostname or container.short_id
    names = list(dict.fromkeys((container.name, *aliases, container.short_id, hostname))) if own else None
    return {
        "IPAMConfig": _asked_addresses(row.asked) if row else None,
        "Links": list(row.asked.links) or None if own and row else None,
        "Aliases": list(row.asked.aliases) or None if row else None,
        "MacAddress": row.mac if row else "",
        "DriverOpts": dict(row.asked.options) or None if row else None,
        "GwPriority": row.asked.priority if row else 0,
        "NetworkID": row.network.id if row else "",
        "EndpointID": row.id if row else "",
        "Gateway": gateways.get(False, "") if ipv4 else "",
        "IPAddress": bare(ipv4),
        "IPPrefixLen": int(ipv4.partition("/")[2] or 0),
        "IPv6Gateway": gateways.get(True, "") if ipv6 else "",
        "GlobalIPv6Address": bare(ipv6),
        "GlobalIPv6PrefixLen": int(ipv6.partition("/")[2] or 0),
        "DNSNames": names,
    }


def _asked_addresses(asked: Attachment) -> dict[str, Any] | None:
    fields: dict[str, Any] = {
        ("IPv6Address" if ":" in address else "IPv4Address"): address for address in asked.addresses
    }
    if asked.link_local:
        fields["LinkLocalIPs"] = list(asked.link_local)
    return fields or None


def _ports(engine: Engine, container: Container) -> dict[str, Any]:
    """Return published ports, and exposed ones that are not, of a container that runs."""
    from swapbox.containers.exposed import exposed

    if not container.state.running:
        return {}
    ports: dict[str, Any] = {
        f"{number}/{protocol}": None for protocol, number in exposed(container.config.exposed_ports)
    }
    for port in engine.networks.records.published((container.id,)).get(container.id, ()):
        key = f"{port.private}/{port.protocol}"
        ports[key] = [*(ports.get(key) or ()), {"HostIp": port.address, "HostPort": str(port.public)}]
    return ports


def port_bindings(config: ContainerConfig) -> dict[str, Any]:
    """Return what ``-p`` asked for, as ``HostConfig`` has it."""
    bindings: dict[str, Any] = {}
    for one in config.ports:
        public = f"{one.public}-{one.public_last}" if one.public_last else str(one.public or "")
        bindings.setdefault(f"{one.private}/{one.protocol}", []).append(
            {"HostIp": one.address, "HostPort": public}
        )
    return bindings


def host_links(config: ContainerConfig, name: str) -> list[str] | None:
    """Return the links of a container in the default network, as ``HostConfig`` has them."""
    links = [link for one in config.networks if one.network == config.network_driver for link in one.links]
    return [f"/{link.partition(':')[0]}:/{name}/{link.rpartition(':')[2]}" for link in links] or None
