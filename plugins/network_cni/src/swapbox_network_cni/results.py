"""What ADD results in; see the specification, section 5, and its older editions for versions before 1.0.0."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from swapbox.drivers.network import Connection, Endpoint
from swapbox.errors import Unsupported

Result = Mapping[str, Any]
_MAC = re.compile("[0-9a-f]{2}(:[0-9a-f]{2})+")


def connection(result: Result, interface: str) -> Connection:
    """Return what an endpoint got: of a result, what is about the container's interface."""
    ips = list(_ips(result))
    own = [one for one in _objects(result, "interfaces") if one.get("sandbox") and one.get("name") == interface]
    dns = result.get("dns")
    servers = dns.get("nameservers") if isinstance(dns, dict) else ()
    servers = servers if isinstance(servers, list) else ()
    return Connection(
        addresses=tuple(one["address"] for one in ips),
        gateways=tuple(one["gateway"] for one in ips if _is_address(one.get("gateway"))),
        nameservers=tuple(one for one in servers if _is_address(one)),
        mac_address=_mac(own[0].get("mac")) if own else "",
    )


def _mac(value: object) -> str:
    text = str(value).lower()
    return text if _MAC.fullmatch(text) else ""


def check(endpoint: Endpoint, got: Connection) -> None:
    """Check that an endpoint got what was asked for.

    :raises Unsupported: it did not.
    """
    given = {_packed(address) for address in got.addresses}
    for address in endpoint.addresses:
        if _packed(address) not in given:
            raise Unsupported(
                f"network {endpoint.network.name} does not give the address {address}",
                hint="a plugin of its list must have the capability ips",
            )
    if endpoint.mac_address and got.mac_address not in ("", endpoint.mac_address.lower()):
        raise Unsupported(
            f"network {endpoint.network.name} does not give the MAC address {endpoint.mac_address}",
            hint="a plugin of its list must have the capability mac",
        )


def _packed(address: str) -> bytes:
    """Return an address as it is compared, without its prefix length: there are many ways to write one."""
    bare = address.partition("/")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in bare else socket.AF_INET, bare)


def within(result: Result | None, netns: str) -> Result | None:
    """Return a result for a namespace that has another path now: plugins compare it."""
    if result is None:
        return None
    interfaces = [
        {**one, "sandbox": netns} if one.get("sandbox") else one for one in _objects(result, "interfaces")
    ]
    return {**result, "interfaces": interfaces} if interfaces else result


def host_links(result: Result) -> list[str]:
    """Return the names of the links on the host that a result has."""
    names = (one.get("name") for one in _objects(result, "interfaces") if not one.get("sandbox"))
    return [name for name in names if isinstance(name, str) and name]


def _ips(result: Result) -> Iterator[Mapping[str, Any]]:
    """Yield the container's addresses, not those that plugins have given to links of the host."""
    interfaces = _objects(result, "interfaces")
    for one in _objects(result, "ips"):
        number = one.get("interface")
        if isinstance(number, int) and 0 <= number < len(interfaces) and not interfaces[number].get("sandbox"):
            continue
        address, _, prefix = str(one.get("address")).partition("/")
        if _is_address(address) and prefix.isascii() and prefix.isdigit():
            yield one


def _is_address(value: object) -> bool:
    """Say whether something is an address and nothing more: it becomes a line of files."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in str(value) else socket.AF_INET, str(value))
    except (OSError, ValueError):
        return False
    return isinstance(value, str)


def _objects(result: Result, name: str) -> list[Mapping[str, Any]]:
    found = result.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
