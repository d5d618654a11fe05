"""``storage migrate`` beside other commands, and interrupted where it counts: nothing of a container is lost."""

from __future__ import annotations

import fcntl
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox import Engine
from swapbox.containers.commit import CommitOptions, commit
from swapbox.containers.diff import diff
from swapbox.containers.export import export
from swapbox.containers.inside import opened
from swapbox.containers.records import Container, Records
from swapbox.drivers.storage import StorageDriver
from swapbox.errors import Conflict
from swapbox.images import garbage
from swapbox.migration import emptying
from swapbox.migration.service import Migration
from swapbox.store.owners import OWNER_LABEL, owner
from swapbox.testing import images, publish
from swapbox.testing.forked import Forked, mounted
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

BOTH_WAYS = pytest.mark.parametrize(("source", "target"), [("overlay", "vfs"), ("vfs", "overlay")])


@pytest.fixture
def engine(empty_swapbox: Sandbox) -> Iterator[Engine]:
    made = Engine(
        root=empty_swapbox.root, run_root=empty_swapbox.run_root, environment=dict(empty_swapbox.environment)
    )
    with made as engine:
        yield engine


@pytest.fixture
def make(empty_swapbox: Sandbox, engine: Engine, registry: str) -> Callable[[str], Container]:
    """Make a stopped container that has one file of its own, on a driver."""
    small = images.image_of([images.layer_of([images.directory("a"), images.file("a/1", b"1")])])
    reference = publish.push(registry, "to-move-beside", "latest", small)

    def make(source: str) -> Container:
        options = ("--storage-driver", source, "--network", "none", "--name", "moved")
        identity = empty_swapbox.ok("create", *options, reference, "none")
        mounted(driver(engine, source).mounts(identity), lambda top: (top / "own").write_text("own"))
        return engine.containers.find(identity)

    return make


def driver(engine: Engine, name: str) -> StorageDriver:
    return engine.selector.open("storage", made_with=name)


def keys(engine: Engine, name: str) -> set[str]:
    return {snapshot.key for snapshot in driver(engine, name).walk()}


def migrate(engine: Engine, source: str, target: str, *names: str) -> None:
    Migration(engine, source, target, tell=lambda _step: None).run(names)


def files(engine: Engine, container: Container) -> dict[str, str]:
    """Return what a container has, on the driver that its record names."""
    home = engine.containers.find(container.id).config.storage

    def read(top: Path) -> dict[str, str]:
        return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}

    return mounted(driver(engine, home).mounts(container.id), read)


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@BOTH_WAYS
@pytest.mark.parametrize("moment", ["before set_storage", "after set_storage", "before commit", "after commit"])
def test_ctrl_c_around_the_moments_that_decide_loses_nothing(
    make: Callable[[str], Container],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
    moment: str,
) -> None:
    container = make(source)
    before = files(engine, container)
    when, name = moment.split()
    owner: Any = Records if name == "set_storage" else type(driver(engine, target))
    real = getattr(owner, name)

    def interrupted(*arguments: Any, **options: Any) -> None:
        if when == "after":
            real(*arguments, **options)
        raise KeyboardInterrupt

    def cut_short() -> str:
        monkeypatch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            migrate(engine.reopened(), source, target)
        return "interrupted"

    engine.close()
    assert Forked(cut_short).result() == "interrupted"
    home = target if moment == "after set_storage" else source
    assert engine.containers.find("moved").config.storage == home
    assert files(engine, container) == before
    garbage.collect(engine)
    assert files(engine, container) == before
    migrate(engine, source, target)
    assert files(engine, container) == before
    assert keys(engine, source) == set()


@BOTH_WAYS
def test_who_has_read_the_record_before_the_move_finds_the_files_where_they_are(
    make: Callable[[str], Container], engine: Engine, source: str, target: str
) -> None:
    container = make(source)
    migrate(engine, source, target)
    with opened(engine, container, with_mounts=True) as (root, _):  # as cp does
        Path(f"/proc/self/fd/{root}/copied").write_text("copied")
    assert files(engine, container) == {"a/1": "1", "own": "own", "copied": "copied"}
    archive = io.BytesIO()
    export(engine, container, archive.write)
    with tarfile.open(fileobj=io.BytesIO(archive.getvalue())) as tar:
        assert {"a/1", "own", "copied"} <= set(tar.getnames())
    assert [change.path for change in diff(engine, container)] == ["/copied", "/own"]
    image = commit(engine, container, CommitOptions())
    assert image.top_chain in keys(engine, target)
    assert keys(engine, source) == set()


def test_what_is_created_and_cleaned_up_meanwhile_stays_whole(
    make: Callable[[str], Container],
    engine: Engine,
    empty_swapbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    container = make("overlay")
    real = Records.set_storage

    def beside(*arguments: Any) -> bool:
        garbage.collect(engine)
        options = ("--storage-driver", "overlay", "--network", "none", "--name", "new")
        empty_swapbox.ok("create", *options, container.config.image, "none")
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Records, "set_storage", beside)
        with pytest.raises(Conflict, match=r"storage driver 'overlay' still has .* it is new, or in use"):
            migrate(engine, "overlay", "vfs")
    new = engine.containers.find("new")
    assert files(engine, container) == {"a/1": "1", "own": "own"}
    assert files(engine, new) == {"a/1": "1"}
    migrate(engine, "overlay", "vfs")
    assert files(engine, new) == {"a/1": "1"}
    assert keys(engine, "overlay") == set()


def test_the_original_stays_while_its_files_are_read(
    make: Callable[[str], Container], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make("overlay")
    real, locked = garbage.remove_snapshots, []

    def watched(storage: StorageDriver, removed: Any) -> set[str]:
        removed = list(removed)
        if container.id in removed:
            locked.append(is_locked(engine.paths.container(container.id)))
        return real(storage, removed)

    monkeypatch.setattr(emptying, "remove_snapshots", watched)
    migrate(engine, "overlay", "vfs", "moved")
    assert locked == [True]


def test_nobody_moves_back_what_is_being_cleared(
    make: Callable[[str], Container], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make("overlay")
    real = emptying.Emptying.run

    def beside(*arguments: Any, **options: Any) -> None:
        with pytest.raises(Conflict, match="another migration of this store is at work"):
            migrate(engine, "vfs", "overlay")
        real(*arguments, **options)

    monkeypatch.setattr(emptying.Emptying, "run", beside)
    migrate(engine, "overlay", "vfs")
    assert files(engine, container) == {"a/1": "1", "own": "own"}


@pytest.mark.parametrize("home", ["overlay", "vfs"])
def test_an_original_goes_only_when_another_driver_has_the_container(
    make: Callable[[str], Container], engine: Engine, home: str
) -> None:
    container = make("overlay")
    plan = Migration(engine, "overlay", "vfs", tell=lambda _step: None).plan(["moved"])
    engine.records.set_storage(container.id, home)  # of which vfs has nothing
    emptying.Emptying(engine, "overlay").run(plan, everything=False)
    garbage.collect(engine)
    assert container.id in keys(engine, "overlay")


def leave_behind(engine: Engine, key: str, name: str, parent: str | None = None) -> None:
    """Leave a container's snapshot on a driver, as a migration that is killed does."""
    engine.close()

    def prepare() -> None:
        driver(engine.reopened(), name).prepare(key, parent, labels={OWNER_LABEL: owner()})

    Forked(prepare).result()
    assert key in keys(engine, name)


def test_a_clean_up_leaves_what_a_migration_makes_anew_under_its_eyes(
    make: Callable[[str], Container], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make("overlay")
    leave_behind(engine, container.id, "vfs")
    storage: Any = driver(engine, "vfs")
    real = storage.walk

    def listed() -> Iterator[Any]:
        found = list(real())
        storage.remove(container.id)
        storage.prepare(container.id, None, labels={OWNER_LABEL: owner()})
        return iter(found)

    monkeypatch.setattr(storage, "walk", listed)
    garbage.collect(engine)
    assert container.id in {snapshot.key for snapshot in real()}


def test_a_layer_that_the_target_has_damaged_is_copied_anew_unless_something_else_needs_it(
    make: Callable[[str], Container], engine: Engine, empty_swapbox: Sandbox
) -> None:
    container = make("overlay")
    chain = container.config.top_chain
    create = ("create", "--network", "none", "--storage-driver", "vfs", "--name", "other")
    empty_swapbox.ok(*create, container.config.image, "none")
    tree = Path(driver(engine, "vfs").view("test-look", chain)[0].source)
    (tree / "a/1").write_text("")  # as a loss of power may leave it
    driver(engine, "vfs").remove("test-look")
    leave_behind(engine, container.id, "vfs", chain)

    refused = empty_swapbox("storage", "migrate", "overlay", "vfs")
    assert refused.code == 1
    other = engine.containers.find("other").id
    assert f"hint: {other} builds on it there: remove that container, or that layer's image" in refused.err
    assert files(engine, container) == {"a/1": "1", "own": "own"}
    empty_swapbox.ok("rm", "other")
    done = empty_swapbox("storage", "migrate", "overlay", "vfs")
    assert done.code == 0
    assert f"layer {chain} is another tree on storage driver 'vfs': it is copied anew" in done.err
    assert files(engine, container) == {"a/1": "1", "own": "own"}
    assert keys(engine, "overlay") == set()


def test_no_clean_up_comes_between_removing_a_leftover_and_making_the_snapshot(
    make: Callable[[str], Container], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make("overlay")
    leave_behind(engine, container.id, "vfs")
    storage: Any = driver(engine, "vfs")
    held = []

    def watch(name: str) -> None:
        real = getattr(storage, name)

        def watched(key: str, *arguments: Any, **options: Any) -> Any:
            if key == container.id:
                held.append((name, is_locked(engine.paths.root / "removal.lock")))
            return real(key, *arguments, **options)

        monkeypatch.setattr(storage, name, watched)

    watch("remove")
    watch("prepare")
    migrate(engine, "overlay", "vfs", "moved")
    assert held == [("remove", True), ("prepare", True)]
    assert files(engine, container) == {"a/1": "1", "own": "own"}
