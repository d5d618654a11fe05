"""``prune`` and ``system df``: Docker's words and numbers, and what crashes have left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sqlite3

import pytest

from swapbox import Engine as Api
from swapbox.images.lease import Lease
from swapbox.store.owners import OWNER_LABEL, owner
from swapbox.testing import images, publish
from swapbox.testing.process import Engine, Result
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FULL_ID = re.compile(r"\b[0-9a-f]{64}\b")


def plain(answer: Result, *names: tuple[str, str]) -> tuple[int, str, str]:
    """Return how a command ended, without ids, and without what it is that says an error."""
    out = answer.stdout.decode()
    for old, new in names:
        out = out.replace(old, new)
    err = re.sub(r"^(ERROR|Error)( response from daemon)?: ", "", answer.err).lower()
    return answer.code, FULL_ID.sub("ID", out), err


@pytest.mark.parametrize(
    "command",
    [
        "container prune",
        "image prune",
        "image prune -a",
        "system prune",
        "system prune -a --volumes --filter label=a10 --filter label=a9 --filter until=1h",
        "system prune -a --volumes --filter label=a10 --filter label!=b --filter label=a9",
    ],
)
@pytest.mark.parametrize("answer", [b"", b"n\n", b"yes\n"])
def test_the_warning_is_dockers_and_only_y_agrees(
    swapbox: Sandbox, docker: Engine, command: str, answer: bytes
) -> None:
    swapbox.ok("create", "--name", "kept", "busybox", "true")
    ours, theirs = (engine(*command.split(), stdin=answer) for engine in (swapbox, docker))
    assert plain(ours) == plain(theirs)
    assert swapbox.names("-a") == ["kept"]


@pytest.mark.parametrize(
    "command",
    [
        "container prune --filter foo=bar -f",
        "image prune --filter foo=bar -f",
        "system prune --filter foo=bar -f",
        "image prune --filter dangling=x -f",
        "container prune --filter until=xx -f",
        "container prune --filter foo -f",
        "image prune x",
    ],
)
def test_mistakes_are_refused_as_by_docker(swapbox: Sandbox, docker: Engine, command: str) -> None:
    ours, theirs = (engine(*command.split()) for engine in (swapbox, docker))
    assert ours.code == theirs.code
    first, second = (plain(one)[2].partition("\n")[0] for one in (ours, theirs))
    assert first.replace("swapbox", "docker") == second


CONTAINERS = """
run --network none --name one --label role=front busybox true
run --network none --name two --label role=back busybox true
create --network none --name three busybox true
run --network none -d --name running --label role=front busybox sleep 1000
container prune -f --filter label=role=side
container prune -f --filter until=1h
container prune -f --filter label=role=front --filter label!=role=back
container prune -f --filter label!=role
container prune -f
"""


def test_containers_are_pruned_as_by_docker(swapbox: Sandbox, docker: Engine) -> None:
    for line in CONTAINERS.strip().splitlines():
        ours, theirs = (plain(engine(*line.split())) for engine in (swapbox, docker))
        assert ours == theirs, line
    assert swapbox.names("-a") == ["running"]
    docker.ok("rm", "-f", "running")


IMAGES = """
image prune -f --filter label=of=prune
image prune -af --filter label=of=prune --filter until=2000-01-01
run --network none -d --name user R/two:1 sleep 1000
tag R/two:1 two:extra
image prune -af --filter label=of=prune
images --filter label=of=prune --format {{.Repository}}:{{.Tag}}
rm -f user
system prune -af --filter label=of=prune
images --filter label=of=prune --format {{.Repository}}:{{.Tag}}
"""


def test_images_are_pruned_as_by_docker(
    empty_swapbox: Sandbox, docker: Engine, registry: str, busybox_ref: str
) -> None:
    empty_swapbox.ok("pull", busybox_ref)  # Docker has it, and keeps its layer
    for name in ("one", "two"):
        image = images.image_of([images.busybox_layer()], config={"Labels": {"of": "prune", "name": name}})
        publish.push(registry, name, "1", image)
    for engine in (empty_swapbox, docker):
        engine.ok("pull", "-q", f"{registry}/one:1")
        engine.ok("pull", "-q", f"{registry}/two:1")
    for line in IMAGES.strip().splitlines():
        arguments = line.replace("R/", f"{registry}/").split()
        ours, theirs = (plain(engine(*arguments)) for engine in (empty_swapbox, docker))
        assert (ours[0], sorted(ours[1].splitlines())) == (theirs[0], sorted(theirs[1].splitlines())), line


def test_what_is_pruned_is_told(swapbox: Sandbox) -> None:
    swapbox.ok("create", "--name", "one", "busybox", "true")
    swapbox.ok("system", "prune", "-f")
    out = swapbox.ok("events", "--since", "10m", "--until", "0s", "--filter", "event=prune")
    assert [line.split()[1:] for line in out.splitlines()[-3:]] == [
        ["container", "prune", "(reclaimed=0)"],
        ["network", "prune", "(reclaimed=0)"],
        ["image", "prune", "(reclaimed=0)"],
    ]


# -- what crashes leave -------------------------------------------------------------------------------------------


def test_leftovers_of_containers_are_found(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "kept", "busybox", "sleep", "1000")
    lost = os.urandom(32).hex()
    directory, run = swapbox.root / "containers" / lost, swapbox.run_root / "containers" / lost
    (directory / "logs").mkdir(parents=True)
    (directory / "logs/json.log").write_text("x" * 10_000)
    (run / "bundle/rootfs").mkdir(parents=True)
    (run / "bundle/config.json").write_text("{}")
    out = swapbox.ok("system", "prune", "-f")
    assert lost in out
    assert "Total reclaimed space: 0B" not in out
    assert not directory.exists()
    assert not run.exists()
    assert swapbox.state("kept")["Status"] == "running"
    assert swapbox.ok("system", "prune", "-f") == "Total reclaimed space: 0B"


@pytest.mark.debian
def test_a_container_without_a_record_is_ended_whatever_ran_it(swapbox: Sandbox) -> None:
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    lost = swapbox.ok("run", "-d", "--isolation", "runc", "--network", "none", "busybox", "sleep", "1000")
    state = swapbox.state(lost)
    with Api(root=swapbox.root, run_root=swapbox.run_root) as engine:
        container = engine.records.find(lost)
        assert container.state.monitor is not None
        assert container.state.init is not None
        container.state.monitor.send(signal.SIGKILL)
        container.state.monitor.wait()
        engine.records.remove(lost)
    assert lost in swapbox.ok("system", "prune", "-f")
    assert state["Pid"] == container.state.init.pid
    assert not container.state.init.alive()


def test_what_is_being_made_is_left_alone(swapbox: Sandbox) -> None:
    coming = os.urandom(32).hex()
    with Api(root=swapbox.root, run_root=swapbox.run_root) as engine:
        storage = engine.selector.open("storage")
        storage.prepare(coming, None, labels={OWNER_LABEL: owner()})
        directory = engine.paths.make(engine.paths.container(coming))
        assert swapbox.ok("system", "prune", "-f") == "Total reclaimed space: 0B"
        assert directory.exists()
        assert storage.stat(coming).kind == "active"
        storage.remove(coming)
        assert coming in swapbox.ok("system", "prune", "-f")
        assert not directory.exists()


def test_what_a_running_pull_needs_is_left_alone(swapbox: Sandbox) -> None:
    with Api(root=swapbox.root, run_root=swapbox.run_root) as engine:
        with Lease(engine) as lease:
            digest = lease.content.put(b"a blob that is needed soon" * 1000)
            os.utime(engine.content.path(digest), (0, 0))
            assert swapbox.ok("system", "prune", "-f") == "Total reclaimed space: 0B"
            assert engine.content.has(digest)
        assert swapbox.ok("system", "prune", "-f") == "Total reclaimed space: 26kB"
        assert not engine.content.has(digest)


def test_what_was_written_just_now_is_left_alone(swapbox: Sandbox) -> None:
    with Api(root=swapbox.root, run_root=swapbox.run_root) as engine:
        partial = engine.content.root / "ingest/new-one"
        engine.paths.make(partial.parent)
        partial.write_bytes(b"x" * 1000)
        assert swapbox.ok("system", "prune", "-f") == "Total reclaimed space: 0B"
        os.utime(partial, (0, 0))
        assert swapbox.ok("system", "prune", "-f") == "Total reclaimed space: 1kB"
        assert not partial.exists()


# -- system df ----------------------------------------------------------------------------------------------------


def cells(text: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line) for line in text.splitlines()]


def test_the_summary_counts_as_docker_does(swapbox: Sandbox, docker: Engine) -> None:
    for engine in (swapbox, docker):
        engine.ok("create", "--name", "one", "--network", "none", "busybox", "true")
        engine.ok("run", "-d", "--name", "two", "--network", "none", "busybox", "sleep", "1000")
    ours, theirs = (cells(engine.ok("system", "df")) for engine in (swapbox, docker))
    formatted = [engine.ok("system", "df", "--format", "{{.Type}}:{{.Active}}") for engine in (swapbox, docker)]
    docker.ok("rm", "-f", "one", "two")
    assert ours[0] == theirs[0]
    assert [row[0] for row in ours] == [row[0] for row in theirs]
    assert ours[2] == theirs[2] == ["Containers", "2", "1", "0B", "0B"]
    assert formatted[0] == formatted[1]


def test_the_details_look_as_dockers(swapbox: Sandbox, docker: Engine) -> None:
    for engine in (swapbox, docker):
        engine.ok("create", "--name", "one", "--network", "none", "busybox", "true")
    ours, theirs = (engine.ok("system", "df", "-v") for engine in (swapbox, docker))
    keys = [
        sorted({*re.findall(r'"(\w+)":', engine.ok("system", "df", "-v", "--format", "json"))})
        for engine in (swapbox, docker)
    ]
    docker.ok("rm", "one")
    first, second = ([line.split() for line in text.splitlines() if line.isupper()] for text in (ours, theirs))
    assert first == second
    assert len(first) == 4
    assert keys[0] == keys[1]


def test_volumes_are_counted_and_anonymous_ones_pruned(swapbox: Sandbox) -> None:
    swapbox.ok("volume", "create", "named")
    anonymous = swapbox.ok("volume", "create")
    assert cells(swapbox.ok("system", "df"))[3][:3] == ["Local Volumes", "2", "0"]
    format = "{{range .Volumes}}{{.Name}} {{.Links}};{{end}}"
    assert swapbox.ok("system", "df", "-v", "--format", format) == f"{anonymous} 0;named 0;"
    swapbox.ok("system", "prune", "-f")
    assert len(swapbox.ok("volume", "ls", "-q").split()) == 2
    out = swapbox.ok("system", "prune", "-f", "--volumes")
    assert out.splitlines()[:2] == ["Deleted Volumes:", anonymous]
    assert swapbox.ok("volume", "ls", "-q") == "named"
    swapbox.ok("volume", "rm", "named")


def test_layers_in_common_are_counted_once(empty_swapbox: Sandbox, registry: str) -> None:
    layer = images.busybox_layer()
    for name in ("one", "two"):
        publish.push(registry, name, "1", images.image_of([layer], config={"Labels": {"name": name}}))
        empty_swapbox.ok("pull", "-q", f"{registry}/{name}:1")
    total = cells(empty_swapbox.ok("system", "df"))[1][3]
    format = "{{range .Images}}{{.SharedSize}} {{.UniqueSize}} {{.Containers}};{{end}}"
    assert empty_swapbox.ok("system", "df", "-v", "--format", format) == f"{total} 0B 0;" * 2


def test_a_volume_whose_driver_is_gone_keeps_nobody_from_the_rest(empty_swapbox: Sandbox) -> None:
    empty_swapbox.ok("volume", "create", "kept")
    with contextlib.closing(sqlite3.connect(empty_swapbox.root / "db.sqlite")) as database, database:
        database.execute("INSERT INTO volumes VALUES ('ghost', 'gone', 0, '{}', '{}', 1, 'ready')")
    shown = empty_swapbox("system", "df", "-v").check()
    assert "volume ghost is not measured" in shown.err
    assert {"ghost", "kept"} <= set(shown.out.split())
    assert "failed to prune volume ghost" in empty_swapbox("system", "prune", "-f", "--volumes").check().err
