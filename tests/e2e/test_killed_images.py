"""``kill -9`` of, and haste among, what changes images: the next command works, and what is left is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from swapbox import Engine
from swapbox.drivers.storage import StorageDriver
from swapbox.images import garbage
from swapbox.images.unpack import chain_ids
from swapbox.testing import images, publish
from swapbox.testing.archives import write_archive
from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

MOMENTS = 8
MANY = 100_000

# Runs a command and kills it at the n-th of its steps that change something; tells how many steps are left.
KILLED = """
import os, signal, sys, threading
left, lock, pid, leave = int(sys.argv[1]), threading.Lock(), os.getpid(), os._exit
steps = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "fcntl.flock"}
def step(event, arguments):
    global left
    if event in steps or event == "open" and arguments[2] & os.O_CREAT:
        with lock:
            left -= os.getpid() == pid
        if left == 0:
            os.kill(pid, signal.SIGKILL)
def tell_and_leave(code):
    if os.getpid() == pid:
        print(left, file=sys.stderr, flush=True)
    leave(code)
os._exit = tell_and_leave
sys.addaudithook(step)
from swapbox.cli import main
tell_and_leave(main(sys.argv[2:]))
"""


@pytest.fixture
def reference(registry: str) -> str:
    return publish.push(registry, "killed", "latest", images.layered_image(3))


@pytest.fixture
def engine(empty_swapbox: Sandbox) -> Iterator[Engine]:
    made = Engine(
        root=empty_swapbox.root, run_root=empty_swapbox.run_root, environment=dict(empty_swapbox.environment)
    )
    with made as engine:
        yield engine


Kill = Callable[..., int]


@pytest.fixture
def kill(empty_swapbox: Sandbox) -> Kill:
    """Run a command with a step at which it is killed; return how many steps were left at its end."""

    def kill(step: int, *arguments: str) -> int:
        options = map(str, empty_swapbox.prefix[1:])
        argv = [sys.executable, "-c", KILLED, str(step), *options, *arguments]
        done = subprocess.run(argv, env=empty_swapbox.environment, capture_output=True, timeout=60, check=False)
        if done.returncode == -signal.SIGKILL:
            return 0
        assert done.returncode == 0, done.stderr.decode()
        return int(done.stderr.split()[-1])

    return kill


def moments(steps: int) -> list[int]:
    return sorted({1 + number * (steps - 1) // (MOMENTS - 1) for number in range(MOMENTS)})


def drivers(engine: Engine) -> list[StorageDriver]:
    return list(garbage.storage_drivers(engine, warn=pytest.fail))


def assert_no_snapshot_but_the_layers(engine: Engine) -> None:
    layers = {chain for image in engine.images.all() for chain in chain_ids(image.diff_ids)}
    for driver in drivers(engine):
        assert {snapshot.key for snapshot in driver.walk()} == layers
        assert driver.cleanup() == 0


def assert_no_file(swapbox: Sandbox) -> None:
    kept = [swapbox.root / "content", swapbox.root / "storage"]
    left = [path for directory in kept for path in directory.rglob("*") if path.is_file()]
    assert [path for path in left if "sqlite" not in path.name and path.name != ".made-with"] == []


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
def test_a_killed_pull(empty_swapbox: Sandbox, engine: Engine, kill: Kill, reference: str, driver: str) -> None:
    pull = ("--storage-driver", driver, "pull", "-q", reference)
    kill(MANY, *pull)
    empty_swapbox.ok("rmi", reference)
    for step in moments(MANY - kill(MANY, *pull)):
        empty_swapbox.ok("rmi", reference)
        kill(step, *pull)
        if empty_swapbox.ok("images", "-q"):
            assert empty_swapbox.ok("run", "--rm", "--network", "none", reference, "cat", "/layers/2") == "2"
        empty_swapbox.ok(*pull)
        assert empty_swapbox.ok("run", "--rm", "--network", "none", reference, "cat", "/layers/2") == "2"
        assert_no_snapshot_but_the_layers(engine)
    empty_swapbox.ok("rmi", reference)
    assert_no_file(empty_swapbox)


def test_a_killed_rmi(empty_swapbox: Sandbox, engine: Engine, kill: Kill, reference: str) -> None:
    empty_swapbox.ok("pull", reference)
    for step in moments(MANY - kill(MANY, "rmi", reference)):
        empty_swapbox.ok("pull", reference)
        kill(step, "rmi", reference)
        if empty_swapbox.ok("images", "-q"):
            assert empty_swapbox.ok("run", "--rm", "--network", "none", reference, "cat", "/layers/2") == "2"
        empty_swapbox.ok("pull", reference)
        assert empty_swapbox.ok("run", "--rm", "--network", "none", reference, "cat", "/layers/2") == "2"
        assert_no_snapshot_but_the_layers(engine)
    empty_swapbox.ok("rmi", reference)
    garbage.collect(engine, kept=0)
    assert_no_file(empty_swapbox)


@pytest.mark.parametrize("layout", [True, False])
def test_a_killed_load(empty_swapbox: Sandbox, engine: Engine, kill: Kill, tmp_path: Path, layout: bool) -> None:
    image = images.layered_image(3)
    path, name = tmp_path / "image.tar", "example.com/killed:1"
    write_archive(path, name, image, layout=layout)
    load = ("load", "-q", "-i", str(path))
    steps = MANY - kill(MANY, *load)
    for step in moments(steps)[1::2]:
        empty_swapbox.ok("rmi", name)
        kill(step, *load)
        if empty_swapbox.ok("images", "-q"):
            assert empty_swapbox.ok("run", "--rm", "--network", "none", name, "cat", "/layers/2") == "2"
        assert empty_swapbox.ok(*load) == f"Loaded image: {name}"
        assert empty_swapbox.ok("run", "--rm", "--network", "none", name, "cat", "/layers/2") == "2"
        assert_no_snapshot_but_the_layers(engine)
    empty_swapbox.ok("rmi", name)
    garbage.collect(engine, kept=0)
    assert_no_file(empty_swapbox)


def test_what_a_killed_pull_has_fetched_is_kept_for_a_day(
    empty_swapbox: Sandbox, engine: Engine, kill: Kill, reference: str
) -> None:
    steps = MANY - kill(MANY, "pull", "-q", reference)
    empty_swapbox.ok("rmi", reference)
    assert kill(steps // 2, "pull", "-q", reference) == 0
    fetched = set(engine.content.walk())
    assert fetched
    garbage.collect(engine)
    assert set(engine.content.walk()) == fetched
    garbage.collect(engine, kept=0)
    assert_no_file(empty_swapbox)
    assert_no_snapshot_but_the_layers(engine)


def test_a_run_killed_before_its_container_is_recorded(
    empty_swapbox: Sandbox, engine: Engine, reference: str
) -> None:
    empty_swapbox.ok("pull", reference)
    script = """
import os, signal, sys
from swapbox.cli import main
from swapbox.containers.records import Records
Records.add = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""
    argv = [sys.executable, "-c", script, *map(str, empty_swapbox.prefix[1:]), "run", "-d", reference, "true"]
    done = subprocess.run(argv, env=empty_swapbox.environment, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0
    assert len(os.listdir(empty_swapbox.root / "containers")) == 1
    empty_swapbox.ok("pull", reference)
    assert_no_snapshot_but_the_layers(engine)
    assert os.listdir(empty_swapbox.root / "containers") == []


def test_containers_and_what_a_running_process_needs_stay(
    empty_swapbox: Sandbox, engine: Engine, reference: str
) -> None:
    from swapbox.images.lease import Lease
    from swapbox.store.owners import OWNER_LABEL, owner

    empty_swapbox.ok("run", "--name", "mine", reference, "touch", "/made-here")
    (image,) = engine.images.all()
    (driver,) = drivers(engine)
    driver.prepare("being-made", image.top_chain, labels={OWNER_LABEL: owner()})
    with Lease(engine) as lease:
        lease.take(digest := lease.content.put(b"being fetched"))
        before = {snapshot.key for snapshot in driver.walk()}
        garbage.collect(engine, kept=0)
        assert {snapshot.key for snapshot in driver.walk()} == before
        assert engine.content.has(digest)
    driver.remove("being-made")


def test_a_pull_that_comes_in_the_middle_of_an_rmi(
    empty_swapbox: Sandbox, engine: Engine, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_swapbox.ok("pull", reference)
    remove, pulls = garbage.remove_snapshots, []

    def remove_during_pull(driver: StorageDriver, keys: Iterable[str]) -> set[str]:
        pull = empty_swapbox.start("pull", "-q", reference)
        pulls.append(pull)
        wait_until(lambda: pull.poll() is not None or waits_for_lock(pull.pid), "the pull has ended, or waits")
        return remove(driver, keys)

    monkeypatch.setattr("swapbox.images.removal.remove_snapshots", remove_during_pull)
    engine.images.remove(reference)
    for pull in pulls:
        _, error = pull.communicate(timeout=60)
        assert error == b""
    assert empty_swapbox.ok("run", "--rm", "--network", "none", reference, "cat", "/layers/2") == "2"


def waits_for_lock(pid: int) -> bool:
    """Say whether a process waits for a file lock (proc_locks(5))."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(line[1] == "->" and line[5] == str(pid) for line in lines)
