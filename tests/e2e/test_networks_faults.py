"""What goes wrong with networks leaves nothing: everything they are made of is counted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.testing import faults, worlds
from swapbox.testing.process import Result, cgroups, processes_naming, wait_until
from swapbox.testing.sandbox import CGROUP_PARENT
from swapbox.testing.worlds import INSIDE, World

pytestmark = [pytest.mark.root, pytest.mark.debian]

CROWD = 100
FOREVER = ("busybox", "sleep", "1000")
NOTHING = {
    **dict.fromkeys(("bridges", "links", "tables of networks", "tables of ports"), 0),
    **dict.fromkeys(("namespaces", "name servers", "leases", "places", "ports"), 0),
}


@pytest.fixture(scope="module")
def _world(busybox_ref: str) -> Iterator[World]:
    with worlds.world(busybox_ref) as made:
        made.swapbox.ok("run", "--rm", "busybox", "true")
        yield made


@pytest.fixture
def world(_world: World) -> Iterator[World]:
    """A world in which there is nothing but the default bridge, before and after."""
    yield _world
    _world.swapbox.remove_containers()
    _world.swapbox.ok("network", "prune", "-f")
    expect(_world, bridges=1, tables_of_networks=1)


def expect(world: World, **counts: int) -> None:
    """Wait until there is this much, and nothing else."""
    expected = NOTHING | {name.replace("_", " "): number for name, number in counts.items()}
    try:
        wait_until(lambda: world.counts() == expected, "everything is counted", timeout=60)
    except AssertionError:
        assert world.counts() == expected


def test_a_hundred_containers_start_at_once_and_leave_nothing(world: World) -> None:
    world.swapbox.ok("network", "create", "crowd")
    commands = [world.swapbox.start("run", "-d", "--network", "crowd", *FOREVER) for _ in range(CROWD)]
    outcomes = [(command.communicate(), command.returncode) for command in commands]
    assert [outcome for outcome in outcomes if outcome[1]] == []
    expect(
        world,
        **dict.fromkeys(("links", "namespaces", "leases", "places"), CROWD),
        **dict.fromkeys(("bridges", "tables_of_networks"), 2),
        name_servers=1,
    )
    members = world.members("crowd")
    assert len({one["IPv4Address"] for one in members}) == CROWD
    for member in members[:5]:
        world.host.ok("kill", "-9", str(faults.monitor_pid(world.swapbox, member["Name"])))
    world.swapbox.remove_containers()
    expect(world, **dict.fromkeys(("bridges", "tables_of_networks"), 2), name_servers=1)
    world.swapbox.ok("network", "rm", "crowd")


_DEADLY = """
import os, signal, sys
from swapbox.cli import main
from swapbox_network_bridge.netlink import Netlink

original, when, victim = Netlink.make_pair, sys.argv[1], os.environ.get("VICTIM")

def deadly(*args, **options):
    if when == "after":
        original(*args, **options)
    own = f"/proc/self/task/{os.getpid()}/children"
    for pid in [victim] if victim else open(own).read().split():
        os.kill(int(pid), signal.SIGKILL)
    if when == "before":
        original(*args, **options)

Netlink.make_pair = deadly
main(sys.argv[2:])
"""


def deadly(world: World, when: str, *arguments: str, victim: str = "") -> Result:
    """Run a swapbox that kills a process, or its own children, before or after it makes a link."""
    command = [*world.host.enter, sys.executable, "-P", "-c", _DEADLY, when, *world.plain.argv(*arguments)[1:]]
    done = subprocess.run(
        command, capture_output=True, timeout=60, env={**world.swapbox.environment, "VICTIM": victim}
    )
    return Result(tuple(command), done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_container_that_is_killed_while_it_is_connected_leaves_nothing(world: World, when: str) -> None:
    swapbox = world.swapbox
    swapbox.ok("network", "create", "late")
    deadly(world, when, "run", "-p", "8120:80", "--network", "late", *FOREVER).fails(125)
    swapbox.ok("container", "prune", "-f")
    swapbox.ok("run", "-d", "--name", "web", "-p", "8120:80", *FOREVER)
    init = str(swapbox.state("web")["Pid"])
    outcome = deadly(world, when, "network", "connect", "late", "web", victim=init)
    assert "Traceback" not in outcome.err
    swapbox.wait_exited("web")
    expect(world, bridges=2, tables_of_networks=2, places=2 if outcome.code == 0 else 1)


def test_rules_that_are_flushed_under_a_running_container_come_back_with_its_restart(world: World) -> None:
    name = world.server("web", "-p", "8121:80")
    world.host.ok("nft", "flush", "ruleset")
    world.swapbox.ok("run", "--rm", "busybox", "true")  # any start repairs the network
    expect(world, bridges=1, tables_of_networks=1, links=1, namespaces=1, leases=1, places=1, ports=1)
    world.swapbox.ok("restart", "-t", "0", "web")
    wait_until(lambda: world.fetch(world.other, f"{INSIDE}:8121") == name, "the port is published again")
    world.host.ok("nft", "flush", "ruleset")
    world.swapbox.ok("rm", "-f", "web")
    expect(world, bridges=1)
    world.swapbox.ok("run", "--rm", "busybox", "true")


def test_a_root_directory_of_the_same_path_elsewhere_is_another_one(busybox_ref: str, tmp_path: Path) -> None:
    with worlds.world(busybox_ref) as world:

        def other(*arguments: str, enter: tuple[str, ...] = ()) -> None:
            hide = ("unshare", "-m", "sh", "-c", f'mount --bind {tmp_path} {world.swapbox.directory} && exec "$@"')
            command = [*enter, *hide, "-", *world.plain.argv(*arguments)]
            done = subprocess.run(command, capture_output=True, timeout=60, env=world.swapbox.environment)
            Result(tuple(command), done.returncode, done.stdout, done.stderr).check()

        world.swapbox.ok("network", "create", "idle")
        name = world.server("web", "-p", "8123:80")
        before = world.host.links()
        other("pull", busybox_ref)
        other("run", "--rm", busybox_ref, "true", enter=world.host.enter)
        other("system", "prune", "-f", enter=world.host.enter)
        assert before <= world.host.links()
        assert world.fetch(world.other, f"{INSIDE}:8123") == name


def test_a_root_directory_that_was_thrown_away_is_in_nobodys_way(busybox_ref: str) -> None:
    with worlds.world(busybox_ref) as world:
        ok = world.swapbox.ok
        world.server("web", "-p", "8122:80")
        ok("network", "create", "--subnet", "10.94.0.0/24", "old")
        ok("run", "-d", "--network", "old", *FOREVER)
        lost = ok("ps", "-q", "--no-trunc").split()
        shutil.rmtree(world.swapbox.root)
        shutil.rmtree(world.swapbox.run_root)
        for process in processes_naming(world.swapbox.directory.name):
            if "resolver" not in process.command:
                os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not world.resolvers(), "the name server has noticed")
        for group in [group for group in cgroups(CGROUP_PARENT) if group.name in lost]:
            wait_until(lambda: not (group / "cgroup.procs").read_text(), "nobody is in a group")  # noqa: B023
            group.rmdir()  # nobody can tell whose these were
        world.plain.ok("pull", busybox_ref)
        world.plain.ok("tag", busybox_ref, "busybox")
        name = world.server("web", "-p", "8122:80")
        assert world.fetch(world.other, f"{INSIDE}:8122") == name
        ok("network", "prune", "-f")
        ok("rm", "-f", "web")
        ok("system", "prune", "-f")
        expect(world, bridges=1, tables_of_networks=1)
        ok("network", "create", "--subnet", "10.94.0.0/24", "new")
