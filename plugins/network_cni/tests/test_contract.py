from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox import NetworkDriver
from swapbox.drivers.network import Network, Subnet
from swapbox.testing.hosts import Host, entered, host
from swapbox.testing.network import PortsContract
from swapbox_network_cni.driver import Driver

BIN_DIR = "/usr/lib/cni"


@pytest.mark.root
@pytest.mark.debian
@pytest.mark.skipif(not Path(BIN_DIR, "bridge").exists(), reason="needs the package containernetworking-plugins")
class TestContract(PortsContract):
    """The suite gives addresses itself: the list takes those with IPAM plugin ``static``."""

    @pytest.fixture(autouse=True)
    def _own_host(self) -> Iterator[None]:
        if os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        with host() as made, entered(made.pid):
            without_detection(made)
            yield

    @pytest.fixture
    def places(self) -> Iterator[tuple[Host, Host]]:
        with host() as one, host() as other:
            without_detection(one)
            without_detection(other)
            yield one, other

    @pytest.fixture
    def driver(self, tmp_path: Path) -> NetworkDriver:
        return Driver(tmp_path / "root", tmp_path / "run", conf_dir=str(tmp_path), bin_dirs=BIN_DIR)

    @pytest.fixture
    def network(self, tmp_path: Path) -> Network:
        subnets = (Subnet("10.77.0.0/24", "10.77.0.1"), Subnet("fd77::/64", "fd77::1"))
        write_list(tmp_path, "net")
        return Network("net", id="ab" * 32, subnets=subnets, ipv6=True)

    @pytest.fixture
    def other(self, tmp_path: Path) -> Network:
        write_list(tmp_path, "other")
        return Network("other", id="cd" * 32, subnets=(Subnet("10.78.0.0/24", "10.78.0.1"),))


def without_detection(place: Host) -> None:
    """Let addresses of IPv6 be used at once: the plugins wait two seconds for whether others have them."""
    place.sysctl("net/ipv6/conf/default/accept_dad", "0")
    place.sysctl("net/ipv6/conf/all/accept_dad", "0")


def write_list(directory: Path, name: str) -> None:
    """Write a list of bridge, portmap and firewall."""
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": f"cni-{name}",
        "isDefaultGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "capabilities": {"ips": True, "mac": True},
        "ipam": {"type": "static"},
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    firewall = {"type": "firewall", "ingressPolicy": "same-bridge"}
    document = {"cniVersion": "1.0.0", "name": name, "plugins": [bridge, portmap, firewall]}
    (directory / f"{name}.conflist").write_text(json.dumps(document))
