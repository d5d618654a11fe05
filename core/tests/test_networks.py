"""Addresses, pools and the files about names: what needs no kernel."""

from __future__ import annotations

import pytest

from swapbox.containers.config import ContainerConfig
from swapbox.containers.network_files import hosts_lines, resolv_conf
from swapbox.drivers.network import Endpoint, Network, Subnet
from swapbox.errors import InvalidInput, Unavailable
from swapbox.networks.addresses import Range, first_free, numbers, parse, text
from swapbox.networks.endpoints import hardware_address
from swapbox.networks.pools import Pool, choose, host_routes, unique_local

FRONT = Network("front", id="ab" * 32, subnets=(Subnet("10.0.0.0/24", "10.0.0.1"), Subnet("fd00::/64", "fd00::1")))
ENDPOINT = Endpoint("cd" * 32, FRONT, "ef" * 32, "web", addresses=("10.0.0.2/24", "fd00::2/64"))


@pytest.mark.parametrize(
    ("subnet", "taken", "free"),
    [
        ("10.0.0.0/24", ["10.0.0.1"], "10.0.0.2"),
        ("10.0.0.0/24", ["10.0.0.1", "10.0.0.3"], "10.0.0.2"),
        ("10.0.0.0/30", ["10.0.0.1", "10.0.0.2"], None),
        ("fd00::/64", ["fd00::1"], "fd00::2"),
    ],
)
def test_the_lowest_address_that_nobody_has(subnet: str, taken: list[str], free: str | None) -> None:
    whole = Range.parse(subnet)
    found = first_free(whole, whole, numbers(taken))
    assert (found and text(found, whole.bits)) == free


def test_a_part_of_a_subnet_is_used_to_its_last_address_but_the_broadcast() -> None:
    whole, part = Range.parse("10.0.0.0/24"), Range.parse("10.0.0.252/30")
    taken = numbers(["10.0.0.252", "10.0.0.253"])
    assert first_free(whole, part, taken) == parse("10.0.0.254")[0]
    assert first_free(whole, part, {*taken, parse("10.0.0.254")[0]}) is None


@pytest.mark.parametrize("wrong", ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/x", "fd00::/129", "x/8"])
def test_what_is_no_subnet(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        Range.parse(wrong)


def test_a_pool_gives_what_neither_networks_nor_routes_use() -> None:
    pools = [Pool("10.1.0.0/16", 16), Pool("10.2.0.0/16", 24)]
    taken = [Range.parse("10.1.128.0/20"), Range.parse("10.2.0.0/23"), Range.parse("fd00::/8")]
    assert choose(pools, taken).text() == "10.2.2.0/24"
    with pytest.raises(Unavailable, match="all predefined address pools have been fully subnetted"):
        choose(pools, [*taken, Range.parse("10.0.0.0/8")])


def test_a_pool_of_ipv6_is_not_looked_through_address_by_address() -> None:
    taken = [Range.parse("fd00::/20")]
    assert choose([Pool("fd00::/8", 64)], taken, bits=128).text() == "fd00:1000::/64"
    assert Range.parse(unique_local().base).prefix == 48


def test_the_routes_of_this_host_can_be_read() -> None:
    assert all(route.prefix for route in host_routes())


def test_an_address_always_has_the_same_hardware_address() -> None:
    assert hardware_address("172.17.0.2/16") == "02:42:ac:11:00:02"


def test_hosts_has_the_containers_names_and_those_that_were_added() -> None:
    config = ContainerConfig("x", domainname="lan", extra_hosts=("db:10.9.9.9", "me:host-gateway"))
    assert hosts_lines(config, [ENDPOINT]).splitlines() == [
        "10.9.9.9\tdb",
        "10.0.0.1\tme",
        "fd00::1\tme",
        "10.0.0.2\tweb.lan web",
        "fd00::2\tweb.lan web",
    ]


def test_name_servers_on_the_hosts_loopback_are_of_no_use() -> None:
    host = "# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.9\nsearch a b\noptions ndots:2\n"
    config = ContainerConfig("x")
    assert resolv_conf(config, host, networked=True) == "nameserver 10.0.0.9\nsearch a b\noptions ndots:2\n"
    assert "nameserver 127.0.0.1\n" in resolv_conf(config, host, networked=False)
    assert resolv_conf(config, "nameserver ::1\n", networked=True) == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"


def test_options_replace_what_the_host_says() -> None:
    config = ContainerConfig("x", dns=("1.1.1.1",), dns_search=(".",), dns_options=("rotate",))
    assert resolv_conf(config, "nameserver 10.0.0.9\nsearch a\n", networked=True) == (
        "nameserver 1.1.1.1\noptions rotate\n"
    )
