from __future__ import annotations

from pathlib import Path

import pytest

from swapbox import NetworkDriver
from swapbox.testing.network import PortsContract
from swapbox_network_bridge.driver import Driver
from swapbox_network_bridge.iptables import Iptables, programs


@pytest.mark.root
@pytest.mark.debian
class TestContract(PortsContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> NetworkDriver:
        return Driver(tmp_path)


@pytest.mark.root
@pytest.mark.debian
class TestContractWithIptables(PortsContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> NetworkDriver:
        return Driver(tmp_path, firewall=Iptables(programs()))
