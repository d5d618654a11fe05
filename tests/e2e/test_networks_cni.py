"""Networks of CNI configuration lists, made by Debian's plugins, on a host of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from swapbox.testing import faults
from swapbox.testing.hosts import Host, host, join
from swapbox.testing.process import Engine, Result, wait_until
from swapbox.testing.sandbox import Sandbox, sandbox

BIN_DIR = Path("/usr/lib/cni")
pytestmark = [
    pytest.mark.root,
    pytest.mark.debian,
    pytest.mark.skipif(not BIN_DIR.is_dir(), reason="needs the package containernetworking-plugins"),
]

KILLER = """#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) sed 's/.*"prevResult": //; s/}$//'; ! [ -e ARMED ] || { rm ARMED; kill -9 $PPID; } ;;
esac
"""
"""A plugin that kills who calls it, once: a monitor in the middle of a chain."""

STICKY = """#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) sed 's/.*"prevResult": //; s/}$//' ;;
DEL) ! [ -e STUCK ] || { echo stuck >&2; exit 1; } ;;
esac
"""
"""A plugin that cannot undo anything as long as a file is there."""


class World(NamedTuple):
    """A host with swapbox, another host, swapbox itself, and the directory of lists, leases and plugins."""

    host: Host
    other: Host
    swapbox: Sandbox
    directory: Path

    def leases(self) -> list[str]:
        """Return the addresses that host-local has given away."""
        return sorted(path.name for path in self.directory.glob("leases/*/[0-9]*"))

    def left(self) -> list[str]:
        """Return what there is of containers: links, chains, leases, attachments."""
        chains = self.host.ok("iptables-save").splitlines() + self.host.ok("ip6tables-save").splitlines()
        found = [line for line in chains if line.startswith(":CNI-") and not line.split()[0][5:].isupper()]
        found += [line for line in chains if line.startswith(":CNI-DN-")]
        found += [name for name in self.host.links() if name.startswith("veth")]
        return found + self.leases() + sorted(map(str, self.swapbox.root.glob("network/cni/attachments/*")))

    def assert_nothing_left(self) -> None:
        """Wait until nothing of any container is left."""
        wait_until(lambda: self.left() == [], f"nothing is left: {self.left()}")

    def make_list(self, name: str, *plugins: dict[str, Any]) -> None:
        """Write a list into the directory in which they are found."""
        document = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
        (self.directory / "net.d" / f"{name}.conflist").write_text(json.dumps(document))

    def ipam(self, subnet: str) -> dict[str, Any]:
        """Return the configuration of host-local."""
        leases, route = str(self.directory / "leases"), {"dst": "0.0.0.0/0"}
        return {"type": "host-local", "dataDir": leases, "ranges": [[{"subnet": subnet}]], "routes": [route]}

    def bridge(self, subnet: str, number: int) -> dict[str, Any]:
        """Return the configuration of a bridge with addresses of host-local."""
        own = {"type": "bridge", "bridge": f"pods{number}", "isGateway": True, "ipMasq": True}
        return {**own, "capabilities": {"ips": True}, "ipam": self.ipam(subnet)}

    def place(self, name: str, network: str) -> dict[str, Any]:
        """Return what ``inspect`` says of a container's place in a network."""
        found: dict[str, Any] = self.swapbox.inspect(name)["NetworkSettings"]["Networks"][network]
        return found


@pytest.fixture(scope="module")
def _world(busybox_ref: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("cni")
    for name in ("net.d", "bin"):
        (directory / name).mkdir()
    (directory / "config.toml").write_text(
        f'[options.network.cni]\nconf-dir = "{directory}/net.d"\nbin-dir = "{directory}/bin:{BIN_DIR}"\n'
    )
    with host() as own, host() as other, sandbox(network="none", enter=own.enter) as swapbox:
        join(own, other)
        outside = Engine(*swapbox.prefix[len(own.enter) :], environment=swapbox.environment)
        outside.ok("pull", busybox_ref)
        outside.ok("tag", busybox_ref, "busybox")
        swapbox.environment["SWAPBOX_CONFIG"] = str(directory / "config.toml")
        yield World(own, other, swapbox, directory)


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """A world without networks; afterwards nothing of any container may be left, and no bridge."""
    before = _world.host.links()
    yield _world
    _world.swapbox.remove_containers()
    try:
        _world.assert_nothing_left()
    finally:
        _world.swapbox.ok("network", "prune", "-f")
    assert _world.host.links() == before


def test_a_container_has_the_address_that_plugins_choose_and_leaves_nothing(world: World) -> None:
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    world.make_list("pods", world.bridge("10.22.0.0/24", 0), portmap, {"type": "firewall"})
    world.swapbox.ok("network", "create", "-d", "cni", "pods")
    web = ("busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    identity = world.swapbox.ok("run", "-d", "--name", "web", "--network", "pods", "-p", "8080:80", *web)
    place = world.place("web", "pods")
    assert (place["IPAddress"], place["IPPrefixLen"], place["Gateway"]) == ("10.22.0.2", 24, "10.22.0.1")
    assert world.leases() == ["10.22.0.2"]
    (network,) = json.loads(world.swapbox.ok("network", "inspect", "pods"))
    assert network["Containers"][identity]["IPv4Address"] == "10.22.0.2/24"
    assert f"10.22.0.2\t{identity[:12]}" in world.swapbox.ok("exec", "web", "cat", "/etc/hosts")
    assert world.swapbox.ok("port", "web") == "80/tcp -> 0.0.0.0:8080"
    fetch = ("curl", "-sS", "--retry", "5", "--retry-connrefused", "-m", "5", "http://10.231.7.1:8080/hostname")
    assert world.other.ok(*fetch).strip() == identity[:12]
    ping = ("sh", "-c", "ping -c 1 -W 5 web && nslookup web && cat /etc/resolv.conf")
    names = world.swapbox.ok("run", "--rm", "--network", "pods", "busybox", *ping)
    assert "PING web (10.22.0.2)" in names
    assert "nameserver 10.22.0.1" in names
    assert "network pods has active endpoints" in world.swapbox("network", "rm", "pods").err
    world.swapbox.ok("rm", "-f", "web")
    world.assert_nothing_left()


def test_check_says_what_somebody_has_changed(world: World) -> None:
    world.make_list("checked", world.bridge("10.27.0.0/24", 6), {"type": "firewall"})
    world.swapbox.ok("network", "create", "-d", "cni", "checked")
    world.swapbox.ok("run", "-d", "--name", "odd", "--network", "checked", "busybox", "sleep", "100")
    assert world.swapbox("network", "inspect", "--verbose", "checked").check().err == ""
    pid = str(world.swapbox.state("odd")["Pid"])
    world.host.ok("nsenter", "-t", pid, "-n", "ip", "addr", "flush", "dev", "eth0")
    done = world.swapbox("network", "inspect", "--verbose", "checked")
    assert done.code == 1
    assert "container odd: CNI plugin bridge of network checked: CHECK failed: " in done.err


def test_networks_are_joined_and_left_with_an_address_of_ones_own(world: World) -> None:
    world.make_list("one", world.bridge("10.23.0.0/24", 1))
    (world.directory / "two.conflist").write_text(
        json.dumps({"cniVersion": "0.4.0", "name": "two", "plugins": [world.bridge("10.24.0.0/24", 2)]})
    )
    world.swapbox.ok("network", "create", "-d", "cni", "one")
    option = f"conflist={world.directory}/two.conflist"
    world.swapbox.ok("network", "create", "-d", "cni", "--opt", option, "second")
    world.swapbox.ok("run", "-d", "--name", "box", "--network", "one", "busybox", "sleep", "100")
    world.swapbox.ok("network", "connect", "--ip", "10.24.0.9", "second", "box")
    assert world.place("box", "second")["IPAddress"] == "10.24.0.9"
    routes = world.swapbox.ok("exec", "box", "cat", "/proc/net/route").splitlines()
    assert [line.split()[0] for line in routes if line.split()[1] == "00000000"] == ["eth0"]
    refused = world.swapbox("run", "--network", "second", "--ip", "10.24.0.9", "busybox", "true")
    assert (refused.code, "10.24.0.9" in refused.err) == (125, True)
    assert world.leases() == ["10.23.0.2", "10.24.0.9"]
    world.swapbox.ok("network", "disconnect", "second", "box")
    assert world.leases() == ["10.23.0.2"]


@pytest.mark.parametrize("leading", ["mid", "aaa"])
def test_the_way_out_ends_with_a_network_only_if_no_other_can_get_it(world: World, leading: str) -> None:
    swapbox, portmap = world.swapbox, {"type": "portmap", "capabilities": {"portMappings": True}}
    world.make_list("mid", world.bridge("10.33.0.0/24", 8), portmap)
    swapbox.ok("network", "create", "-d", "cni", "mid")
    swapbox.ok("network", "create", "-d", "bridge", "aaa")
    web = ("-d", "--name", "web", "-p", "8090:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    identity = swapbox.ok("run", "--network", leading, *web)
    other = "aaa" if leading == "mid" else "mid"
    swapbox.ok("network", "connect", other, "web")
    done = swapbox("network", "disconnect", leading, "web").check()
    if leading == "aaa":
        assert "has no way out and publishes no ports until it is started again: network mid cannot" in done.err
        assert swapbox.ok("port", "web") == ""
        swapbox.ok("restart", "-t", "0", "web")
    assert swapbox.ok("port", "web") == "80/tcp -> 0.0.0.0:8090"
    fetch = ("curl", "-sS", "--retry", "5", "--retry-connrefused", "-m", "5", "http://10.231.7.1:8090/hostname")
    assert world.other.ok(*fetch).strip() == identity[:12]


@pytest.mark.parametrize("cleanup", [("start", "-a", "victim"), ("system", "prune", "-f")])
def test_what_is_killed_between_two_plugins_is_undone(world: World, cleanup: tuple[str, ...]) -> None:
    killer, armed = world.directory / "bin/killer", world.directory / "armed"
    killer.write_text(KILLER.replace("ARMED", str(armed)))
    killer.chmod(0o755)
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    world.make_list("deadly", world.bridge("10.25.0.0/24", 3), portmap, {"type": "killer"})
    world.swapbox.ok("network", "create", "-d", "cni", "deadly")
    armed.touch()
    options = ("--name", "victim", "--network", "deadly", "-p", "8081:80")
    assert world.swapbox("run", *options, "busybox", "true").code != 0
    assert world.swapbox.state("victim")["Running"] is False
    world.swapbox.ok(*cleanup)
    world.assert_nothing_left()


def test_containers_that_start_at_once_get_addresses_of_their_own(world: World) -> None:
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    world.make_list("crowd", world.bridge("10.31.0.0/24", 7), portmap, {"type": "firewall"})
    world.swapbox.ok("network", "create", "-d", "cni", "crowd")
    command = world.swapbox.argv("run", "--rm", "--network", "crowd", "-P", "--expose", "80", "busybox")
    script = "cat /etc/hosts; sleep 1"
    started = [
        subprocess.Popen([*command, "sh", "-c", script], env=world.swapbox.environment, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    said = [one.communicate(timeout=60)[0].decode() for one in started]
    addresses = {line.split()[0] for text in said for line in text.splitlines() if line.startswith("10.31.0.")}
    assert ([one.returncode for one in started], len(addresses)) == ([0] * 6, 6)


def test_a_container_is_connected_by_ptp_and_by_macvlan(world: World) -> None:
    (cable,) = (name for name in world.host.links() if name.startswith("cable"))
    two = {**world.ipam("10.26.0.0/24"), "ranges": [[{"subnet": f"10.26.{one}.0/24"}] for one in (0, 1)]}
    world.make_list("wire", {"type": "ptp", "ipMasq": True, "ipam": two})
    world.make_list("lan", {"type": "macvlan", "master": cable, "ipam": world.ipam("10.231.7.128/25")})
    script = "route -n | grep -q eth0 && ping -c 1 -W 5 10.231.7.2"
    for name in ("wire", "lan"):
        world.swapbox.ok("network", "create", "-d", "cni", name)
    assert "1 packets received" in world.swapbox.ok(
        "run", "--rm", "--network", "wire", "busybox", "sh", "-c", script
    )
    world.other.ip("addr add 10.231.7.129/25 dev lo")
    shown = world.swapbox.ok("run", "--rm", "--network", "lan", "busybox", "cat", "/proc/net/route", "/etc/hosts")
    assert "10.231.7.130\t" in shown


def test_the_network_of_the_drivers_own_name_is_the_first_list(world: World) -> None:
    world.make_list("0-first", {"type": "ptp", "ipam": world.ipam("10.28.0.0/24")})
    assert "cni" not in world.swapbox.ok("network", "ls", "--format", "{{.Name}}").split()
    done = world.swapbox("run", "--rm", "--network-driver", "cni", "busybox", "cat", "/etc/hosts")
    assert "10.28.0.2\t" in done.out


def test_who_removes_a_container_hears_what_cannot_be_undone_and_later_it_is_undone(world: World) -> None:
    sticky, stuck = world.directory / "bin/sticky", world.directory / "stuck"
    sticky.write_text(STICKY.replace("STUCK", str(stuck)))
    sticky.chmod(0o755)
    stuck.touch()
    world.make_list("glue", world.bridge("10.34.0.0/24", 10), {"type": "sticky"})
    world.swapbox.ok("network", "create", "-d", "cni", "glue")
    world.swapbox.ok("run", "-d", "--name", "glued", "--network", "glue", "busybox", "sleep", "100")
    done = world.swapbox("rm", "-f", "glued").check()
    assert "cannot free network: CNI plugin sticky of network glue: DEL failed: stuck" in done.err
    stuck.unlink()
    assert world.swapbox("system", "prune", "-f").check().err == ""


def test_of_two_networks_on_one_list_the_second_keeps_to_name_servers_that_answer(world: World) -> None:
    bridge = {**world.bridge("10.32.0.0/24", 8), "dns": {"nameservers": ["10.231.7.2"]}}
    world.make_list("shared", bridge)
    for name in ("shared", "late"):
        world.swapbox.ok("network", "create", "-d", "cni", "--opt", "conflist=shared", name)
    world.swapbox.ok("run", "-d", "--name", "early", "--network", "shared", "busybox", "sleep", "100")
    assert "nameserver 10.32.0.1\n" in world.swapbox.ok("exec", "early", "cat", "/etc/resolv.conf")
    done = world.swapbox("run", "--rm", "--network", "late", "busybox", "cat", "/etc/resolv.conf").check()
    assert ("10.32.0.1" in done.out, "nameserver 10.231.7.2\n" in done.out) == (False, True)


def test_the_address_of_a_dead_container_is_no_conflict(world: World) -> None:
    world.make_list("lost", world.bridge("10.33.0.0/24", 9))
    world.swapbox.ok("network", "create", "-d", "cni", "lost")
    world.swapbox.ok("run", "-d", "--name", "dead", "--network", "lost", "busybox", "sleep", "100")
    pids = (faults.monitor_pid(world.swapbox, "dead"), world.swapbox.state("dead")["Pid"])
    world.host.ok("kill", "-9", *map(str, pids))
    shutil.rmtree(world.directory / "leases")
    shown = world.swapbox.ok("run", "--rm", "--network", "lost", "busybox", "cat", "/etc/hosts")
    assert "10.33.0.2\t" in shown


MISTAKES = {
    "unknown": ("", "no CNI configuration list unknown in"),
    "absent": ('{"cniVersion": "1.0.0", "name": "absent", "type": "nobody"}', "CNI plugin nobody not found in"),
    "old": (
        '{"cniVersion": "0.2.0", "name": "old", "type": "bridge"}',
        "version 0.2.0 of the CNI is not supported",
    ),
    "broken": ("{", "no JSON"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_is_said_when_a_network_is_made(world: World, name: str) -> None:
    text, expected = MISTAKES[name]
    path = world.directory / "net.d" / f"{name}.conf"
    path.write_text(text)
    done: Result = world.swapbox("network", "create", "-d", "cni", name)
    path.unlink()
    assert (done.code, expected in done.err) == (1, True), done.err


def test_ports_need_a_plugin_that_can_publish_them(world: World) -> None:
    world.make_list("closed", world.bridge("10.29.0.0/24", 5))
    world.swapbox.ok("network", "create", "-d", "cni", "closed")
    done = world.swapbox("run", "--network", "closed", "-p", "8082:80", "busybox", "true")
    assert "network closed publishes no ports: no plugin has the capability portMappings" in done.err
    assert '"type": "portmap"' in done.err
    done = world.swapbox("network", "create", "-d", "cni", "--subnet", "10.30.0.0/24", "more")
    assert "network driver cni chooses addresses itself" in done.err
