"""What plugins are told, and what becomes of what they say: with plugins that write down how they were called."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from swapbox.drivers.network import Connection, Endpoint, Network, PublishedPort, Resolving
from swapbox.errors import DataError, InvalidInput, NotFound, SwapboxError, Unavailable, Unsupported
from swapbox.testing.process import wait_until
from swapbox_network_cni import links, program
from swapbox_network_cni.driver import Driver
from swapbox_network_cni.lists import read
from swapbox_network_cni.results import connection

PLUGIN = """#!/bin/sh
kind=${0##*/} call=$(($(ls HERE/calls | wc -l) + 1000))-$CNI_COMMAND-${0##*/}
cat > HERE/calls/.new && mv HERE/calls/.new HERE/calls/$call
env > HERE/environments/$call
[ ! -e HERE/$CNI_COMMAND-$kind ] || . HERE/$CNI_COMMAND-$kind
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}' ;;
ADD)
    ip='{"address": "10.1.0.2/16", "gateway": "10.1.0.1"}'
    echo '{"cniVersion": "1.0.0", "said": "'$kind'", "ips": ['$ip']}'
esac
"""
NETNS = Path("/proc/4711/ns/net")


class Plugins:
    """A directory with plugins, a list of two of them, and a driver that uses them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("bin", "calls", "environments"):
            (directory / name).mkdir()
        for name in ("first", "second"):
            self.install(name)
        self.make_list()
        self.network = Network("pods", id="ab" * 32)
        self.endpoint = Endpoint("cd" * 32, self.network, "ef" * 32, "web")
        self.driver = self.open()

    def open(self, *, gc: bool = False) -> Driver:
        """Return a driver as another process would have it."""
        run = self.directory / "run"
        bins = f"{self.directory}/nothing:{self.directory}/bin"
        return Driver(self.directory / "root", run, conf_dir=str(self.directory), bin_dirs=bins, gc=gc)

    def install(self, name: str) -> None:
        """Install a plugin."""
        path = self.directory / "bin" / name
        path.write_text(PLUGIN.replace("HERE", str(self.directory)))
        path.chmod(0o755)

    def make_list(self, *plugins: Mapping[str, Any], **fields: Any) -> Path:
        """Write the list."""
        chain = plugins or ({"type": "first"}, {"type": "second"})
        path = self.directory / "10-pods.conflist"
        path.write_text(json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": chain, **fields}))
        return path

    def does(self, command: str, kind: str, script: str) -> None:
        """Let a plugin do something else."""
        (self.directory / f"{command}-{kind}").write_text(script)

    def calls(self) -> list[str]:
        """Return the commands and plugins that ran since this was asked last."""
        found = sorted(path.name for path in (self.directory / "calls").iterdir() if path.name[0] != ".")
        new = found[getattr(self, "_seen", 0) :]
        self._seen = len(found)
        return [name.partition("-")[2] for name in new]

    def told(self, call: str) -> dict[str, Any]:
        """Return what a plugin read when it was called last."""
        path = max((self.directory / "calls").glob(f"*-{call}"))
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    def environment(self, call: str) -> dict[str, str]:
        """Return the parameters that a plugin got when it was called last."""
        lines = max((self.directory / "environments").glob(f"*-{call}")).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line.startswith("CNI_"))

    def attachments(self) -> list[str]:
        """Return the endpoints that are written down."""
        return [path.name for path in self.directory.glob("root/attachments/*")]


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    return Plugins(tmp_path)


class TestConnecting:
    def test_each_plugin_gets_the_result_of_the_one_before(self, plugins: Plugins) -> None:
        got = plugins.driver.connect(NETNS, plugins.endpoint)
        assert got == Connection(("10.1.0.2/16",), ("10.1.0.1",))
        assert plugins.calls() == ["ADD-first", "ADD-second"]
        assert plugins.told("ADD-first") == {"type": "first", "name": "pods", "cniVersion": "1.0.0"}
        assert plugins.told("ADD-second")["prevResult"]["said"] == "first"
        assert plugins.environment("ADD-second") == {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "cd" * 32,
            "CNI_NETNS": str(NETNS),
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1",
            "CNI_PATH": f"{plugins.directory}/nothing:{plugins.directory}/bin",
        }

    def test_those_with_a_capability_are_told_what_is_asked_for(self, plugins: Plugins) -> None:
        first = {
            "type": "first",
            "capabilities": {"portMappings": True, "aliases": True, "dns": True, "mac": False},
        }
        plugins.make_list(first, {"type": "second", "capabilities": {"ips": True}})
        asked = plugins.endpoint._replace(
            addresses=("10.1.0.2/16",),
            mac_address="02:00:00:00:00:01",
            ports=(PublishedPort("tcp", 80, "0.0.0.0", 8080),),
            aliases=("www",),
            options={"COLOUR": "red"},
            resolving=Resolving(("10.1.0.53",), options=("ndots:2",)),
        )
        plugins.driver.connect(NETNS, asked)
        assert plugins.told("ADD-first")["runtimeConfig"] == {
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "0.0.0.0"}],
            "aliases": {"pods": ["www"]},
            "dns": {"servers": ["10.1.0.53"], "options": ["ndots:2"]},
        }
        assert plugins.told("ADD-second")["runtimeConfig"] == {"ips": ["10.1.0.2/16"]}
        assert "capabilities" not in plugins.told("ADD-first")
        arguments = plugins.environment("ADD-first")["CNI_ARGS"]
        assert arguments == "IgnoreUnknown=1;MAC=02:00:00:00:00:01;COLOUR=red"

    def test_an_address_that_the_network_does_not_give_is_an_error(self, plugins: Plugins) -> None:
        with pytest.raises(Unsupported, match=r"network pods does not give the address 10\.1\.0\.9") as error:
            plugins.driver.connect(NETNS, plugins.endpoint._replace(addresses=("10.1.0.9",)))
        assert error.value.hint == "a plugin of its list must have the capability ips"
        assert plugins.environment("ADD-first")["CNI_ARGS"] == "IgnoreUnknown=1;IP=10.1.0.9"
        assert plugins.calls()[-2:] == ["DEL-second", "DEL-first"]
        assert plugins.attachments() == []

    def test_of_a_second_network_the_default_routes_are_left_out(self, plugins: Plugins) -> None:
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16"}, {"dst": "::/0", "gw": "fd00::1"}]
        plugins.make_list({"type": "first", "isDefaultGateway": True, "ipam": {"type": "x", "routes": routes}})
        plugins.driver.connect(NETNS, plugins.endpoint._replace(gateway=False))
        told = plugins.told("ADD-first")
        assert (told["isDefaultGateway"], told["isGateway"]) == (False, True)
        assert told["ipam"] == {"type": "x", "routes": [{"dst": "10.9.0.0/16"}]}

    @pytest.mark.parametrize(
        ("script", "kind", "message"),
        [
            ('echo \'{"code": 7, "msg": "bad", "details": "very"}\'; exit 1', InvalidInput, "bad; very (code 7)"),
            ('echo \'{"code": 11, "msg": "later"}\'; exit 1', Unavailable, "later (code 11)"),
            ('echo \'{"code": "x", "msg": "odd"}\'; exit 1', Unavailable, "odd (code x)"),
            ("echo oh no >&2; exit 3", Unavailable, "ADD failed: oh no"),
            ("exit 3", Unavailable, "ADD failed: exit code 3"),
            ("kill -9 $$", Unavailable, "ADD failed: exit code -9"),
            ("echo hello; exit", Unavailable, "ADD said no JSON: hello"),
            ("exit 0", Unavailable, "ADD said no result"),
            ("echo 7; exit 0", Unavailable, "ADD said no result"),
        ],
    )
    def test_an_error_is_shown_and_everything_is_undone(
        self, plugins: Plugins, script: str, kind: type[SwapboxError], message: str
    ) -> None:
        plugins.does("ADD", "second", script)
        with pytest.raises(kind) as error:
            plugins.driver.connect(NETNS, plugins.endpoint)
        assert str(error.value).startswith("CNI plugin second of network pods: ADD ")
        assert str(error.value).endswith(message)
        assert plugins.calls() == ["ADD-first", "ADD-second", "DEL-second", "DEL-first"]
        assert plugins.told("DEL-second")["prevResult"]["said"] == "first"
        assert plugins.attachments() == []

    def test_an_address_is_the_same_however_it_is_written(self, plugins: Plugins) -> None:
        plugins.does("ADD", "second", 'echo \'{"ips": [{"address": "fd00::9/64"}]}\'; exit 0')
        got = plugins.driver.connect(NETNS, plugins.endpoint._replace(addresses=("fd00:0:0::9",)))
        assert got.addresses == ("fd00::9/64",)

    def test_a_plugin_that_hangs_is_killed_with_all_that_it_has_started(
        self, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = plugins.directory / "gate"
        os.mkfifo(gate)
        plugins.does("ADD", "second", f"(read line < {gate}); exit 0")
        monkeypatch.setattr(program, "_SECONDS", 0.5)
        with pytest.raises(Unavailable, match=r"second: ADD has not ended within 0\.5 seconds"):
            plugins.driver.connect(NETNS, plugins.endpoint)
        assert plugins.attachments() == []
        with pytest.raises(OSError, match="No such device or address"):  # so nobody reads
            os.open(gate, os.O_WRONLY | os.O_NONBLOCK)

    def test_a_bridge_that_was_not_made_is_not_ours(
        self, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plugins.install("bridge")
        plugins.make_list({"type": "bridge", "bridge": "nobodys0"})
        plugins.does("ADD", "bridge", "exit 1")
        with pytest.raises(Unavailable):
            plugins.driver.connect(NETNS, plugins.endpoint)
        marks = plugins.directory / "run/bridges"
        assert list(marks.iterdir()) == []
        monkeypatch.setattr(links, "exists", lambda name: True)
        (marks / f"nobodys0@{plugins.network.id}").touch()
        links.Bridges(plugins.directory / "run").note(plugins.network, [{"type": "bridge", "bridge": "n*0"}])
        assert [path.name for path in marks.iterdir()] == [f"nobodys0@{plugins.network.id}"]

    def test_an_option_cannot_become_two_arguments(self, plugins: Plugins) -> None:
        with pytest.raises(InvalidInput):
            plugins.driver.connect(NETNS, plugins.endpoint._replace(options={"A": "1;IP=10.0.0.1"}))
        assert plugins.calls() == []


class TestDisconnecting:
    def test_another_process_does_it_with_the_result_and_without_the_list(self, plugins: Plugins) -> None:
        plugins.driver.connect(NETNS, plugins.endpoint)
        plugins.calls()
        plugins.make_list().unlink()
        plugins.open().disconnect(None, plugins.endpoint)
        assert plugins.calls() == ["DEL-second", "DEL-first"]
        assert plugins.told("DEL-first")["prevResult"]["said"] == "second"
        assert plugins.environment("DEL-first")["CNI_NETNS"] == ""
        plugins.driver.disconnect(None, plugins.endpoint)
        assert plugins.calls() == []

    def test_what_cannot_be_undone_now_is_undone_later(self, plugins: Plugins) -> None:
        plugins.driver.connect(NETNS, plugins.endpoint)
        plugins.does("DEL", "second", "echo busy >&2; exit 1")
        with pytest.raises(Unavailable, match="DEL failed: busy"):
            plugins.driver.disconnect(None, plugins.endpoint)
        with pytest.raises(Unavailable):
            plugins.driver.reconcile([plugins.network], list)
        assert plugins.calls()[2:] == ["DEL-second", "DEL-first"] * 2
        plugins.does("DEL", "second", 'echo \'{"code": 3, "msg": "no such container"}\'; exit 1')
        assert plugins.driver.reconcile([plugins.network], list) == 1
        assert plugins.attachments() == []

    def test_a_plugin_whose_starter_was_killed_is_waited_for_and_its_result_is_known(
        self, plugins: Plugins
    ) -> None:
        gate, here = plugins.directory / "gate", plugins.directory / "here"
        os.mkfifo(gate)
        plugins.does("ADD", "first", f"touch {here}; read line < {gate}\n")
        starter = os.fork()
        if starter == 0:
            plugins.driver.connect(NETNS, plugins.endpoint)
            os._exit(0)
        wait_until(here.exists, "the plugin runs")
        os.kill(starter, signal.SIGKILL)
        os.waitpid(starter, 0)
        assert plugins.open().reconcile([plugins.network], list) == 0  # others wait for who does this
        cleanup = threading.Thread(target=plugins.open().disconnect, args=(None, plugins.endpoint))
        cleanup.start()
        assert plugins.calls() == ["ADD-first"]
        gate.write_text("go\n")
        cleanup.join(20)
        assert plugins.calls() == ["DEL-second", "DEL-first"]
        assert plugins.told("DEL-first")["prevResult"]["said"] == "first"
        assert plugins.attachments() == []

    def test_what_a_plugin_leaves_running_keeps_nobody_from_undoing(self, plugins: Plugins) -> None:
        pid = plugins.directory / "pid"
        plugins.does("ADD", "first", f"sleep 100 & echo $! > {pid}\n")
        plugins.driver.connect(NETNS, plugins.endpoint)
        try:
            assert plugins.driver.reconcile([plugins.network], list) == 1
        finally:
            os.kill(int(pid.read_text()), signal.SIGKILL)
        assert plugins.attachments() == []

    @pytest.mark.parametrize("text", ["{", "[]", "7", "{}", '{"plugins": 7}', "PLUGINS", "CAPABILITIES"])
    def test_a_damaged_attachment_is_named_and_stops_nothing_else(self, plugins: Plugins, text: str) -> None:
        bad = plugins.endpoint._replace(id="00" * 32)
        for endpoint in (bad, plugins.endpoint):
            plugins.driver.connect(NETNS, endpoint)
        path = plugins.directory / "root/attachments" / bad.id / "attachment.json"
        fields = json.loads(path.read_text())
        wrong = {"PLUGINS": {**fields, "plugins": {}}, "CAPABILITIES": {**fields, "capabilities": 7}}
        path.write_text(json.dumps(wrong[text]) if text in wrong else text)
        (path.parent.parent / "stray").touch()
        for act in (
            lambda: plugins.driver.disconnect(None, bad),
            lambda: plugins.driver.check(NETNS, bad),
            lambda: plugins.driver.reconcile([plugins.network], list),
        ):
            with pytest.raises(DataError, match=str(path)):
                act()
        assert plugins.attachments() == [bad.id, "stray"]
        plugins.driver.remove_network(plugins.network)

    def test_what_another_version_has_written_more_is_left_out(self, plugins: Plugins) -> None:
        plugins.driver.connect(NETNS, plugins.endpoint)
        path = plugins.directory / "root/attachments" / plugins.endpoint.id / "attachment.json"
        fields = json.loads(path.read_text())
        path.write_text(json.dumps({**fields, "new": 1, "plugins": {**fields["plugins"], "new": 1}}))
        plugins.driver.disconnect(None, plugins.endpoint)
        assert plugins.attachments() == []

    def test_an_error_of_the_system_is_one_of_ours(self, plugins: Plugins) -> None:
        (plugins.directory / "root").mkdir()
        (plugins.directory / "root/attachments").touch()
        for act in (
            lambda: plugins.driver.reconcile([plugins.network], list),
            lambda: plugins.driver.remove_network(plugins.network),
            lambda: plugins.driver.disconnect(None, plugins.endpoint),
            lambda: plugins.driver.check(NETNS, plugins.endpoint),
        ):
            with pytest.raises(SwapboxError, match="root/attachments"):
                act()

    def test_what_was_only_begun_to_be_written_down_is_forgotten(self, plugins: Plugins) -> None:
        (plugins.directory / "root/attachments/half").mkdir(parents=True)
        (plugins.directory / "root/attachments/half/attachment.json.new").touch()
        assert plugins.driver.reconcile([plugins.network], list) == 1
        assert (plugins.calls(), plugins.attachments()) == ([], [])

    def test_attachments_of_other_networks_are_left_alone(self, plugins: Plugins) -> None:
        plugins.driver.connect(NETNS, plugins.endpoint)
        assert plugins.driver.reconcile([plugins.network._replace(id="99" * 32)], list) == 0
        assert plugins.driver.reconcile([plugins.network], lambda: [plugins.endpoint]) == 0
        assert plugins.attachments() == [plugins.endpoint.id]


class TestCollecting:
    def test_plugins_of_version_1_1_free_what_belongs_to_no_attachment(self, plugins: Plugins) -> None:
        plugins.make_list(cniVersion="1.1.0")
        dead = plugins.endpoint._replace(id="99" * 32)
        for endpoint in (plugins.endpoint, dead):
            plugins.driver.connect(NETNS, endpoint)
        plugins.calls()
        driver = plugins.open(gc=True)
        assert driver.reconcile([plugins.network], lambda: [plugins.endpoint]) == 1
        assert plugins.calls() == ["DEL-second", "DEL-first", "GC-first", "GC-second"]
        valid = [{"containerID": plugins.endpoint.id, "ifname": "eth0"}]
        assert plugins.told("GC-first")["cni.dev/valid-attachments"] == valid

    @pytest.mark.parametrize(
        ("gc", "fields"),
        [
            (True, {"cniVersion": "1.0.0"}),
            (True, {"cniVersion": "1.1.0", "disableGC": True}),
            (False, {"cniVersion": "1.1.0"}),
        ],
    )
    def test_others_are_not_asked_to(self, plugins: Plugins, fields: dict[str, Any], *, gc: bool) -> None:
        plugins.make_list(**fields)
        plugins.driver.connect(NETNS, plugins.endpoint)
        plugins.open(gc=gc).reconcile([plugins.network], lambda: [plugins.endpoint])
        assert plugins.calls() == ["ADD-first", "ADD-second"]


class TestChecking:
    def test_plugins_look_at_the_namespace_under_the_path_that_it_has_now(self, plugins: Plugins) -> None:
        answer = '{"interfaces": [{"name": "v"}, {"name": "eth0", "sandbox": "/old"}], "ips": []}'
        plugins.does("ADD", "second", f"echo '{answer}'; exit 0")
        plugins.driver.connect(NETNS, plugins.endpoint)
        plugins.driver.check(Path("/new"), plugins.endpoint)
        assert plugins.calls()[2:] == ["CHECK-first", "CHECK-second"]
        interfaces = plugins.told("CHECK-second")["prevResult"]["interfaces"]
        assert [one.get("sandbox") for one in interfaces] == [None, "/new"]
        plugins.does("CHECK", "first", "echo gone >&2; exit 1")
        with pytest.raises(Unavailable, match="CHECK failed: gone"):
            plugins.driver.check(Path("/new"), plugins.endpoint)

    @pytest.mark.parametrize("fields", [{"cniVersion": "0.3.1"}, {"disableCheck": "true"}])
    def test_those_that_cannot_are_not_asked(self, plugins: Plugins, fields: dict[str, Any]) -> None:
        plugins.make_list(**fields)
        plugins.driver.connect(NETNS, plugins.endpoint)
        plugins.driver.check(NETNS, plugins.endpoint)
        assert plugins.calls() == ["ADD-first", "ADD-second"]


class TestNetworks:
    def test_the_highest_version_that_all_plugins_speak_is_spoken(self, plugins: Plugins) -> None:
        plugins.make_list(cniVersion="0.3.1", cniVersions=["0.4.0", "1.0.0", "1.1.0", "9.0.0"])
        plugins.does("VERSION", "second", 'echo \'{"supportedVersions": ["0.4.0", "1.1.0"]}\'; exit 0')
        plugins.driver.connect(NETNS, plugins.endpoint)
        assert plugins.told("ADD-first")["cniVersion"] == "0.4.0"

    def test_a_plugin_that_does_not_speak_the_version_is_named(self, plugins: Plugins) -> None:
        plugins.make_list(cniVersion="1.1.0")
        with pytest.raises(Unsupported, match=r"CNI plugin first does not speak version 1\.1\.0 of network pods"):
            plugins.driver.create_network(plugins.network)

    def test_a_network_is_found_by_name_or_by_path_and_the_drivers_own_is_the_first(
        self, plugins: Plugins
    ) -> None:
        path = plugins.make_list()
        (plugins.directory / "00-broken.conflist").write_text("{")
        for network in (
            plugins.network,
            Network("x", options={"conflist": "pods"}),
            Network("x", options={"conflist": str(path)}),
            Network("cni"),
        ):
            plugins.driver.create_network(network)
        with pytest.raises(NotFound, match="no CNI configuration list x in ") as error:
            plugins.driver.create_network(Network("x"))
        assert "00-broken.conflist: no JSON" in str(error.value.hint)

    @pytest.mark.parametrize(
        "network",
        [
            Network("pods", internal=True),
            Network("pods", options={"colour": "red"}),
            Network("pods", options={"conflist": "../pods"}),
        ],
    )
    def test_what_a_list_cannot_say_is_refused(self, plugins: Plugins, network: Network) -> None:
        with pytest.raises(InvalidInput):
            plugins.driver.create_network(network)

    def test_a_plugin_that_is_not_there_is_named_with_where_it_should_be(self, plugins: Plugins) -> None:
        plugins.make_list({"type": "third"})
        with pytest.raises(NotFound, match=r"CNI plugin third not found in .*/nothing:") as error:
            plugins.driver.create_network(plugins.network)
        assert "containernetworking-plugins" in str(error.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"name": "x"}',
        '{"cniVersion": "1.0.0", "name": "../x", "plugins": [{"type": "a"}]}',
        '{"cniVersion": "1.0.0", "name": "x", "plugins": []}',
        '{"cniVersion": "1.0.0", "name": "x", "plugins": {}}',
        '{"cniVersion": "1.0.0", "name": "x", "plugins": ["a"]}',
        '{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "../../bin/sh"}]}',
        '{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "a", "capabilities": []}, {"type": 7}]}',
        '{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "a", "capabilities": 7}]}',
        '{"cniVersion": "1.0.0", "cniVersions": 7, "name": "x", "plugins": [{"type": "a"}]}',
        '{"cniVersion": "0.2.0", "name": "x", "plugins": [{"type": "a"}]}',
        '{"cniVersion": ["1.0.0"], "name": "x", "plugins": [{"type": "a"}]}',
    ],
)
def test_a_wrong_list_is_refused_by_the_name_of_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.conflist"
    path.write_text(text)
    with pytest.raises((InvalidInput, Unsupported), match=r"x\.conflist"):
        read(path)


HOST = {"name": "veth1", "mac": "02:00:00:00:00:01"}
INSIDE = {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/proc/1/ns/net"}


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {
                "cniVersion": "0.3.1",
                "interfaces": [HOST, INSIDE],
                "ips": [
                    {"version": "4", "address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 1},
                    {"version": "4", "address": "10.1.0.1/16", "interface": 0},
                ],
                "dns": {"nameservers": ["10.1.0.1"]},
            },
            Connection(("10.1.0.2/16",), ("10.1.0.1",), ("10.1.0.1",), "02:00:00:00:00:02"),
        ),
        (
            {
                "cniVersion": "1.1.0",
                "interfaces": [{**INSIDE, "mtu": 1400}],
                "ips": [
                    {"address": "10.1.0.2/16", "interface": 0},
                    {"address": "fd00::2/64", "gateway": "fd00::1"},
                ],
                "routes": [{"dst": "0.0.0.0/0", "table": 7}],
            },
            Connection(("10.1.0.2/16", "fd00::2/64"), ("fd00::1",), (), "02:00:00:00:00:02"),
        ),
        ({"cniVersion": "1.0.0"}, Connection()),
        (
            {
                "ips": [
                    {"address": "10.1.0.2"},
                    {"address": "10.1.0.2/16", "gateway": "10.1.0.1\nx"},
                    {"address": 7},
                ],
                "interfaces": [{**INSIDE, "mac": "x\n"}],
                "dns": {"nameservers": ["1.1.1.1\noptions x", 7]},
            },
            Connection(("10.1.0.2/16",)),
        ),
        ({"cniVersion": "1.0.0", "ips": 7, "interfaces": [7], "dns": []}, Connection()),
    ],
)
def test_results_of_all_versions_are_understood(result: dict[str, Any], expected: Connection) -> None:
    assert connection(result, "eth0") == expected
