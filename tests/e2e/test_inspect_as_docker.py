"""``inspect``: its document has Docker's fields, and templates over it print what the docker client prints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from swapbox.errors import Unsupported
from swapbox.testing.docker_api import replayed
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox, sandbox, scratch

pytestmark = [pytest.mark.root, pytest.mark.debian]

CONTAINER = """
{{.ID}} {{.Name}} {{.Path}} {{.Args}} {{.Image}}
{{.Id}} {{.Name}}
{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.State.Pid}} {{.State.Health}}
{{.State}}
{{json .State}}
{{if .State.Health}}{{.State.Health.Status}}{{else}}no health check{{end}}
{{.State.Health.Status}}
{{.Config.Env}} {{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.Labels}} {{.Config.Volumes}}
{{.Config.StopTimeout}}
{{.Config.Healthcheck}} {{.Config.ExposedPorts}} {{.Config.OnBuild}} {{.Config.StopSignal}}|{{.Config.Shell}}
{{range $key, $value := .Config.Labels}}{{$key}}={{$value}};{{end}}
{{index .Config.Labels "kind"}} {{.Config.Labels.kind}} {{.Config.Labels.no}}
{{range .Config.Env}}{{println .}}{{end}}
{{json .Config.Env}} {{json .Config}} {{json .Config.Volumes}}
{{.HostConfig.Binds}} {{.HostConfig.CapAdd}} {{.HostConfig.PidsLimit}} {{.HostConfig.Init}} {{.HostConfig.Memory}}
{{.HostConfig.LogConfig}} {{.HostConfig.LogConfig.Type}} {{.HostConfig.RestartPolicy}} {{.HostConfig.Ulimits}}
{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Devices}} {{.HostConfig.Sysctls}} {{.HostConfig.Dns}}
{{json .HostConfig}}
{{.HostConfig.NetworkMode}} {{.HostConfig.ShmSize}} {{.HostConfig.MemorySwappiness}} {{.HostConfig.ConsoleSize}}
{{.Mounts}}
{{range .Mounts}}{{.Type}} {{.Source}} {{.Destination}} {{.RW}} {{.Mode}}|{{.Name}}|{{end}}
{{json .Mounts}}
{{range .Mounts}}{{if not .RW}}{{.Destination}}{{end}}{{end}}
{{(index .Mounts 0).Source}} {{len .Mounts}}
{{.NetworkSettings.Ports}} {{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}
{{range .NetworkSettings.Networks}}{{.IPAddress}}|{{.NetworkID}}|{{.Aliases}}{{end}}
{{json .NetworkSettings}}
{{.GraphDriver}} {{.GraphDriver.Name}} {{.SizeRw}} {{.ExecIDs}} {{.RestartCount}} {{.Driver}}
{{printf "%T %T %T" .State .Mounts .Config.Labels}}
{{printf "%s is %v" .Name .State.Running | upper}} {{slice .Id 0 12}} {{truncate .Id 4}}
{{.Created | len}} {{split .Name "/"}} {{join .Args " "}} {{join .Config.Env ","}}
{{.Nope}}
{{.State.Nope}}
{{.Config.Labels.kind.more}}
{{.Name.x}}
{{index .Args 99}}
{{with .State}}{{.Status}}{{end}}
{{eq .State.Status "running"}} {{ne .Name "x"}} {{and .State.Running .Name}}
{{json .}}
json
{{.HostConfig.Ulimits.x}}
{{
"""

IMAGE = """
{{.ID}} {{.RepoTags}} {{.RepoDigests}} {{.Size}} {{.Os}}/{{.Architecture}} {{.Created}} {{.Author}}|{{.Comment}}|
{{.Id}} {{.Config.Env}} {{.Config.Cmd}} {{.Config.Labels}} {{.Config.WorkingDir}}|{{.Config.Entrypoint}}
{{.RootFS}} {{.RootFS.Layers}} {{len .RootFS.Layers}} {{.RootFS.Type}}
{{.Metadata.LastTagTime}} {{.GraphDriver}}
{{json .RootFS}} {{json .RepoTags}} {{json .Metadata}}
{{index .RepoTags 0}} {{range .RepoTags}}<{{.}}>{{end}}
{{.Variant}}|{{.OsVersion}}|{{.DockerVersion}}|{{.Parent}}|
{{.Nope}}
{{.Config.Nope}}
{{.Config.User}}|{{.Config.Healthcheck}}|{{.Config.ExposedPorts}}
"""


@pytest.fixture(scope="module")
def boxed(busybox_ref: str) -> Iterator[tuple[Sandbox, Engine]]:
    """Swapbox with a container and an image, and the docker client over a daemon that has their documents."""
    documents: dict[str, Any] = {}
    try:
        with sandbox() as swapbox, scratch("docker-") as directory, replayed(directory, documents) as client:
            swapbox.ok("pull", busybox_ref)
            swapbox.ok("tag", busybox_ref, "busybox")
            options = "-l kind=a -l other= -e A=1 -v /usr/share:/x:ro -v /tmp:/y --ulimit nofile=100:200 -m 64m"
            run = ("run", "-d", "--network", "none", "--name", "web", *options.split())
            swapbox.ok(*run, "busybox", "sleep", "1000")
            documents["containers/web/json"] = swapbox.inspect("web")
            documents["images/busybox/json"] = swapbox.inspect("busybox")
            yield swapbox, client
            swapbox.remove_containers()
    except Unsupported as error:
        pytest.skip(f"no docker to compare with: {error}")


def cases(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.mark.parametrize("template", cases(CONTAINER))
def test_a_container_is_shown_as_by_docker(boxed: tuple[Sandbox, Engine], template: str) -> None:
    ours, theirs = (engine("inspect", "--type", "container", "-f", template, "web") for engine in boxed)
    if template == "{{json .}}":  # ours has one more field
        assert {name: value for name, value in json.loads(ours.out).items() if name != "Drivers"} == json.loads(
            theirs.out
        )
    else:
        assert (ours.out, ours.err, ours.code) == (theirs.out, theirs.err, theirs.code)


@pytest.mark.parametrize("template", cases(IMAGE))
def test_an_image_is_shown_as_by_docker(boxed: tuple[Sandbox, Engine], template: str) -> None:
    ours, theirs = (engine("image", "inspect", "-f", template, "busybox") for engine in boxed)
    assert (ours.out, ours.err, ours.code) == (theirs.out, theirs.err, theirs.code)


MISTAKES = """
inspect nosuch
inspect web nosuch
inspect -f '{{.Name}}' web nosuch web
inspect -f '{{.Name}}' nosuch
inspect -f '{{.Nope}}' web web
inspect -f '{{' nosuch
inspect --type bogus web
inspect --format json nosuch
"""


@pytest.mark.parametrize("line", cases(MISTAKES))
def test_mistakes_are_told_as_by_docker(boxed: tuple[Sandbox, Engine], line: str) -> None:
    ours, theirs = (engine(*shlex.split(line)) for engine in boxed)
    told = [
        text for text in theirs.err.splitlines() if "from daemon" not in text
    ]  # the other daemon knows no swarm
    assert (ours.out, ours.code, ours.err.splitlines()) == (theirs.out, theirs.code, told)


@pytest.mark.parametrize("command", ["container inspect", "image inspect", "inspect --type image"])
def test_a_missing_thing_of_one_kind_is_named(boxed: tuple[Sandbox, Engine], command: str) -> None:
    kind = "image" if "image" in command else "container"
    result = boxed[0](*command.split(), "nosuch").fails(1, f"No such {kind}: nosuch")
    assert result.out == "[]"


def test_the_document_has_dockers_fields(boxed: tuple[Sandbox, Engine], docker: Engine) -> None:
    docker.ok("run", "-d", "--network", "none", "--name", "shape", "busybox", "sleep", "1000")
    try:
        theirs = json.loads(docker.ok("inspect", "shape"))[0]
    finally:
        docker.ok("rm", "-f", "shape")
    ours = boxed[0].inspect("web")
    assert theirs.keys() - ours.keys() == set()
    for part in ("State", "HostConfig", "Config", "NetworkSettings"):
        # Docker 20.10 has two more than 28 has.
        assert theirs[part].keys() - ours[part].keys() <= {"KernelMemory", "KernelMemoryTCP"}


def test_sizes_are_told_when_asked_for(boxed: tuple[Sandbox, Engine]) -> None:
    swapbox = boxed[0]
    sizes = swapbox.ok("inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "web").split()
    assert int(sizes[1]) - int(sizes[0]) == swapbox.inspect("busybox")["Size"]
    assert "SizeRw" not in swapbox.inspect("web")
