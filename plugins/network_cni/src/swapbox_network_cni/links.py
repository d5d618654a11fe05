"""Links of the host that plugins have made and leave: bridges always, pairs of links when a namespace lives on."""

from __future__ import annotations

import array
import contextlib
import fcntl
import glob
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swapbox.drivers.network import Network
from swapbox.errors import Unavailable

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCETHTOOL = 0x8913, 0x8914, 0x8946
_GDRVINFO = 3
_IFF_UP = 1
_DEFAULT_BRIDGE = "cni0"
"""Of the plugin ``bridge``."""


def exists(name: str) -> bool:
    """Say whether there is such a link."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def kind(name: str) -> str:
    """Return what a link is to ethtool(8), such as ``veth`` and ``bridge``; empty when it is nothing or gone."""
    info = array.array("B", struct.pack("I32s", _GDRVINFO, b"").ljust(200, b"\0"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", os.fsencode(name)[:15], info.buffer_info()[0]))
        except OSError:
            return ""
    return info.tobytes()[4:36].rstrip(b"\0").decode(errors="replace")


def cut(names: Iterable[str]) -> None:
    """Take down the host's ends of pairs of links, so that nothing comes through them any more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name in names:
            if kind(name) != "veth":
                continue
            with contextlib.suppress(OSError):  # it is gone
                request = struct.pack("16sH22x", os.fsencode(name)[:15], 0)
                flags = struct.unpack("16sH22x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))[1]
                request = struct.pack("16sH22x", os.fsencode(name)[:15], flags & ~_IFF_UP)
                fcntl.ioctl(sock, _SIOCSIFFLAGS, request)


def remove(names: Iterable[str]) -> None:
    """Remove pairs of links; what is none is left alone."""
    _remove([name for name in names if kind(name) == "veth"])


def _remove(names: Iterable[str]) -> None:
    names = list(names)
    if not names:
        return
    from pyroute2 import IPRoute, NetlinkError  # type: ignore[import-untyped]

    with IPRoute() as netlink:
        for name in names:
            for index in netlink.link_lookup(ifname=name):
                try:
                    netlink.link("del", index=index)
                except NetlinkError as error:
                    if exists(name):
                        raise Unavailable(f"cannot remove link {name}: {error}") from error


class Bridges:
    """The bridges that were not there before containers were connected: they go with their networks.

    :param run_root: where they are written down, each before it is made.
    """

    def __init__(self, run_root: Path) -> None:
        self._directory = run_root / "bridges"

    def note(self, network: Network, plugins: Iterable[Mapping[str, Any]]) -> None:
        """Write down which bridges the plugins of a network are about to make."""
        for plugin in plugins:
            if plugin["type"] != "bridge":
                continue
            name = str(plugin.get("bridge") or _DEFAULT_BRIDGE)
            if "/" not in name and (not exists(name) or any(self._marks(name))):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self._directory / f"{name}@{network.id}").touch(mode=0o600)

    def remove(self, network: Network) -> None:
        """Remove the bridges of a network that have no ports and are no other network's."""
        for mark in self._directory.glob(f"*@{network.id}"):
            name = mark.name.rpartition("@")[0]
            others = [one for one in self._marks(name) if one != mark]
            if not others and kind(name) == "bridge" and not _has_ports(name):
                _remove([name])
            mark.unlink(missing_ok=True)

    def forget_unmade(self, network: Network) -> None:
        """Forget the bridges of a network that were not made: whoever makes one of that name is not us.

        To be called while nobody is making one.
        """
        for mark in self._directory.glob(f"*@{network.id}"):
            if not exists(mark.name.rpartition("@")[0]):
                mark.unlink(missing_ok=True)

    def _marks(self, name: str) -> Iterator[Path]:
        yield from self._directory.glob(f"{glob.escape(name)}@*")


def _has_ports(bridge: str) -> bool:
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        return any(netlink.get_links(master=index) for index in netlink.link_lookup(ifname=bridge))
