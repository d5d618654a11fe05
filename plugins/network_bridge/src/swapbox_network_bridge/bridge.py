"""Bridges themselves: made with the network, and again when a reboot or somebody has taken one away."""

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
from swapbox_network_bridge.options import port_name, settings

_EEXIST = 17


def make(network: Network) -> None:
    """Make a network's bridge with its addresses, or complete it.

    :raises Conflict: a link of this name is no bridge.
    :raises Unavailable: the kernel refuses.
    """
    own = settings(network)
    with _route(f"make the bridge {own.bridge}") as route:
        index = _index(route, own.bridge)
        if index is None:
            route.link("add", ifname=own.bridge, kind="bridge", address=_hardware_address(), mtu=own.mtu)
            index = int(route.link_lookup(ifname=own.bridge)[0])
            route.link("set", index=index, ifalias=_mark(network))
        elif _kind(route, index) != "bridge":
            raise Conflict(f"cannot make the bridge {own.bridge}: a link of this name is there and is no bridge")
        for subnet in network.subnets:
            _add_address(route, index, subnet.gateway, int(subnet.subnet.partition("/")[2]))
        route.link("set", index=index, state="up")
    _set(f"ipv4/conf/{own.bridge}/route_localnet")
    _set("ipv4/ip_forward")
    if network.ipv6:
        _set("ipv6/conf/all/forwarding")


def remove(network: Network) -> None:
    """Remove a network's bridge and what is still connected to it; one that others had made stays."""
    own = settings(network)
    with _route(f"remove the bridge {own.bridge}") as route:
        index = _index(route, own.bridge)
        if index is None:
            return
        for port in _ports(route, index):
            _delete(route, port["index"])
        if _link(route, index).get_attr("IFLA_IFALIAS") == _mark(network):
            _delete(route, index)


def reconcile(network: Network, live: Callable[[], Collection[Endpoint]]) -> int:
    """Remove the ports of a bridge that belong to no live endpoint; return how many there were."""
    own = settings(network)
    with _route(f"look at the bridge {own.bridge}") as route:
        index = _index(route, own.bridge)
        if index is None:
            return 0
        ports = list(_ports(route, index))
        kept = {port_name(endpoint) for endpoint in live()}
        lost = [
            port["index"]
            for port in ports
            if port.get_attr("IFLA_IFNAME").startswith("veth") and port.get_attr("IFLA_IFNAME") not in kept
        ]
        return sum(_delete(route, port) for port in lost)


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


def _ports(route: Any, bridge: int) -> list[Any]:
    return [link for link in route.get_links() if link.get_attr("IFLA_MASTER") == bridge]


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


def _mark(network: Network) -> str:
    return f"swapbox {network.id}"


def _hardware_address() -> str:
    """Return an address of the bridge's own: else it takes that of a port, and changes as ports come and go."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + os.urandom(4))


def _set(setting: str) -> None:
    path = Path("/proc/sys/net") / setting
    with contextlib.suppress(OSError):  # a read-only /proc/sys: perhaps it is as it should be
        if path.read_text().strip() != "1":
            path.write_text("1")
