"""What is a bridge's own: its options, its rules, and a host whose firewall drops what it forwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.drivers.network import Endpoint, Network, PublishedPort, Subnet
from swapbox.errors import InvalidInput
from swapbox.testing.hosts import Host, entered, host, join
from swapbox.testing.network import make_endpoint, netns_of, reaches, serving
from swapbox_network_bridge.driver import Driver
from swapbox_network_bridge.iptables import port_chain
from swapbox_network_bridge.nft import network_rules, port_rules
from swapbox_network_bridge.options import settings

FRONT = Network("front", id="ab" * 32, subnets=(Subnet("10.77.0.0/24", "10.77.0.1"),))


def with_options(**options: str) -> Network:
    names = {"name": "bridge.name", "icc": "bridge.enable_icc", "mtu": "driver.mtu"}
    return FRONT._replace(options={f"com.docker.network.{names[key]}": value for key, value in options.items()})


def test_words_for_others_are_no_options() -> None:
    assert settings(FRONT._replace(options={"colour": "red"})) == settings(FRONT)


def test_the_bridge_is_named_after_the_network_or_as_asked() -> None:
    assert settings(FRONT).bridge == "br-abababababab"
    assert settings(with_options(name="docker0", mtu="9000")) == ("docker0", True, True, 9000)


@pytest.mark.parametrize(
    "network",
    [
        with_options(name="a-name-that-is-too-long"),
        with_options(name="a/b"),
        with_options(name='a" drop'),
        with_options(name="all"),
        FRONT._replace(options={"com.docker.network.bridge.host_binding_ipv4": "1.2.3.4 drop"}),
        with_options(icc="perhaps"),
        with_options(mtu="7"),
        FRONT._replace(options={"com.docker.network.bridge.colour": "red"}),
    ],
)
def test_wrong_options_are_refused(network: Network) -> None:
    with pytest.raises(InvalidInput):
        settings(network)


def test_an_internal_network_lets_nothing_out_and_translates_nothing() -> None:
    rules = network_rules(FRONT._replace(internal=True))
    assert 'iifname "br-abababababab" drop' in rules
    assert 'oifname != "br-abababababab" masquerade' not in rules


def test_without_icc_neighbours_are_dropped() -> None:
    bridge = '"br-abababababab"'
    assert f"iifname {bridge} oifname {bridge} drop" in network_rules(with_options(icc="false"))


def test_a_port_is_published_for_the_addresses_of_its_family_only() -> None:
    endpoint = make_endpoint(FRONT, 2)._replace(ports=(PublishedPort("tcp", 80, "::", 8080),))
    assert "dnat" not in port_rules(endpoint)
    endpoint = endpoint._replace(ports=(PublishedPort("udp", 53, "10.1.1.1", 5353),))
    assert "ip daddr 10.1.1.1 meta nfproto ipv4 udp dport 5353 dnat ip to 10.77.0.2:53" in port_rules(endpoint)


@pytest.mark.parametrize("protocol", ["tcp dport 1 accept\n}\n}\ntable inet other {", "icmp", ""])
def test_nothing_but_a_protocol_gets_into_the_rules(protocol: str) -> None:
    endpoint = make_endpoint(FRONT, 2)._replace(ports=(PublishedPort(protocol, 80, "0.0.0.0", 8080),))
    with pytest.raises(InvalidInput, match="invalid protocol"):
        port_rules(endpoint)
    with pytest.raises(InvalidInput, match="invalid protocol"):
        port_chain(endpoint, wide=False)


def test_ports_are_published_where_the_networks_options_say(tmp_path: Path) -> None:
    network = FRONT._replace(options={"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"})
    assert Driver(tmp_path).host_address(network) == "127.0.0.1"


@pytest.fixture
def own_host() -> Iterator[Host]:
    with host() as made, entered(made.pid):
        yield made


@pytest.fixture
def endpoint() -> Endpoint:
    return make_endpoint(FRONT, 2)._replace(ports=(PublishedPort("tcp", 80, "0.0.0.0", 8080),))


@pytest.mark.root
@pytest.mark.debian
def test_a_firewall_that_drops_what_is_forwarded_lets_a_networks_traffic_pass(
    own_host: Host, endpoint: Endpoint, tmp_path: Path
) -> None:
    own_host.ok("iptables", "-P", "FORWARD", "DROP")
    before = own_host.ok("iptables", "-S")
    driver = Driver(tmp_path)
    with host() as outside, host() as place:
        join(own_host, outside)
        driver.create_network(FRONT)
        driver.connect(netns_of(place), endpoint)
        with serving(outside, 80), serving(place, 80):
            assert reaches(place, "10.231.7.2", 80)
            assert reaches(outside, "10.231.7.1", 8080)
            outside.ip("route add 10.77.0.0/24 via 10.231.7.1")
            assert not reaches(outside, "10.77.0.2", 80, seconds=0.3)
    driver.remove_network(FRONT)
    assert own_host.ok("iptables", "-S") == before
