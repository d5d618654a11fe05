"""Networks as a user sees them: swapbox lives on a host of its own, a network namespace; another is beside it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.testing import faults, worlds
from swapbox.testing.process import wait_until
from swapbox.testing.worlds import INSIDE, OUTSIDE, World

pytestmark = [pytest.mark.root, pytest.mark.debian]


@pytest.fixture(scope="module")
def _world(busybox_ref: str) -> Iterator[World]:
    with worlds.world(busybox_ref) as made:
        yield made


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """A world without containers; afterwards nothing of any may be left."""
    yield _world
    _world.swapbox.remove_containers()
    _world.assert_nothing_left()
    _world.swapbox.ok("network", "prune", "-f")


def test_a_container_reaches_the_world_by_the_hosts_address_and_leaves_nothing(world: World) -> None:
    script = f"ping -c 1 -w 5 {OUTSIDE} >/dev/null && grep $(hostname) /etc/hosts && ip route"
    shown = world.swapbox.ok("run", "--rm", "busybox", "sh", "-c", script).splitlines()
    assert shown[0].startswith("172.17.0.2\t")
    assert shown[1].startswith("default via 172.17.0.1 dev eth0")
    world.assert_nothing_left()


def test_a_published_port_is_reached_from_everywhere(world: World) -> None:
    name = world.server("web", "-p", "8080:80", "-p", "127.0.0.1:8082:80")
    world.swapbox.ok("run", "-d", "--name", "neighbour", "busybox", "sleep", "1000")
    world.swapbox.ok("network", "create", "far")
    world.swapbox.ok("run", "-d", "--name", "stranger", "--network", "far", "busybox", "sleep", "1000")
    assert world.fetch(world.other, f"{INSIDE}:8080") == name
    assert world.fetch(world.host, f"{INSIDE}:8080") == name
    assert world.fetch(world.host, "127.0.0.1:8080") == name
    assert world.fetch(world.host, "127.0.0.1:8082") == name
    assert world.inside("neighbour", INSIDE, 8080) == name
    assert world.inside("stranger", INSIDE, 8080) == name
    assert world.inside("web", INSIDE, 8080) == name
    assert world.fetch(world.other, f"{INSIDE}:8082") == ""
    assert world.inside("stranger", "172.17.0.2", 80, seconds=1) == ""
    assert world.swapbox.ok("port", "web", "80") == "0.0.0.0:8080\n127.0.0.1:8082"
    assert "0.0.0.0:8080->80/tcp, 127.0.0.1:8082->80/tcp" in world.swapbox.ok("ps")
    world.swapbox.ok("stop", "-t", "0", "web")
    assert world.fetch(world.host, "127.0.0.1:8080") == ""
    assert world.swapbox.ok("port", "web") == ""


def test_a_port_that_is_taken_is_refused_before_the_start(world: World) -> None:
    world.swapbox.ok("run", "-d", "--name", "first", "-p", "8090:80", "busybox", "sleep", "1000")
    refused = world.swapbox("run", "--name", "second", "-p", "8090:81", "busybox", "true")
    refused.fails(125, "Bind for 0.0.0.0:8090 failed: port is already allocated")
    with world.host.start("busybox", "nc", "-l", "-p", "8091") as listener:
        wait_until(lambda: ":8091" in world.host.ok("ss", "-ltn"), "a program listens")
        refused = world.swapbox("run", "--name", "third", "-p", "8091:80", "busybox", "true")
        refused.fails(125, "0.0.0.0:8091", "address already in use")
        listener.kill()
    assert world.swapbox.ok("run", "--rm", "-P", "--expose", "80", "busybox", "echo", "free") == "free"


def test_networks_are_joined_and_left_while_a_container_runs(world: World) -> None:
    world.swapbox.ok("network", "create", "--subnet", "10.99.0.0/24", "--ip-range", "10.99.0.128/25", "front")
    world.swapbox.ok("network", "create", "--internal", "back")
    world.server("web", "--network", "name=front,ip=10.99.0.7,mac-address=02:42:00:00:00:07")
    world.swapbox.ok("run", "-d", "--name", "client", "--network", "back", "busybox", "sleep", "1000")
    assert "10.99.0.7" in world.swapbox.ok("exec", "web", "ip", "addr", "show", "eth0")
    assert world.inside("client", "10.99.0.7", 80, seconds=1) == ""
    world.swapbox.ok("network", "connect", "front", "client")
    assert "10.99.0.128" in world.swapbox.ok("exec", "client", "cat", "/etc/hosts")
    assert world.inside("client", "10.99.0.7", 80) != ""
    world.swapbox("network", "connect", "front", "client").fails(1, "already exists in network front")
    world.swapbox("network", "rm", "front").fails(1, "network front has active endpoints")
    world.swapbox.ok("network", "disconnect", "front", "client")
    assert world.inside("client", "10.99.0.7", 80, seconds=1) == ""
    assert "10.99.0.128" not in world.swapbox.ok("exec", "client", "cat", "/etc/hosts")
    assert [one["Name"] for one in world.members("front")] == ["web"]
    world.swapbox.remove_containers()
    assert world.swapbox.ok("network", "prune", "-f").split()[2:] == ["back", "front"]


def test_the_way_out_is_always_there_and_the_ports_and_names_with_it(world: World) -> None:
    for name, number in (("side", 8), ("main", 9)):
        world.swapbox.ok("network", "create", "--subnet", f"10.94.{number}.0/24", name)
    name = world.server("web", "--network", "side", "-p", "8105:80", "-p", "81")
    published = world.swapbox.ok("port", "web")
    for verb, network, gateway, servers in (
        ("connect", "main", "10.94.9.1", "10.94.8.1 10.94.9.1"),
        ("disconnect", "side", "10.94.9.1", "10.94.9.1"),
        ("connect", "bridge", "172.17.0.1", "10.94.9.1"),
        ("disconnect", "bridge", "10.94.9.1", "10.94.9.1"),
    ):
        world.swapbox.ok("network", verb, network, "web")
        assert world.swapbox.ok("exec", "web", "ip", "route", "list", "default").split()[2] == gateway
        conf = world.swapbox.ok("exec", "web", "cat", "/etc/resolv.conf").splitlines()
        assert " ".join(line.split()[1] for line in conf if line.startswith("nameserver")) == servers
        assert world.fetch(world.other, f"{INSIDE}:8105") == name
        assert world.swapbox.ok("port", "web") == published
    world.swapbox.ok("network", "disconnect", "main", "web")
    assert world.swapbox.ok("port", "web") == ""


def test_an_exhausted_network_says_so_and_gives_addresses_back(world: World) -> None:
    world.swapbox.ok("network", "create", "--subnet", "10.98.0.0/30", "tiny")
    world.swapbox.ok("run", "-d", "--name", "only", "--network", "tiny", "busybox", "sleep", "1000")
    refused = world.swapbox("run", "--rm", "--network", "tiny", "busybox", "true")
    refused.fails(125, "no available IPv4 addresses on this network's address pools: tiny")
    world.swapbox.ok("rm", "-f", "only")
    world.swapbox.ok("run", "--rm", "--network", "tiny", "busybox", "true")


def test_pools_are_the_users_leave_out_the_hosts_routes_and_end(world: World) -> None:
    world.host.ip("route add blackhole 10.93.0.0/24")
    config = world.swapbox.directory / "pools.toml"
    config.write_text('[networks]\npools = [{base = "10.93.0.0/23", size = 24}]\n')
    create = ("--config", str(config), "network", "create")
    world.swapbox.ok(*create, "pooled")
    (document,) = json.loads(world.swapbox.ok("network", "inspect", "pooled"))
    assert document["IPAM"]["Config"][0]["Subnet"] == "10.93.1.0/24"
    world.swapbox(*create, "more").fails(1, "all predefined address pools have been fully subnetted")
    world.host.ip("route del blackhole 10.93.0.0/24")
    world.swapbox.ok(*create, "more")


def test_an_address_is_free_again_when_a_container_and_its_monitor_were_killed(world: World) -> None:
    world.swapbox.ok("network", "create", "--subnet", "10.92.0.0/30", "single")
    world.swapbox.ok(
        "run", "-d", "--name", "dead", "--network", "single", "-p", "8106:80", "busybox", "sleep", "1000"
    )
    pids = (faults.monitor_pid(world.swapbox, "dead"), world.swapbox.state("dead")["Pid"])
    world.host.ok("kill", "-9", *map(str, pids))
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "both are gone")
    world.swapbox.ok("run", "--rm", "--network", "single", "-p", "8106:80", "busybox", "true")


def test_one_container_has_the_network_of_another(world: World) -> None:
    name = world.server("web")
    script = "hostname; ip addr show eth0 | grep -o '172.17.0.[0-9]*/'"
    shown = world.swapbox.ok("run", "--rm", "--network", "container:web", "busybox", "sh", "-c", script)
    assert shown.split() == [name, "172.17.0.2/"]
    world.swapbox("run", "--network", "container:web", "-p", "80", "busybox", "true").fails(
        125, "conflicting options"
    )


_KILLED = """
import os, signal, sys
from swapbox.cli import main
from swapbox_network_bridge.netlink import Netlink

original = Netlink.make_pair

def deadly(*args, **options):
    original(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

Netlink.make_pair = deadly
main(sys.argv[1:])
"""


def test_a_command_that_is_killed_while_it_connects_can_be_undone(world: World) -> None:
    world.swapbox.ok("network", "create", "late")
    world.swapbox.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    options = world.plain.prefix[1:]
    command = [
        *world.host.enter,
        sys.executable,
        "-P",
        "-c",
        _KILLED,
        *options,
        "network",
        "connect",
        "late",
        "web",
    ]
    assert subprocess.run(command, env=world.swapbox.environment, timeout=60).returncode == -signal.SIGKILL
    assert len(world.left()) == 2
    world.swapbox.ok("network", "disconnect", "late", "web")
    assert len(world.left()) == 1
    world.swapbox.ok("network", "connect", "late", "web")


@pytest.mark.parametrize("what", ["before", "after"])
def test_a_monitor_that_is_killed_while_it_connects_leaves_nothing(world: World, what: str) -> None:
    plain = world.plain
    command = faults.patched(
        plain, "launch:_connect", what, "run", "--name", "victim", "-p", "8100:80", "busybox", "true"
    )
    done = subprocess.run([*world.host.enter, *command], env=plain.environment, capture_output=True, timeout=60)
    assert done.returncode == 125
    assert world.swapbox.state("victim")["Status"] == "created"
    world.assert_nothing_left()
    assert world.swapbox.ok("run", "--rm", "-p", "8100:80", "busybox", "echo", "free") == "free"


def test_a_container_whose_monitor_is_killed_is_freed_at_its_end(world: World) -> None:
    world.server("web", "-p", "8101:80")
    world.host.ok("kill", "-9", str(faults.monitor_pid(world.swapbox, "web")))
    assert world.fetch(world.other, f"{INSIDE}:8101") != ""
    world.swapbox.ok("kill", "web")
    wait_until(lambda: world.swapbox.state("web")["Status"] == "exited", "web has ended")
    world.assert_nothing_left()


def test_a_command_sees_what_its_container_is_linked_to(world: World) -> None:
    ok = world.swapbox.ok
    ok("run", "-d", "--name", "db", "--expose", "80", "-e", "COLOUR=blue", "busybox", "sleep", "1000")
    ok("run", "-d", "--name", "web", "--link", "db:d", "busybox", "sleep", "1000")
    shown = ok("exec", "web", "env").splitlines()
    assert {"D_NAME=/web/d", "D_ENV_COLOUR=blue", "D_PORT_80_TCP_PORT=80"} <= set(shown)
    ok("rm", "-f", "db")
    for command in (("exec", "web", "true"), ("restart", "-t", "0", "web")):
        done = world.swapbox(*command)
        assert done.code == 1
        assert "cannot link to a non running container: /db AS /web/d" in done.err


def test_rules_and_bridges_that_somebody_took_away_are_made_again(world: World) -> None:
    world.swapbox.ok("run", "--rm", "busybox", "true")
    world.host.ok("nft", "flush", "ruleset")
    name = world.server("web", "-p", "8102:80")
    assert world.fetch(world.other, f"{INSIDE}:8102") == name
    world.swapbox.ok("rm", "-f", "web")
    for bridge in [link for link in world.host.links() if link.startswith("br-")]:
        world.host.ip(f"link del {bridge}")
    world.swapbox.ok("run", "--rm", "busybox", "ping", "-c", "1", "-w", "5", OUTSIDE)


def test_containers_find_each_other_by_name_and_the_name_server_ends_with_the_network(world: World) -> None:
    world.swapbox.ok("network", "create", "talk")
    world.swapbox.ok("network", "create", "other")
    name = world.server("web", "--network", "name=talk,alias=www", "-p", "8104:80")
    world.swapbox.ok("run", "-d", "--name", "client", "--network", "other", "busybox", "sleep", "1000")
    assert world.inside("client", "web", 80) == ""
    world.swapbox.ok("network", "connect", "talk", "client")
    for called in ("web", "www", name, "web.talk"):
        assert "172." in world.swapbox.ok("exec", "client", "nslookup", called)
    world.swapbox.ok("network", "connect", "bridge", "web")
    world.swapbox.ok("network", "disconnect", "bridge", "web")
    assert world.fetch(world.other, f"{INSIDE}:8104") == name
    world.swapbox.ok("rename", "web", "site")
    assert world.swapbox("exec", "client", "nslookup", "site").code == 0
    assert len(world.resolvers()) == 2
    world.swapbox.remove_containers()
    world.swapbox.ok("network", "rm", "talk", "other")
    assert world.resolvers() == []


def test_docker_words_for_what_cannot_be(world: World) -> None:
    swapbox = world.swapbox
    swapbox.ok("network", "create", "--subnet", "10.97.0.0/24", "taken")
    swapbox("network", "create", "taken").fails(1, "network with name taken already exists")
    swapbox("network", "create", "--subnet", "10.97.0.0/16", "other").fails(1, "Pool overlaps with other one")
    named = ("network", "create", "-o", "com.docker.network.bridge.name=one0")
    swapbox.ok(*named, "one")
    swapbox(*named, "two").fails(1, "conflicts with network", "(one0): networks have same bridge name")
    swapbox.ok("network", "rm", "one")
    swapbox.ok("create", "--name", "idle", "busybox", "true")
    for verb in ("connect", "disconnect"):
        swapbox("network", verb, "nosuch", "idle").fails(1, "network nosuch not found")
    swapbox("network", "inspect", "nosuch").fails(1, "network nosuch not found")
    swapbox("network", "create", "bridge").fails(1, "operation is not permitted on predefined bridge network")
    swapbox("network", "rm", "bridge", "nosuch").fails(1, "bridge is a pre-defined network", "nosuch not found")
    swapbox("run", "--network", "nosuch", "busybox", "true").fails(125, "network nosuch not found")
    swapbox("run", "--ip", "172.17.0.9", "busybox", "true").fails(125, "user defined networks only")
    swapbox("run", "--network", "taken", "--ip", "10.96.0.2", "busybox", "true").fails(125, "10.96.0.2")
    assert [line.split()[1] for line in swapbox.ok("network", "ls").splitlines()[1:]] == [
        *("bridge", "host", "none", "taken")
    ]


def test_ipv6_leads_in_and_between(world: World) -> None:
    world.swapbox.ok("network", "create", "--ipv6", "--subnet", "fd42::/64", "wide")
    name = world.server("web", "--network", "wide", "-p", "8103:80")
    assert world.fetch(world.other, "[fd31:7::1]:8103") == name
    assert world.swapbox.ok("port", "web") == "80/tcp -> 0.0.0.0:8103\n80/tcp -> [::]:8103"
    ping = ("ping6", "-c", "1", "-w", "5", "fd42::2")
    world.swapbox.ok("run", "--rm", "--network", "wide", "busybox", *ping)


def test_a_container_whose_network_was_removed_does_not_start_without_one(world: World) -> None:
    world.swapbox.ok("network", "create", "gone")
    world.swapbox.ok("create", "--name", "lost", "--network", "name=gone,alias=x", "busybox", "true")
    world.swapbox.ok("network", "rm", "gone")
    world.swapbox("start", "lost").fails(1, "network gone not found")
    world.swapbox.ok("network", "create", "other")
    world.swapbox.ok("network", "connect", "other", "lost")
    world.swapbox("start", "lost").fails(1, "network gone not found")
    world.swapbox.ok("network", "create", "gone")
    world.swapbox.ok("start", "-a", "lost")
    assert world.swapbox.inspect("lost")["NetworkSettings"]["Networks"]["gone"]["Aliases"] == ["x"]


def test_a_container_that_has_left_a_network_does_not_miss_it(world: World) -> None:
    world.swapbox.ok("network", "create", "old")
    world.swapbox.ok("network", "create", "new")
    world.swapbox.ok("create", "--name", "moved", "--network", "old", "busybox", "true")
    world.swapbox.ok("network", "connect", "new", "moved")
    world.swapbox.ok("network", "disconnect", "old", "moved")
    world.swapbox.ok("network", "rm", "old")
    world.swapbox.ok("start", "-a", "moved")
