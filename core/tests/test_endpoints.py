"""Places of containers in networks, with a driver that only remembers: what is left when something goes wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from swapbox.containers.config import Attachment, ContainerConfig
from swapbox.containers.files import runtime_files, write_runtime_files
from swapbox.containers.network_files import drop_lines
from swapbox.containers.records import Container, RunState
from swapbox.drivers.network import Connection, Endpoint, Subnet
from swapbox.drivers.network import Network as DriverNetwork
from swapbox.engine import Engine
from swapbox.errors import Conflict, NotFound, PluginError
from swapbox.linux.process import Process, boot_id
from swapbox.networks import checking, endpoints, live, sharing, ways
from swapbox.networks.learning import learn
from swapbox.networks.records import EndpointRow, Network

FRONT = Network("f" * 64, "front", "good", subnets=(Subnet("10.0.0.0/24", "10.0.0.1"),))
BACK = Network("b" * 64, "back", "gone", subnets=(Subnet("10.9.0.0/24", "10.9.0.1"),))
STALE = Process(os.getpid(), Process.of(os.getpid()).start - 1)
"""A process that has ended, and whose pid another one has."""


class Driver:
    """Remembers which endpoints are connected, and by which path."""

    def __init__(self) -> None:
        self.connected: dict[str, Path | None] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    def connect(self, netns: Path, endpoint: Endpoint) -> None:
        self.connected[endpoint.id] = netns

    def reconcile(self, networks: Collection[DriverNetwork], live: Callable[[], Collection[Endpoint]]) -> int:
        self.meanwhile()
        lost = self.connected.keys() - {endpoint.id for endpoint in live()}
        for identity in lost:
            del self.connected[identity]
        return len(lost)

    def disconnect(self, netns: Path | None, endpoint: Endpoint) -> None:
        self.connected.pop(endpoint.id, None)


class World:
    """An engine that has the networks ``front`` and ``back``; the driver of the latter is not installed."""

    def __init__(self, engine: Engine, warnings: list[str]) -> None:
        self.engine = engine
        self.warnings = warnings
        self.driver = Driver()
        engine.__dict__["selector"] = SimpleNamespace(open=self._open, close=lambda: None)
        for network in (FRONT, BACK):
            engine.networks.records.add(network)

    def _open(self, _kind: str, *, made_with: str) -> Driver:
        if made_with != "good":
            raise PluginError(f"no driver {made_with}")
        return self.driver

    def container(self, *networks: Network, init: Process | None = None) -> Container:
        """Return a container with places in networks."""
        state = RunState("running", init, init, boot_id()) if init else RunState()
        config = ContainerConfig("x", network="front", has_endpoints=True)
        made = Container("c" * 64, "web", 0, config, state)
        for network in networks:
            self.engine.networks.records.attach(made.id, network, Attachment(network.name))
        self.engine.records.add(made)
        self.engine.paths.make(self.engine.paths.container(made.id))
        self.hosts(made).write_bytes(b"")
        return made

    def hosts(self, container: Container) -> Path:
        return runtime_files(self.engine.paths.container(container.id)).hosts

    def leases(self, container: Container) -> list[str]:
        """Return the networks in which the container holds something."""
        return [row.network.name for row in self.rows(container) if row.id or row.ipv4]

    def rows(self, container: Container) -> list[EndpointRow]:
        return self.engine.networks.records.endpoints(container=container.id)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    warnings: list[str] = []
    with Engine(root=tmp_path / "root", run_root=tmp_path / "run", environment={}, warn=warnings.append) as engine:
        yield World(engine, warnings)


def myself() -> Process:
    return Process.of(os.getpid())


# -- networks that go ---------------------------------------------------------------------------------------------


def test_nothing_starts_in_a_network_that_is_being_removed(world: World) -> None:
    container = world.container(FRONT)
    world.engine.networks.records.set_state(FRONT.id, "removing")
    with pytest.raises(NotFound, match="network front not found"):
        endpoints.lease(world.engine, container)
    assert world.leases(container) == []


def test_nothing_joins_a_network_that_is_being_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    container = world.container(init=myself())
    monkeypatch.setattr(live, "find", lambda _engine, _name: FRONT)
    world.engine.networks.records.set_state(FRONT.id, "removing")
    with pytest.raises(NotFound, match="network front not found"):
        live.join(world.engine, container, Attachment("front"))
    world.engine.networks.records.remove(FRONT.id)
    with pytest.raises(NotFound, match="network front not found"):
        live.join(world.engine, container, Attachment("front"))
    assert world.driver.connected == {}


# -- drivers that are not there -----------------------------------------------------------------------------------


def held(world: World) -> Container:
    """Return a container that has ended, and whose places are still written down."""
    container = world.container(FRONT, BACK)
    endpoints.lease(world.engine, container)
    assert world.leases(container) == ["front", "back"]
    return container


def test_a_network_without_its_driver_keeps_no_other_from_being_freed(world: World) -> None:
    container = held(world)
    with pytest.raises(PluginError):
        endpoints.disconnect_all(world.engine, container)
    assert world.leases(container) == ["back"]


def test_looking_at_a_network_warns_of_what_cannot_be_freed(world: World) -> None:
    container = held(world)
    assert endpoints.connected(world.engine, FRONT) == []
    assert world.warnings == ["container web: cannot free network: no driver gone"]
    assert world.leases(container) == ["back"]


def test_networks_without_a_driver_keep_no_other_from_being_tidied(world: World) -> None:
    held(world)
    world.driver.connected["lost"] = None
    assert world.engine.networks.tidy() == 1
    assert world.warnings[-1] == "networks of gone: no driver gone"


def test_a_container_that_starts_while_others_are_tidied_up_stays_connected(world: World) -> None:
    container = world.container(FRONT, init=myself())

    def start() -> None:
        leased = endpoints.lease(world.engine, container)
        world.driver.connect(Path("/"), leased[0].endpoint)

    world.driver.meanwhile = start
    assert world.engine.networks.tidy() == 0
    assert len(world.driver.connected) == 1


def test_what_is_started_again_is_not_taken_for_dead(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    container = world.container(FRONT)
    endpoints.lease(world.engine, container)
    world.engine.records.change(container.id, init=myself(), monitor=myself(), boot=boot_id())
    monkeypatch.setattr(world.engine.containers, "find", lambda _id: container)  # as it was a moment ago
    assert endpoints.connected(world.engine, FRONT) == []
    assert world.leases(container) == ["front"]


# -- joining and leaving ------------------------------------------------------------------------------------------


def test_the_namespace_of_a_process_is_not_that_of_who_has_its_pid(world: World) -> None:
    with live.namespace(myself()) as path:
        assert os.stat(path).st_ino == os.stat("/proc/self/ns/net").st_ino
    with pytest.raises(ProcessLookupError), live.namespace(STALE):
        pass


def test_a_pid_that_another_process_has_is_not_connected(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    container = world.container(init=STALE)
    monkeypatch.setattr(live, "find", lambda _engine, _name: FRONT)
    with pytest.raises(Conflict, match="has just ended"):
        live.join(world.engine, container, Attachment("front"))
    assert (world.driver.connected, world.rows(container)) == ({}, [])


def test_a_shared_namespace_must_be_of_who_has_the_pid_after_it_was_joined(world: World) -> None:
    config = ContainerConfig("x", network=f"container:{world.container(init=STALE).id}")
    spec: dict[str, Any] = {"linux": {"namespaces": [{"type": "network", "path": f"/proc/{STALE.pid}/ns/net"}]}}
    with pytest.raises(Conflict, match="non running container"):
        sharing.check_joined(world.engine, config, spec)
    world.engine.records.change(config.shared_network, init=myself())
    sharing.check_joined(world.engine, config, spec)


def test_a_link_is_taken_back_when_its_name_server_does_not_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object) -> None:
        raise Conflict("no name server")

    container = world.container(init=myself())
    monkeypatch.setattr(live, "find", lambda _engine, _name: FRONT)
    monkeypatch.setattr(live, "ensure_names", fails)
    with pytest.raises(Conflict, match="no name server"):
        live.join(world.engine, container, Attachment("front"))
    assert (world.driver.connected, world.rows(container)) == ({}, [])


def test_who_is_interrupted_while_a_driver_connects_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(netns: Path, endpoint: Endpoint) -> None:
        world.driver.connected[endpoint.id] = netns
        raise KeyboardInterrupt

    monkeypatch.setattr(live, "find", lambda _engine, _name: FRONT)
    monkeypatch.setattr(world.driver, "connect", interrupted)
    container = world.container(init=myself())
    with pytest.raises(KeyboardInterrupt):
        live.join(world.engine, container, Attachment("front"))
    assert (world.driver.connected, world.rows(container)) == ({}, [])


def test_name_servers_change_unless_the_container_has_changed_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = world.container(FRONT, init=myself())
    written = write_runtime_files(world.engine.paths.container(container.id), container, private=True).resolv_conf
    place = world.rows(container)[0]._replace(nameservers=("10.7.7.7",))
    # The host's own name servers may have become others since the start.
    monkeypatch.setattr(ways, "_host_resolv_conf", lambda: "nameserver 10.8.8.8\n")
    ways.change_name_servers(world.engine, container, [place])
    assert written.read_text() == "nameserver 10.7.7.7\noptions ndots:0\n"
    ways.change_name_servers(world.engine, container, [])
    assert written.read_text() == "nameserver 10.8.8.8\n"
    written.write_text("nameserver 10.9.9.9\n")
    ways.change_name_servers(world.engine, container, [place])
    assert written.read_text() == "nameserver 10.9.9.9\n"


def chosen(world: World, container: Container, address: str) -> Endpoint:
    """Return an endpoint whose driver has chosen this address, written down."""
    endpoint = Endpoint("e" * 64, FRONT.for_driver(), container.id, "web")
    return learn(world.engine, endpoint, Connection((address,)))


def test_an_address_of_the_dead_may_be_chosen_again(world: World) -> None:
    dead = held(world)
    again = dead._replace(id="d" * 64, name="again")
    world.engine.networks.records.attach(again.id, FRONT, Attachment("front"))
    world.engine.records.add(again)
    (address,) = world.rows(dead)[0].addresses
    assert chosen(world, again, address).addresses == (address,)
    assert world.leases(dead) == ["back"]


def test_an_address_is_not_given_to_a_container_that_is_not_in_the_network_any_more(world: World) -> None:
    with pytest.raises(NotFound, match="is not connected to network front"):
        chosen(world, world.container(), "10.0.0.7/24")


def test_who_is_gone_is_disconnected_by_force_only_from_where_it_was(world: World) -> None:
    gone = "a" * 64
    world.engine.networks.records.attach(gone, FRONT, Attachment("front"))
    world.engine.database.execute("UPDATE endpoints SET owner = ?", (f"{STALE.pid}.{STALE.start}",))
    for network, name in ((FRONT, "other"), (BACK, gone)):
        with pytest.raises(NotFound, match=f"endpoint {name} not found"):
            live.leave(world.engine, network, name, force=True)
    live.leave(world.engine, FRONT, gone[:12], force=True)
    assert world.engine.networks.records.lost() == []


def test_a_container_that_is_removed_meanwhile_is_not_checked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = EndpointRow("d" * 64, FRONT, 0, Attachment("front"))
    monkeypatch.setattr(checking, "connected", lambda *_args: [place])
    monkeypatch.setattr(world.engine.networks, "can", lambda *_args: True)
    assert list(checking.check(world.engine, FRONT)) == []


@pytest.mark.parametrize("text", [b"\xff\xfe\n10.0.0.2\tweb\n", b"x" * (2 << 20)])
def test_whatever_a_container_writes_into_its_hosts_it_can_be_disconnected(
    world: World, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.setattr(live, "find", lambda _engine, _name: FRONT)
    monkeypatch.setattr(live, "ensure_names", lambda *_args: None)
    container = world.container(init=myself())
    live.join(world.engine, container, Attachment("front"))
    assert len(world.driver.connected) == 1
    world.hosts(container).write_bytes(text)
    live.leave(world.engine, FRONT, "web")
    assert (world.driver.connected, world.rows(container)) == ({}, [])


def test_a_hosts_file_that_cannot_be_changed_stops_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "find", lambda _engine, _name: FRONT)
    monkeypatch.setattr(live, "ensure_names", lambda *_args: None)
    container = world.container(init=myself())
    world.hosts(container).unlink()
    world.hosts(container).mkdir()
    live.join(world.engine, container, Attachment("front"))
    live.leave(world.engine, FRONT, "web")
    assert (world.driver.connected, world.rows(container)) == ({}, [])
    assert world.warnings == ["container web: cannot change /etc/hosts: is a directory"] * 2


def test_lines_are_dropped_among_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"127.0.0.1\tlocalhost\n\xff\xff\n10.0.0.2\tweb\n10.0.0.22\tother\n")
    drop_lines(path, ["10.0.0.2/24"])
    assert path.read_bytes() == b"127.0.0.1\tlocalhost\n\xff\xff\n10.0.0.22\tother\n"
