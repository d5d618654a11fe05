"""``storage migrate``: everything is on the other driver, and nothing has changed."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox import Engine
from swapbox.containers.records import Records
from swapbox.drivers.storage import StorageDriver
from swapbox.errors import Conflict
from swapbox.images import garbage
from swapbox.images.unpack import chain_ids
from swapbox.migration.service import Migration
from swapbox.testing import images, publish
from swapbox.testing.forked import mounted
from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

CHANGES = """
mkdir -p /new/deep/er; echo 1 > /new/deep/er/file; ln -s file /new/deep/er/link; mkfifo /new/pipe
ln /new/deep/er/file /new/hard; ln /bin/busybox /bin/more; mknod /new/node c 1 3; rm /etc/group
chmod 700 /home; rm /bin/awk; mkdir /bin/awk; rmdir /root; echo file > /root; rm -r /layers /kept/1
rm -r /opaque; mkdir /opaque; echo new > /opaque/new; chown 1000:50 /new/hard; chmod 4711 /new/hard
touch -d '2001-02-03 04:05:06' /new/deep; dd if=/dev/zero of=/holes bs=1M count=1 seek=30 2>/dev/null
echo kept > /data/kept
"""
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep
BOTH_WAYS = pytest.mark.parametrize(("source", "target"), [("overlay", "vfs"), ("vfs", "overlay")])
MOMENTS = 10
MANY = 1_000_000


@pytest.fixture
def engine(empty_swapbox: Sandbox) -> Iterator[Engine]:
    made = Engine(
        root=empty_swapbox.root, run_root=empty_swapbox.run_root, environment=dict(empty_swapbox.environment)
    )
    with made as engine:
        yield engine


def driver(engine: Engine, name: str) -> StorageDriver:
    return engine.selector.open("storage", made_with=name)


def keys(engine: Engine, name: str) -> set[str]:
    return {snapshot.key for snapshot in driver(engine, name).walk()}


def look(top: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that a tree is, found without any code of ours."""
    found: dict[str, tuple[Any, ...]] = {}
    inodes: dict[tuple[int, int], str] = {}
    # Overlay lists names that are not there: marks of deletions in a directory that no layer below has.
    for path in filter(os.path.lexists, sorted([top, *top.rglob("*")])):
        info, name = path.lstat(), str(path.relative_to(top))
        first = name if path.is_dir() else inodes.setdefault((info.st_dev, info.st_ino), name)
        content = b""
        if stat.S_ISREG(info.st_mode):
            content = hashlib.sha256(path.read_bytes()).digest()
        elif stat.S_ISLNK(info.st_mode):
            content = os.readlink(path).encode()
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        size = 0 if path.is_dir() else info.st_size
        owner = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev)
        found[name] = (*owner, size, info.st_mtime_ns, content, first, attributes)
    return found


def tree_of(engine: Engine, name: str, key: str) -> dict[str, tuple[Any, ...]]:
    """Return the tree of a container, or of a layer."""
    storage = driver(engine, name)
    if not key.startswith("sha256:"):
        return mounted(storage.mounts(key), look)
    try:
        return mounted(storage.view("test-look", key), look)
    finally:
        storage.remove("test-look")


def set_attributes(top: Path) -> None:
    os.setxattr(top / "new/hard", "user.note", b"kept")
    os.setxattr(top / "new/hard", "user.overlay.opaque", b"y")  # a mark only where overlay was told to use such
    os.setxattr(top / "bin/busybox", "security.capability", CAPABILITY)


def busy_container(box: Sandbox, engine: Engine, registry: str, source: str) -> str:
    """Make a stopped container that has changed everything; return its id."""
    reference = publish.push(registry, "to-move", "latest", images.layered_image(3))
    other = publish.push(registry, "to-move-too", "latest", images.layered_image(2))  # shares all its layers
    for name in (reference, other):
        box.ok("--storage-driver", source, "pull", "-q", name)
    box.ok("tag", reference, "layered")
    options = ("--storage-driver", source, "--network", "none", "-v", "data:/data")
    box.ok(
        "run",
        "--name",
        "moved",
        *options,
        "layered",
        "sh",
        "-c",
        f"test -e /new || {{ {CHANGES} }}; cat /data/kept",
    )
    identity = box.ok("inspect", "-f", "{{.Id}}", "moved")
    mounted(driver(engine, source).mounts(identity), set_attributes)
    return identity


@BOTH_WAYS
def test_a_store_moves_and_its_trees_are_equal(
    empty_swapbox: Sandbox, engine: Engine, registry: str, source: str, target: str
) -> None:
    box = empty_swapbox
    identity = busy_container(box, engine, registry, source)
    moved = sorted(keys(engine, source))
    assert len(moved) == 4
    before = {key: tree_of(engine, source, key) for key in moved}
    changed = box.ok("diff", "moved")
    assert "D /layers" in changed.splitlines()
    drivers = sorted(os.listdir(box.root / "storage"))
    assert box.ok("storage", "migrate", "--dry-run", source, target).endswith(
        f"Would move 3 layers and 1 container from {source} to {target}"
    )
    assert sorted(os.listdir(box.root / "storage")) == drivers

    lines = box.ok("storage", "migrate", source, target).splitlines()
    assert [line.split(":")[0].split()[0] for line in lines[:-1]] == ["Layer"] * 3 + ["Container"]
    assert lines[-1] == f"Moved 3 layers and 1 container from {source} to {target}; every tree is equal"

    assert keys(engine, source) == set()
    assert list((box.root / "storage" / source / "snapshots").iterdir()) == []
    assert sorted(keys(engine, target)) == moved
    assert {key: tree_of(engine, target, key) for key in moved} == before
    assert box.ok("diff", "moved") == changed
    assert (
        box.ok("inspect", "-f", "{{.Id}} {{.Name}} {{.GraphDriver.Name}}", "moved")
        == f"{identity} /moved {target}"
    )
    assert box.ok("start", "-a", "moved") == "kept"
    assert box.ok("run", "--rm", "--network", "none", "layered", "cat", "/opaque/2") == "2"
    assert box.ok("info", "-f", "{{.Driver}}") == target  # and what is new is made with it
    box.ok("commit", "moved", "again")
    box.ok("rm", "-v", "moved")
    box.ok("rmi", "again", *box.ok("images", "-q").split(), "-f")
    assert keys(engine, target) == set()


def test_one_container_moves_and_the_images_stay(empty_swapbox: Sandbox, engine: Engine, registry: str) -> None:
    box = empty_swapbox
    identity = busy_container(box, engine, registry, "overlay")
    before, changed = tree_of(engine, "overlay", identity), box.ok("diff", "moved")
    box.ok("create", "--name", "stays", "--network", "none", "layered")
    migrate = ("storage", "migrate", "--container", "moved", "overlay", "vfs")
    last = box.ok(*migrate).splitlines()[-1]
    assert last == "Moved 3 layers and 1 container from overlay to vfs; every tree is equal"
    assert box.ok(*migrate).splitlines()[0] == "Container moved: already on vfs"
    dry = box.ok(*migrate, "--dry-run").splitlines()
    assert dry == ["Container moved: already on vfs", "Would move 0 layers and 0 containers from overlay to vfs"]
    whole = box.ok("storage", "migrate", "--dry-run", "overlay", "vfs").splitlines()
    assert [line.endswith(": already on vfs") for line in whole] == [True] * 3 + [False] * 2
    assert whole[-1] == "Would move 0 layers and 1 container from overlay to vfs"
    assert tree_of(engine, "vfs", identity) == before
    assert box.ok("diff", "moved") == changed
    assert len(keys(engine, "overlay")) == 4
    assert box.ok("inspect", "-f", "{{.GraphDriver.Name}}", "moved", "stays").split() == ["vfs", "overlay"]
    assert box.ok("info", "-f", "{{.Driver}}") == "overlay"
    failed = box("storage", "migrate", "--container", "nobody", "overlay", "vfs")
    assert (failed.code, failed.err) == (1, "Error: No such container: nobody")


def test_what_cannot_be_moved(swapbox: Sandbox) -> None:
    same = swapbox("storage", "migrate", "vfs", "vfs")
    assert (same.code, same.err) == (1, "Error: source and target are both storage driver 'vfs'")
    unknown = swapbox("storage", "migrate", "overlay", "nosuch")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err == "Error: unknown storage driver 'nosuch'\nhint: available: overlay, vfs"
    swapbox.ok("run", "-d", "--name", "busy", "--storage-driver", "vfs", "busybox", "sleep", "1000")
    for options in ((), ("--container", "busy")):
        running = swapbox("storage", "migrate", *options, "vfs", "overlay")
        assert (running.code, running.out) == (1, "")
        assert running.err == (
            "Error: container busy is running: a running container cannot be moved\n"
            "hint: stop it first: swapbox stop busy"
        )
    assert swapbox.ok("exec", "busy", "echo", "here") == "here"
    swapbox.ok("rm", "-f", "busy")


def test_a_variable_that_names_another_driver_is_said(empty_swapbox: Sandbox, registry: str) -> None:
    empty_swapbox.ok("pull", "-q", publish.push(registry, "to-move-too", "latest", images.layered_image(2)))
    empty_swapbox.environment["SWAPBOX_STORAGE_DRIVER"] = "overlay"
    done = empty_swapbox("storage", "migrate", "overlay", "vfs")
    assert done.code == 0
    assert done.err.startswith("hint: new containers are still made with overlay (SWAPBOX_STORAGE_DRIVER)")


def test_a_full_disk_loses_nothing(empty_swapbox: Sandbox, engine: Engine, registry: str) -> None:
    box = empty_swapbox
    identity = busy_container(box, engine, registry, "overlay")
    before = tree_of(engine, "overlay", identity)
    small = box.root / "storage" / "vfs"
    small.mkdir()
    script = 'mount -t tmpfs -o size=3m none "$1" && shift && exec "$@"'
    command = [
        "unshare",
        "-m",
        "sh",
        "-c",
        script,
        "sh",
        str(small),
        *box.argv("storage", "migrate", "overlay", "vfs"),
    ]
    done = subprocess.run(command, env=box.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search("No space left on device|disk is full", done.stderr)
    assert done.stderr.endswith("nothing was lost; the same command goes on from here\n")
    assert tree_of(engine, "overlay", identity) == before
    assert box.ok("start", "-a", "moved") == "kept"


def test_a_container_that_is_started_meanwhile_stays_and_runs(
    empty_swapbox: Sandbox, engine: Engine, busybox_ref: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = empty_swapbox
    box.ok("pull", "-q", busybox_ref)
    identity = box.ok("create", "--storage-driver", "overlay", "--network", "none", busybox_ref, "echo", "started")
    starts: list[subprocess.Popen[bytes]] = []
    real = Records.set_storage

    def start(*arguments: Any) -> bool:
        argv = box.argv("start", "-a", identity)
        starts.append(subprocess.Popen(argv, env=box.environment, stdout=subprocess.PIPE))
        wait_until(lambda: engine.records.find(identity).state.monitor, "somebody is about to start it")
        return real(*arguments)

    monkeypatch.setattr(Records, "set_storage", start)
    with pytest.raises(Conflict, match="was started or removed while it was moved"):
        Migration(engine, "overlay", "vfs", tell=lambda _step: None).run()
    out, _ = starts[0].communicate()
    assert (starts[0].returncode, out) == (0, b"started\n")
    assert box.ok("inspect", "-f", "{{.GraphDriver.Name}}", identity) == "overlay"
    assert identity not in keys(engine, "vfs")


def steps(engine: Engine, source: str, target: str, *, kill_at: int | str) -> int:
    """Migrate in a forked child that is killed at one of its steps; return how many it made, 0 when killed.

    :param kill_at: the number of a step, or the name of one.
    """
    reader, writer = os.pipe()
    engine.close()
    child = os.fork()
    if child == 0:
        try:
            _migrate(engine.reopened(), source, target, kill_at, writer)
        finally:
            os._exit(1)
    os.close(writer)
    made = os.read(reader, 64)
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return int(made) if made else 0


def _migrate(engine: Engine, source: str, target: str, kill_at: int | str, writer: int) -> None:
    made, pid = 0, os.getpid()
    deadly = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.fork", "os.utime"}

    def step(name: str) -> None:
        nonlocal made
        made += os.getpid() == pid
        if kill_at in (made, name):
            os.kill(pid, signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in deadly or (event == "open" and arguments[2] & os.O_CREAT):
            step(event)

    def around(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def stepped(*arguments: Any, **options: Any) -> Any:
            step(f"before {name}")
            result = real(*arguments, **options)
            step(f"after {name}")
            return result

        setattr(owner, name, stepped)

    # What databases do is no event that an audit hook is told of.
    around(Records, "set_storage")
    around(type(engine.selector), "move_store")
    for storage in (driver(engine, source), driver(engine, target)):
        for name in ("prepare", "commit", "remove"):
            around(type(storage), name)
    sys.addaudithook(watch)
    Migration(engine, source, target, tell=lambda _step: None).run()
    os.write(writer, str(made).encode())
    os._exit(0)


def test_killed_at_any_moment_either_side_is_whole_and_the_next_one_goes_on(
    empty_swapbox: Sandbox, engine: Engine, registry: str
) -> None:
    small = images.image_of(
        [
            images.layer_of([images.directory("a"), images.file("a/1", b"1"), images.file("a/2", b"2")]),
            images.layer_of([images.directory("a"), images.whiteout("a/1"), images.file("a/3", b"3")]),
        ]
    )
    reference = publish.push(registry, "small-to-move", "latest", small)
    empty_swapbox.ok("pull", "-q", reference)
    identity = empty_swapbox.ok("create", "--network", "none", reference, "none")

    def change(top: Path) -> None:
        (top / "a/2").unlink()
        (top / "a/4").write_text("4")
        os.link(top / "a/4", top / "a/5")

    mounted(driver(engine, "overlay").mounts(identity), change)
    layers = set(chain_ids(engine.images.all()[0].diff_ids))
    before = tree_of(engine, "overlay", identity)
    here, there = "overlay", "vfs"
    Migration(engine, here, there, tell=lambda _step: None).run()
    counts = {}
    for _ in range(2):
        here, there = there, here
        counts[here] = steps(engine, here, there, kill_at=MANY)
        assert counts[here] > MOMENTS
    names = ("before set_storage", "after set_storage", "after commit", "after move_store")
    for number, name in enumerate((*[""] * MOMENTS, *names, *names[::-1])):
        here, there = there, here
        moment = name or 1 + number * (counts[here] - 1) // (MOMENTS - 1)
        assert steps(engine, here, there, kill_at=moment) == 0, (here, moment, counts)
        home = engine.containers.find(identity).config.storage
        if number % 4 < 2:  # two, since every other one goes back
            garbage.collect(engine)
            assert identity not in keys(engine, "overlay" if home == "vfs" else "vfs")
        assert tree_of(engine, home, identity) == before
        assert layers <= keys(engine, home)
        if (number + 1) % 4 < 2:  # before a clean-up, which takes what is left of processes that are gone
            assert steps(engine, here, there, kill_at=MANY)
        else:
            Migration(engine, here, there, tell=lambda _step: None).run()
        assert keys(engine, here) == set()
        garbage.collect(engine)
        assert keys(engine, there) == {*layers, identity}
        assert tree_of(engine, there, identity) == before
