"""What the driver leaves alone, and what it keeps containers and strangers from."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.drivers.network import Endpoint, Network, PublishedPort, Subnet
from swapbox.errors import Conflict, InvalidInput
from swapbox.testing.hosts import Host, entered, host, join
from swapbox.testing.network import make_endpoint, netns_of, reaches, serving
from swapbox_network_bridge import bridge
from swapbox_network_bridge.driver import Driver
from swapbox_network_bridge.iptables import Iptables, allow_forwarding, network_chains, port_chain, programs
from swapbox_network_bridge.nft import network_rules, port_rules

pytestmark = [pytest.mark.root, pytest.mark.debian]

BRIDGE = "br-abababababab"
FRONT = Network("front", id="ab" * 32, subnets=(Subnet("10.77.0.0/24", "10.77.0.1"),))
BACK = Network("back", id="cd" * 32, subnets=(Subnet("10.78.0.0/24", "10.78.0.1"),))
NAMED = {"com.docker.network.bridge.name": "own0"}


@pytest.fixture(params=["nft", "iptables"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return Driver(tmp_path, firewall=Iptables(programs()) if request.param == "iptables" else None)


@pytest.fixture
def own_host() -> Iterator[Host]:
    with host() as made, entered(made.pid):
        yield made


@pytest.fixture
def place() -> Iterator[Host]:
    with host() as made:
        yield made


class TestWhatOthersHaveMade:
    def test_their_bridge_is_refused_and_stays_as_it_is(self, own_host: Host, tmp_path: Path) -> None:
        own_host.ip("link add own0 type bridge")
        own_host.ip("link add veth1234567 type veth peer name theirs")
        own_host.ip("link set veth1234567 master own0")
        before, driver, network = own_host.links(), Driver(tmp_path), FRONT._replace(options=NAMED)
        with pytest.raises(Conflict, match=r"\(own0\): a link of this name is there"):
            driver.create_network(network)
        with pytest.raises(Conflict):
            driver.connect(netns_of(own_host), make_endpoint(network, 2))
        driver.reconcile([network], list)
        driver.remove_network(network)
        assert own_host.links() == before
        assert own_host.tables() == set()
        assert "10.77" not in own_host.ip("addr")

    def test_the_bridge_of_another_network_is_refused_with_dockers_words(
        self, own_host: Host, place: Host, tmp_path: Path
    ) -> None:
        driver, one, other = Driver(tmp_path), FRONT._replace(options=NAMED), BACK._replace(options=NAMED)
        driver.create_network(one)
        driver.connect(netns_of(place), make_endpoint(one, 2))
        before = own_host.links()
        words = f"(own0): conflicts with network {one.id} (own0): networks have same bridge name"
        with pytest.raises(Conflict, match=re.escape(f"cannot create network {other.id} {words}")):
            driver.create_network(other)
        driver.reconcile([other], list)
        driver.remove_network(other)
        assert own_host.links() == before
        driver.remove_network(one)
        assert own_host.links() == set()

    def test_a_port_that_somebody_has_added_is_not_taken_for_a_dead_containers(
        self, own_host: Host, tmp_path: Path
    ) -> None:
        driver = Driver(tmp_path)
        driver.create_network(FRONT)
        own_host.ip("link add veth7654321 type veth peer name theirs")
        own_host.ip(f"link set veth7654321 master {BRIDGE}")
        assert driver.reconcile([FRONT], list) == 0
        driver.remove_network(FRONT)
        assert own_host.links() == {"veth7654321", "theirs"}

    @pytest.mark.parametrize("options", [{}, NAMED])
    def test_what_a_process_has_left_that_was_killed_before_it_marked_the_bridge_is_ours(
        self, own_host: Host, tmp_path: Path, options: dict[str, str]
    ) -> None:
        driver, network = Driver(tmp_path), FRONT._replace(options=options)
        own_host.ip(f"link add {BRIDGE} type bridge")
        driver.remove_network(network)
        assert own_host.links() == set()
        own_host.ip(f"link add {BRIDGE} type bridge")
        driver.create_network(network)
        assert own_host.links() == {options.get("com.docker.network.bridge.name", BRIDGE)}
        driver.remove_network(network)
        assert own_host.links() == set()

    @pytest.mark.parametrize("step", ["forward", "make", "_tame", "_add_address"])
    def test_what_a_killed_process_has_not_finished_the_next_start_does(
        self, own_host: Host, place: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        own_host.sysctl("net/ipv4/ip_forward", "0")
        driver = Driver(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(bridge, step, kill)
            patch.setattr(bridge, "remove", kill)
            with pytest.raises(KeyboardInterrupt):
                driver.create_network(FRONT)
        driver.connect(netns_of(place), make_endpoint(FRONT, 2))
        assert own_host.ok("cat", "/proc/sys/net/ipv4/ip_forward") == "1"
        with serving(None, 80):
            assert reaches(place, "10.77.0.1", 80)


@pytest.mark.parametrize("options", [{}, NAMED])
def test_networks_of_a_root_directory_that_was_thrown_away_go_when_nobody_lives_there(
    own_host: Host, place: Host, driver: Driver, tmp_path: Path, options: dict[str, str]
) -> None:
    rules, network = driver._firewall, FRONT._replace(options=options)
    mine, others = (Driver(tmp_path, place=place, firewall=rules) for place in (lambda: "mine", lambda: "others"))
    mine.create_network(network)
    before = own_host.links()
    assert others.reconcile([], list) == 0
    assert mine.reconcile([network], list) == 0
    mine.connect(netns_of(place), make_endpoint(network, 2))
    assert mine.reconcile([], list) == 0
    mine.disconnect(netns_of(place), make_endpoint(network, 2))
    assert own_host.links() == before
    assert mine.reconcile([], list) == 1
    assert own_host.links() == set()
    assert network.id[:12] not in own_host.ok("nft", "list", "ruleset") + own_host.ok("iptables-save")


class TestTheHostsRules:
    @pytest.fixture
    def dropping(self, own_host: Host) -> Host:
        own_host.sysctl("net/ipv4/ip_forward", "1")
        own_host.ok("iptables", "-P", "FORWARD", "DROP")
        return own_host

    def test_what_the_admin_drops_is_dropped(self, dropping: Host, place: Host, tmp_path: Path) -> None:
        driver = Driver(tmp_path)
        dropping.ok("iptables", "-A", "FORWARD", "-s", "10.77.0.0/24", "-p", "tcp", "--dport", "81", "-j", "DROP")
        driver.create_network(FRONT)
        driver.connect(netns_of(place), make_endpoint(FRONT, 2))
        with host() as outside:
            join(dropping, outside)
            with serving(outside, 80), serving(outside, 81):
                assert reaches(place, "10.231.7.2", 80)
                assert not reaches(place, "10.231.7.2", 81, seconds=0.3)

    def test_dockers_containers_stay_closed_to_ours(self, dropping: Host, place: Host, tmp_path: Path) -> None:
        driver = Driver(tmp_path)
        driver.create_network(FRONT)
        driver.connect(netns_of(place), make_endpoint(FRONT, 2))
        with host() as theirs:
            join(dropping, theirs, "172.17.0", wide="fd17")
            (cable,) = (name for name in dropping.links() if name.startswith("cable"))
            dropping.ip("link add docker0 type bridge")
            dropping.ip(f"addr flush dev {cable}")
            dropping.ip(f"link set {cable} master docker0")
            dropping.ip("addr add 172.17.0.1/16 dev docker0")
            dropping.ip("link set docker0 up")
            theirs.ip("route add default via 172.17.0.1")
            with serving(theirs, 80):
                assert reaches(None, "172.17.0.2", 80)
                assert not reaches(place, "172.17.0.2", 80, seconds=0.3)

    @pytest.mark.parametrize("command", ["-F FORWARD", "-P FORWARD DROP"])
    def test_a_start_repairs_them(self, own_host: Host, place: Host, driver: Driver, command: str) -> None:
        own_host.sysctl("net/ipv4/ip_forward", "1")
        if "-F" in command:
            own_host.ok("iptables", "-P", "FORWARD", "DROP")
        driver.create_network(FRONT)
        own_host.ok("iptables", *command.split())
        driver.connect(netns_of(place), make_endpoint(FRONT, 2))
        with host() as outside:
            join(own_host, outside)
            with serving(outside, 80):
                assert reaches(place, "10.231.7.2", 80)

    @pytest.mark.parametrize("before", ["0", "1"])
    def test_a_host_that_forwarded_nothing_is_no_router_afterwards(
        self, own_host: Host, place: Host, driver: Driver, before: str
    ) -> None:
        own_host.sysctl("net/ipv4/ip_forward", before)
        with host() as left, host() as right:
            join(own_host, left, "10.231.7", wide="fd31:7")
            join(own_host, right, "10.231.8", wide="fd31:8")
            left.ip("route add default via 10.231.7.1")
            right.ip("route add default via 10.231.8.1")
            driver.create_network(FRONT)
            driver.connect(netns_of(place), make_endpoint(FRONT, 2))
            with serving(right, 80):
                assert reaches(place, "10.231.8.2", 80)
                assert reaches(left, "10.231.8.2", 80, seconds=0.3) == (before == "1")


class TestWhatContainersMayDo:
    def test_no_container_is_the_hosts_router(self, own_host: Host, tmp_path: Path) -> None:
        wide = BACK._replace(ipv6=True, subnets=(*BACK.subnets, Subnet("fd78::/64", "fd78::1")))
        driver, conf = Driver(tmp_path), "/proc/sys/net/ipv6/conf"
        for network in (FRONT, wide):
            driver.create_network(network)
        assert own_host.ok("cat", f"{conf}/{BRIDGE}/accept_ra", f"{conf}/{BRIDGE}/disable_ipv6").split() == [
            "0",
            "1",
        ]
        wide_conf = f"{conf}/br-cdcdcdcdcdcd"
        assert own_host.ok("cat", f"{wide_conf}/accept_ra", f"{wide_conf}/disable_ipv6").split() == ["0", "0"]

    def test_nobody_speaks_to_the_host_as_its_loopback(self, own_host: Host, place: Host, driver: Driver) -> None:
        driver.create_network(FRONT)
        driver.connect(netns_of(place), make_endpoint(FRONT, 2))
        for link in ("all", BRIDGE):  # a host that asks no questions about sources
            own_host.sysctl(f"net/ipv4/conf/{link}/rp_filter", "0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("10.77.0.1", 9))
            server.settimeout(5)
            for source in ("127.0.0.2", "10.77.0.2"):
                send_as(place, source, "10.77.0.1", 9)
            assert server.recvfrom(100)[1][0] == "10.77.0.2"  # the first that arrives

    def test_without_icc_neighbours_are_kept_apart_by_the_bridge_itself(
        self, own_host: Host, place: Host, tmp_path: Path
    ) -> None:
        for name in ("iptables", "ip6tables"):  # else rules see it, too; most hosts have it off
            own_host.ok("sh", "-c", f"echo 0 > /proc/sys/net/bridge/bridge-nf-call-{name} || :")
        driver = Driver(tmp_path)
        network = FRONT._replace(options={"com.docker.network.bridge.enable_icc": "false"})
        driver.create_network(network)
        driver.connect(netns_of(place), make_endpoint(network, 2))
        published = make_endpoint(network, 3)._replace(ports=(PublishedPort("tcp", 80, "0.0.0.0", 8080),))
        with host() as neighbour:
            driver.connect(netns_of(neighbour), published)
            with serving(neighbour, 80), serving(None, 81):
                assert reaches(place, "10.77.0.1", 81)
                assert not reaches(place, "10.77.0.3", 80, seconds=0.3)


def kill(*_: object, **__: object) -> None:
    """End as a killed process does: nothing is undone."""
    raise KeyboardInterrupt


def send_as(place: Host, source: str, target: str, port: int) -> None:
    """Send a UDP packet with a source that need not be the sender's own."""
    udp = socket.htons(9).to_bytes(2, "little") + port.to_bytes(2, "big") + (8).to_bytes(2, "big") + b"\0\0"
    head = b"\x45\0" + (28).to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0"
    with entered(place.pid), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        sender.sendto(head + socket.inet_aton(source) + socket.inet_aton(target) + udp, (target, 0))


EVIL = ["x; drop", '"', "1\n2", "10.77.0.2 accept", "}", "$x", "-j ACCEPT", "\0", "\udc80", "", "#"]


def endpoint_with(**fields: object) -> Endpoint:
    return make_endpoint(FRONT, 2)._replace(ports=(PublishedPort("tcp", 80, "0.0.0.0", 8080),))._replace(**fields)  # type: ignore[arg-type]


def port_with(**fields: object) -> Endpoint:
    return endpoint_with(ports=(PublishedPort("tcp", 80, "0.0.0.0", 8080)._replace(**fields),))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", EVIL)
def test_no_text_of_a_users_gets_into_rules(text: str) -> None:
    named = [FRONT._replace(options={"com.docker.network.bridge.name": text})] * bool(text)
    networks = [*named, FRONT._replace(id=text), FRONT._replace(subnets=(Subnet(text, "10.77.0.1"),))]
    networks += [FRONT._replace(subnets=(Subnet(f"10.77.0.0/{text}", "10.77.0.1"),))]
    for network in networks:
        for make in (network_rules, lambda one: network_chains(one, wide=False), allow_forwarding):
            with pytest.raises(InvalidInput):
                make(network)
    endpoints = [port_with(**{field: text}) for field in ("protocol", "private", "address", "public")]
    endpoints += [endpoint_with(id=text), endpoint_with(addresses=(text,)), endpoint_with(network=networks[-1])]
    for endpoint in endpoints:
        for publish in (port_rules, lambda one: port_chain(one, wide=False)):
            with pytest.raises(InvalidInput):
                publish(endpoint)


def test_names_and_labels_are_no_part_of_rules() -> None:
    network = FRONT._replace(name="evil", options={})
    endpoint = endpoint_with(
        network=network, hostname="evil", aliases=("evil",), interface="evil", mac_address="evil"
    )
    texts = [network_rules(network), port_rules(endpoint._replace(options={"evil": "evil"}))]
    assert "evil" not in f"{texts} {network_chains(network, wide=False)} {port_chain(endpoint, wide=False)}"
