from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.drivers.common import DriverContext
from swapbox.drivers.network import Connection, Endpoint, Network
from swapbox.errors import Conflict, InvalidInput
from swapbox_network_host import swapbox_network_drivers
from swapbox_network_host.driver import Driver


def test_the_network_without_connections_is_preferred_to_the_hosts() -> None:
    offered = sorted(swapbox_network_drivers(), key=lambda spec: -spec.priority)
    assert [spec.name for spec in offered] == ["none", "host"]


def test_none_has_a_namespace_of_its_own_and_host_has_not(tmp_path: Path) -> None:
    modes = {
        spec.name: spec.factory(DriverContext(tmp_path, tmp_path)).namespace(Network(spec.name))
        for spec in swapbox_network_drivers()
    }
    assert modes == {"none": "private", "host": "host"}


def test_connecting_gives_no_address() -> None:
    endpoint = Endpoint("e", Network("none"), "c", "c")
    assert Driver("none", "private").connect(Path("/proc/self/ns/net"), endpoint) == Connection()


def test_there_is_only_one_such_network() -> None:
    with pytest.raises(Conflict, match='only one instance of "host" network is allowed'):
        Driver("host", "host").create_network(Network("other"))


def test_options_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="'subnet'"):
        Driver("none", "private").create_network(Network("none", {"subnet": "10.0.0.0/8"}))
