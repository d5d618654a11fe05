"""Networks with what people run in them: Debian's nginx, dig, curl and iperf3, a firewall that drops what it
forwards, and a host whose own name server is a stub of systemd-resolved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.testing import publish, tools, worlds
from swapbox.testing.dns import name_server
from swapbox.testing.hosts import Host
from swapbox.testing.process import Result, wait_until
from swapbox.testing.worlds import INSIDE, OUTSIDE, World

pytestmark = [pytest.mark.root, pytest.mark.debian]

STUB = "127.0.0.53"
WEB, WEB6 = "10.91.0.80", "fd91::80"
LARGE = " ".join(f'"{number:0>250}"' for number in range(40))
ZONE = f"""
$TTL 60
stub.example.   IN A 198.51.100.7
stub.example.   IN AAAA 2001:db8::7
large.example.  IN TXT {LARGE}
7.100.51.198.in-addr.arpa. IN PTR stub.example.
"""
UPSTREAM = "upstream.example. 60 IN A 198.51.100.8\n"
# Every command of swapbox sees the files of a host with systemd-resolved.
RESOLVED = """
mount --bind {0}/stub /etc/resolv.conf && mount -t tmpfs run /run && mkdir -p /run/systemd/resolve &&
echo 'nameserver {1}' >/run/systemd/resolve/resolv.conf && exec "$@"
"""


@pytest.fixture(scope="module")
def world(registry: str, busybox_ref: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with a web server and a client in one network, and a stranger in another."""
    try:
        image = publish.push(registry, "netkit", "latest", tools.network_image())
    except Unsupported as error:
        pytest.skip(f"{error}: {error.hint}")
    files = tmp_path_factory.mktemp("resolved")
    (files / "stub").write_text(f"nameserver {STUB}\noptions edns0 trust-ad\nsearch .\n")
    through = ("unshare", "-m", "sh", "-c", RESOLVED.format(files, OUTSIDE), "sh")
    with worlds.world(image, busybox_ref, through=through) as made:
        for program in ("iptables", "ip6tables"):
            made.host.ok(program, "-P", "FORWARD", "DROP")
        with name_server(made.host, STUB, ZONE), name_server(made.other, OUTSIDE, UPSTREAM):
            _populate(made)
            yield made


def _populate(world: World) -> None:
    ok = world.swapbox.ok
    ok("network", "create", "--subnet", "10.91.0.0/24", "--ipv6", "--subnet", "fd91::/64", "front")
    ok("network", "create", "back")
    place = f"name=front,alias=www,ip={WEB},ip6={WEB6}"
    ok("run", "-d", "--name", "web", "--network", place, "-p", "8080:80", "netkit", "nginx", "-g", "daemon off;")
    gateway = ("--add-host", "host.docker.internal:host-gateway")
    ok("run", "-d", "--name", "client", "--network", "front", *gateway, "netkit", "sleep", "1000")
    ok("run", "-d", "--name", "stranger", "--network", "back", "netkit", "sleep", "1000")
    wait_until(lambda: fetch(world.host, f"{INSIDE}:8080"), "nginx serves")


def fetch(place: Host, address: str) -> str:
    """Return what a host gets from a web server; empty when it gets nothing."""
    return place("curl", "-sS", "-m", "5", f"http://{address}").out


def inside(world: World, name: str, *command: str) -> Result:
    """Run a command in a container."""
    return world.swapbox("exec", name, *command)


def curl(world: World, name: str, *addresses: str, seconds: str = "5") -> list[str]:
    """Return what a container gets from each web server; what is no answer is empty."""
    script = f'for a; do curl -s -m {seconds} "http://$a" || echo; done'
    return world.swapbox.ok("exec", name, "sh", "-c", script, "sh", *addresses).split("\n")


def dig(world: World, name: str, *questions: str) -> list[str]:
    """Return what each question of a container gets: the code, flags that matter, and the data."""
    script = 'for q; do dig +time=5 +tries=2 $q | tr "\\n" "~"; echo; done'
    return [
        _answer(text) for text in inside(world, name, "sh", "-c", script, "sh", *questions).check().out.split("\n")
    ]


def _answer(text: str) -> str:
    lines = text.split("~")
    code = next((line.split("status: ")[1].split(",")[0] for line in lines if "status: " in line), "silence")
    section = text.partition("ANSWER SECTION:~")[2].partition("~~")[0]
    return " ".join([code, *sorted(line.split(maxsplit=4)[4] for line in section.split("~") if line)])


def test_nginx_is_reached_through_its_published_port_from_everywhere(world: World) -> None:
    name = world.swapbox.inspect("web")["Config"]["Hostname"]
    for place, address in (
        (world.other, f"{INSIDE}:8080"),
        (world.other, "[fd31:7::1]:8080"),
        (world.host, "127.0.0.1:8080"),
        (world.host, f"{INSIDE}:8080"),
        (world.host, f"{WEB}:80"),
        (world.host, f"[{WEB6}]:80"),
    ):
        assert fetch(place, address) == name, address
    # The server sees who asks; but a neighbour, and the server itself, by an address that leads the answer back.
    assert fetch(world.other, f"{INSIDE}:8080/peer") == OUTSIDE
    published = (f"{INSIDE}:8080", "[fd31:7::1]:8080")
    for container in ("client", "web", "stranger"):
        reachable = published if container != "stranger" else published[:1]  # it has no IPv6
        assert curl(world, container, *reachable) == [name] * len(reachable), container


def test_networks_are_apart_and_an_internal_one_leads_nowhere(world: World) -> None:
    name, ok = world.swapbox.inspect("web")["Config"]["Hostname"], world.swapbox.ok
    assert curl(world, "client", WEB, f"[{WEB6}]") == [name, name]
    assert curl(world, "stranger", WEB, "10.91.0.1:80", seconds="0.5") == ["", ""]
    ok("network", "create", "--internal", "--subnet", "10.92.0.0/24", "cellar")
    ok("run", "-d", "--name", "inner", "--network", "cellar", "netkit", "nginx", "-g", "daemon off;")
    ok("run", "-d", "--name", "guest", "--network", "cellar", "netkit", "sleep", "1000")
    hidden = ok("inspect", "-f", "{{.NetworkSettings.Networks.cellar.IPAddress}}", "inner")
    wait_until(lambda: curl(world, "guest", "inner")[0], "the internal server serves")
    assert dig(world, "guest", "inner", "stub.example") == [f"NOERROR {hidden}", "SERVFAIL"]
    assert curl(world, "guest", f"{INSIDE}:8080", OUTSIDE, WEB, seconds="0.5") == ["", "", ""]
    assert curl(world, "client", hidden, seconds="0.5") == [""]
    world.other.ip(f"route add 10.92.0.0/24 via {INSIDE}")
    assert world.other("curl", "-s", "-m", "0.5", f"http://{hidden}").out == ""
    ok("rm", "-f", "inner", "guest")


def test_dig_finds_neighbours_and_the_rest_of_the_world(world: World) -> None:
    own = world.swapbox.inspect("web")["Id"][:12]
    for called in ("web", "WWW", own, "web.front"):
        assert dig(world, "client", called, f"{called} AAAA", f"+tcp {called}") == [
            f"NOERROR {WEB}",
            f"NOERROR {WEB6}",
            f"NOERROR {WEB}",
        ]
    assert dig(world, "client", f"-x {WEB}", f"-x {WEB6}") == ["NOERROR web.front."] * 2
    assert dig(world, "client", "web MX", "@fd91::1 web", "nobody", "nobody.example AAAA") == [
        "NOERROR",
        f"NOERROR {WEB}",
        "NXDOMAIN",
        "NXDOMAIN",
    ]
    assert dig(world, "client", "stub.example", "+tcp stub.example AAAA", "-x 198.51.100.7") == [
        "NOERROR 198.51.100.7",
        "NOERROR 2001:db8::7",
        "NOERROR stub.example.",
    ]
    assert dig(world, "stranger", "web", "client.front") == ["NXDOMAIN"] * 2


def test_answers_that_are_too_long_for_a_datagram_come_as_a_whole(world: World) -> None:
    assert dig(world, "client", "+noedns large.example TXT") == [f"NOERROR {LARGE}"]
    cut = inside(world, "client", "dig", "+noedns", "+ignore", "large.example", "TXT").check().out
    assert "flags: qr aa tc" in cut


def test_a_stub_of_systemd_resolved_is_asked_by_the_hosts_side_and_elsewhere_replaced(world: World) -> None:
    conf = inside(world, "client", "cat", "/etc/resolv.conf").check().out
    assert conf.splitlines()[0] == "nameserver 10.91.0.1"
    assert "127.0.0.53" not in conf
    plain = ("run", "--rm", "--network", "bridge", "netkit", "sh", "-c")
    shown = world.swapbox.ok(*plain, "cat /etc/resolv.conf; dig +short upstream.example")
    assert shown.splitlines()[0] == f"nameserver {OUTSIDE}"
    assert shown.splitlines()[-1] == "198.51.100.8"
    asked = ("run", "--rm", "--network", "front", "--dns", OUTSIDE, "netkit", "dig", "+short", "upstream.example")
    assert world.swapbox.ok(*asked) == "198.51.100.8"
    assert world.swapbox.ok("run", "--rm", "--network", "host", "netkit", "dig", "+short", "stub.example") == (
        "198.51.100.7"
    )


def test_the_host_has_a_name_in_its_containers(world: World) -> None:
    with world.host.start("busybox", "httpd", "-f", "-p", "8085", "-h", "/etc") as server:
        wait_until(lambda: fetch(world.host, "127.0.0.1:8085/hostname"), "the host serves")
        served = Path("/etc/hostname").read_text().strip()
        assert curl(world, "client", "host.docker.internal:8085/hostname") == [served]
        server.kill()


def test_iperf3_fills_segments_of_the_networks_mtu_and_carries_datagrams_to_a_published_port(world: World) -> None:
    ok = world.swapbox.ok
    world.swapbox("rm", "-f", "sink")  # where the test is run once more
    world.swapbox("network", "rm", "narrow")
    ok("network", "create", "-o", "com.docker.network.driver.mtu=1400", "narrow")
    ports = ("-p", "5201:5201", "-p", "5201:5201/udp")
    ok("run", "-d", "--name", "sink", "--network", "narrow", *ports, "netkit", "iperf3", "-s")
    wait_until(lambda: f":{5201:04X} " in inside(world, "sink", "cat", "/proc/net/tcp6").out, "iperf3 listens")
    script = "iperf3 -c sink -n 8M -J; cat /sys/class/net/eth0/mtu"
    shown = ok("run", "--rm", "--network", "narrow", "netkit", "sh", "-c", script)
    text, _, mtu = shown.rpartition("\n")
    report = json.loads(text)
    assert mtu == "1400"
    assert report["start"]["tcp_mss_default"] == 1400 - 20 - 32
    assert report["end"]["sum_received"]["bytes"] >= 1 << 20  # what is under way at the end counts for none

    def sent() -> str:  # refused while the server still ends the test before
        outcome = world.other("iperf3", "-c", INSIDE, "-u", "-b", "10M", "-n", "100K", "-l", "1000", "-J")
        return outcome.out if outcome.code == 0 else ""

    report = json.loads(wait_until(sent, "the server takes another test"))
    assert report["end"]["sum"]["packets"] > 0
    assert report["end"]["sum"]["lost_packets"] < report["end"]["sum"]["packets"]
    ok("rm", "-f", "sink")
