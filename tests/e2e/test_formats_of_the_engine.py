"""``--format`` of ``info``, ``version`` and ``plugins ls``."""

from __future__ import annotations

import json

import pytest

import swapbox as package
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


def test_version_has_a_client_and_a_server(swapbox: Sandbox) -> None:
    versions = swapbox.ok("version", "--format", "{{.Client.Version}} {{.Server.Version}} {{.Server.Os}}")
    assert versions == f"{package.__version__} {package.__version__} linux"
    assert json.loads(swapbox.ok("version", "--format", "json"))["Server"]["Components"][0]["Name"] == "Engine"


def test_info_counts_containers_by_state(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--network", "none", "busybox", "true")
    swapbox.ok("run", "-d", "--network", "none", "busybox", "sleep", "1000")
    template = (
        "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}} {{.Swarm.LocalNodeState}}"
    )
    assert swapbox.ok("info", "-f", template) == "2 1 1 1 inactive"
    assert swapbox.ok("info", "-f", "{{.DockerRootDir}}") == str(swapbox.root)
    told = json.loads(swapbox.ok("info", "--format", "{{json .}}"))
    assert told["Driver"] in swapbox.ok("info", "--why")
    assert "ns" in told["Runtimes"]


@pytest.mark.debian
@pytest.mark.parametrize("command", ["info", "version"])
@pytest.mark.parametrize("template", ["{{", "{{.Nope}}", "{{.Server.Nope}}"])
def test_mistakes_are_told_as_by_docker(swapbox: Sandbox, docker: Engine, command: str, template: str) -> None:
    ours, theirs = (engine(command, "--format", template) for engine in (swapbox, docker))
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert ours.err.partition(" in type")[0] == theirs.err.partition(" in type")[0]


def test_drivers_are_listed_through_a_template(swapbox: Sandbox) -> None:
    drivers = swapbox.ok("plugins", "ls", "--format", "{{.Kind}}/{{.Name}}").splitlines()
    assert {"storage/vfs", "isolation/ns", "network/none"} <= set(drivers)
    assert swapbox.ok("plugins", "ls", "-q").splitlines() == [line.partition("/")[2] for line in drivers]
    row = json.loads(swapbox.ok("plugins", "ls", "--format", "json").splitlines()[0])
    assert list(row) == ["Distribution", "Kind", "Name", "Summary"]
