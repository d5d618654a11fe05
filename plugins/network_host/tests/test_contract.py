from __future__ import annotations

import pytest

from swapbox import NetworkDriver
from swapbox.drivers.network import NamespaceMode, Network
from swapbox.testing.network import NetworkDriverContract
from swapbox_network_host.driver import Driver


@pytest.mark.parametrize(("name", "mode"), [("none", "private"), ("host", "host")])
class TestContract(NetworkDriverContract):
    @pytest.fixture
    def driver(self, name: str, mode: NamespaceMode) -> NetworkDriver:
        return Driver(name, mode)

    @pytest.fixture
    def network(self, name: str) -> Network:
        return Network(name)
