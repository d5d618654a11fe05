"""Bridges themselves: made with the network, and again when a reboot or somebody has taken one away.

A bridge is ours when its alias says so; nothing else is ever changed or removed. One is made under the name that
follows from its network's id, gets its alias, and then the name that was asked for: so whatever a killed process
leaves has the one or the other. It is up when it is complete.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

from swapbox.drivers.network import Endpoint, Network
from swapbox.errors import Conflict, Unavailable
from swapbox_network_bridge.options import MARK, PORT_PREFIX, mark, marks, named, own_name, port_name, settings

_EEXIST = 17


def make(network: Network, *, owner: str = "") -> None:
    """Make a network's bridge with its addresses, or complete it.

    :param owner: see :func:`swapbox_network_bridge.options.mark`.
    :raises Conflict: a link of this name is not this network's.
    :raises Unavailable: the kernel refuses.
    """
    check(network)
    own = settings(network)
    with _route(f"make the bridge {own.bridge}") as route:
        index = _index(route, own.bridge)
        if index is None:
            index = _made(route, network)
            route.link("set", index=index, ifalias=mark(network, owner))
            if own.bridge != own_name(network):
                route.link("set", index=index, ifname=own.bridge)
        elif not _alias(route, index):
            route.link("set", index=index, ifalias=mark(network, owner))
        _tame(network)
        for subnet in network.subnets:
            _add_address(route, index, subnet.gateway, int(subnet.subnet.partition("/")[2]))
        route.link("set", index=index, state="up")


def check(network: Network) -> None:
    """Look whether the name of a network's bridge is free, or its own.

    :raises Conflict: it is not; for that of another network with Docker's words.
    """
    own = settings(network)
    with _route(f"look at the bridge {own.bridge}") as route:
        index = _index(route, own.bridge)
        if index is None or _is_own(route, index, network):
            return
        alias = _alias(route, index)
    shown = f"cannot create network {network.id} ({own.bridge})"
    if alias.startswith(MARK):
        other = alias.removeprefix(MARK).partition(" ")[0]
        raise Conflict(f"{shown}: conflicts with network {other} ({own.bridge}): networks have same bridge name")
    raise Conflict(
        f"{shown}: a link of this name is there, and no network's", hint="remove it, or choose another name"
    )


def forwards(*, wide: bool) -> bool:
    """Say whether this host forwards packets of IPv4, or ``wide`` of IPv6."""
    try:
        return _forwarding(wide=wide).read_text().strip() != "0"
    except OSError:
        return True  # nobody can change what is not there


def forward(*, wide: bool) -> None:
    """Let this host forward packets."""
    _set(_forwarding(wide=wide), "1")


def remove(network: Network) -> None:
    """Remove a network's bridge and what is still connected to it; what is not ours stays."""
    for name in {settings(network).bridge, own_name(network)}:
        with _route(f"remove the bridge {name}") as route:
            index = _index(route, name)
            if index is not None and _is_own(route, index, network):
                for port in _ports(route, index):
                    _delete(route, port["index"])
                _delete(route, index)


def reconcile(network: Network, live: Callable[[], Collection[Endpoint]]) -> int:
    """Remove the ports of a bridge that belong to no live endpoint; return how many there were."""
    own = settings(network)
    with _route(f"look at the bridge {own.bridge}") as route:
        index = _index(route, own.bridge)
        if index is None or not _is_own(route, index, network):
            return 0
        ports = _ports(route, index)
        kept = {port_name(endpoint) for endpoint in live()}
        lost = [port["index"] for port in ports if port.get_attr("IFLA_IFNAME") not in kept]
        return sum(_delete(route, port) for port in lost)


def strays(owner: str, known: Collection[str]) -> list[Network]:
    """Return the networks of an owner who knows nothing of them: their root directory was thrown away.

    Where something is connected yet, somebody lives who may know better.

    :param known: the ids of the owner's networks.
    """
    found = list[Network]()
    if not owner:
        return found
    with _route("look for bridges") as route:
        links = list(route.get_links())
        busy = {link.get_attr("IFLA_MASTER") for link in links}
        for link in links:
            mine, identity, whose = [*(link.get_attr("IFLA_IFALIAS") or "").split(" "), "", "", ""][:3]
            if (mine, whose) == (MARK.strip(), owner) and identity not in known and link["index"] not in busy:
                found.append(named(identity, link.get_attr("IFLA_IFNAME")))
    return found


def _made(route: Any, network: Network) -> int:
    """Return a bridge that has just been made, or that a killed process has left."""
    name = own_name(network)
    index = _index(route, name)
    if index is None:
        route.link("add", ifname=name, kind="bridge", address=_hardware_address(), mtu=settings(network).mtu)
        return int(route.link_lookup(ifname=name)[0])
    if not _is_own(route, index, network):
        raise Conflict(f"cannot make the bridge {name}: a link of this name is there, and is not this network's")
    return index


def _tame(network: Network) -> None:
    """Set what has to be before a bridge is up."""
    name = settings(network).bridge
    _set(Path(f"/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")
    # A container that says it is a router must not become the host's (CVE-2020-13401).
    _set(Path(f"/proc/sys/net/ipv6/conf/{name}/accept_ra"), "0")
    _set(Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "0" if network.ipv6 else "1")


# -- the kernel's words -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _route(doing: str) -> Iterator[Any]:
    try:
        with IPRoute() as route:
            yield route
    except (NetlinkError, OSError) as error:
        code = getattr(error, "code", None) or getattr(error, "errno", 0)
        raise Unavailable(f"cannot {doing}: {os.strerror(code).lower() if code else error}") from error


def _index(route: Any, name: str) -> int | None:
    found = route.link_lookup(ifname=name)
    return found[0] if found else None


def _link(route: Any, index: int) -> Any:
    return next(iter(route.get_links(index)))


def _kind(route: Any, index: int) -> str:
    info = _link(route, index).get_attr("IFLA_LINKINFO")
    return str(info.get_attr("IFLA_INFO_KIND")) if info else ""


def _alias(route: Any, index: int) -> str:
    return _link(route, index).get_attr("IFLA_IFALIAS") or ""


def _is_own(route: Any, index: int, network: Network) -> bool:
    """Say whether a bridge is a network's; one of its name without an alias a killed process has left."""
    if _kind(route, index) != "bridge":
        return False
    alias, name = _alias(route, index), _link(route, index).get_attr("IFLA_IFNAME")
    return marks(alias, network) or (not alias and name == own_name(network))


def _ports(route: Any, bridge: int) -> list[Any]:
    """Return those ports of a bridge that are ours."""
    ports = (link for link in route.get_links() if link.get_attr("IFLA_MASTER") == bridge)
    return [port for port in ports if port.get_attr("IFLA_IFNAME").startswith(PORT_PREFIX)]


def _delete(route: Any, index: int) -> bool:
    try:
        route.link("del", index=index)
    except NetlinkError as error:
        if error.code == 19:  # ENODEV: the kernel was faster
            return False
        raise
    return True


def _add_address(route: Any, index: int, address: str, prefix: int) -> None:
    extra = {"flags": 0x02} if ":" in address else {"broadcast": True} if prefix < 31 else {}
    try:
        route.addr("add", index=index, address=address, prefixlen=prefix, **extra)
    except NetlinkError as error:
        if error.code != _EEXIST:
            raise


def _hardware_address() -> str:
    """Return an address of the bridge's own: else it takes that of a port, and changes as ports come and go."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + os.urandom(4))


def _forwarding(*, wide: bool) -> Path:
    return Path("/proc/sys/net") / ("ipv6/conf/all/forwarding" if wide else "ipv4/ip_forward")


def _set(path: Path, value: str) -> None:
    with contextlib.suppress(OSError):  # a read-only /proc/sys: perhaps it is as it should be
        if path.read_text().strip() != value:
            path.write_text(value)
