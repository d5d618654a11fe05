"""What every storage driver has to do. Subclass :class:`StorageDriverContract` and give it your spec::

    class TestContract(StorageDriverContract):
        spec = next(swapbox_storage_vfs.swapbox_storage_drivers())

The cases are those of containerd's snapshot test suite and some of our own. Cases about an optional power run when
the spec names the capability. Mounts are made in forked children, so a failing case leaves none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from swapbox.drivers.common import DriverContext, Supported
from swapbox.drivers.storage import Change, StorageDriver, StorageDriverSpec
from swapbox.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from swapbox.testing.forked import Forked, mounted
from swapbox.testing.layerings import LAYERINGS, Step, delete, describe, make_opaque, nothing, write_all

TestT = TypeVar("TestT", bound=Callable[..., object])

root = pytest.mark.root
DEEPEST_CHAIN = 128


def needs(capability: str) -> Callable[[TestT], TestT]:
    """Run a case only for drivers with this capability."""

    def mark(case: TestT) -> TestT:
        case.__dict__["capability"] = capability
        return case

    return mark


class StorageDriverContract:
    """The cases. Those that mount need root.

    :cvar spec: what the plugin offers.
    :cvar exempt: names of cases that this driver cannot pass, each with its reason, which the test run prints.
    :cvar unprivileged: what the driver is told about the engine.
    """

    spec: ClassVar[StorageDriverSpec]
    exempt: ClassVar[Mapping[str, str]] = {}
    unprivileged: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def choose(self, request: pytest.FixtureRequest) -> None:
        """Skip a case that is not for this driver or user."""
        case = request.function
        capability = getattr(case, "capability", None)
        if case.__name__ in self.exempt:
            pytest.skip(f"exempt: {self.exempt[case.__name__]}")
        if capability is not None and capability not in self.spec.capabilities:
            pytest.skip(f"{self.spec.name} has no capability {capability}")
        if request.node.get_closest_marker("root") and os.geteuid() != 0:
            pytest.skip("needs root")

    @pytest.fixture
    def context(self, tmp_path: Path) -> DriverContext:
        """Return what the factory is given."""
        options = {option.name: option.default for option in self.spec.options if option.default is not None}
        context = DriverContext(tmp_path / "root", tmp_path / "run", options, self.unprivileged)
        verdict = self.spec.probe(context)
        if not isinstance(verdict, Supported):
            pytest.skip(f"{self.spec.name} says: {verdict}")
        return context

    @pytest.fixture
    def driver(self, context: DriverContext) -> Iterator[Any]:
        """Return the driver under test; Any, because what it can do depends on its capabilities."""
        driver = self.spec.factory(context)
        yield driver
        driver.close()

    # Keys and kinds

    def test_an_active_snapshot_is_stated_as_it_was_made(self, driver: StorageDriver) -> None:
        assert driver.prepare("one", None, labels={"a": "b"})
        info = driver.stat("one")
        assert (info.key, info.kind, info.parent, dict(info.labels)) == ("one", "active", None, {"a": "b"})

    def test_a_committed_snapshot_takes_the_place_of_the_active_one(self, driver: StorageDriver) -> None:
        driver.prepare("one-active", None, labels={"a": "b"})
        driver.commit("one", "one-active", labels={"c": "d"})
        info = driver.stat("one")
        assert (info.key, info.kind, info.parent) == ("one", "committed", None)
        assert dict(info.labels) == {"a": "b", "c": "d"}
        with pytest.raises(NotFound, match="one-active"):
            driver.stat("one-active")

    def test_parents_lead_to_the_first_layer(self, driver: StorageDriver) -> None:
        commit(driver, "a", None)
        commit(driver, "b", "a")
        driver.prepare("c", "b")
        parents = {key: driver.stat(key).parent for key in ("a", "b", "c")}
        assert parents == {"a": None, "b": "a", "c": "b"}

    @pytest.mark.parametrize("first", ["prepare", "view"])
    @pytest.mark.parametrize("second", ["prepare", "view"])
    def test_a_key_is_taken_once(self, driver: StorageDriver, first: str, second: str) -> None:
        commit(driver, "base", None)
        getattr(driver, first)("taken", "base")
        with pytest.raises(AlreadyExists, match="taken"):
            getattr(driver, second)("taken", "base")
        with pytest.raises(AlreadyExists, match="base"):
            getattr(driver, second)("base", None)
        assert driver.stat("taken").kind == ("active" if first == "prepare" else "view")

    def test_a_taken_name_leaves_the_active_snapshot_as_it_is(self, driver: StorageDriver) -> None:
        commit(driver, "taken", None)
        driver.prepare("active", None)
        with pytest.raises(AlreadyExists, match="taken"):
            driver.commit("taken", "active")
        assert driver.stat("active").kind == "active"
        driver.commit("free", "active")

    @pytest.mark.parametrize("method", ["prepare", "view"])
    @pytest.mark.parametrize("parent", ["prepare", "view"])
    def test_only_a_committed_snapshot_can_be_a_parent(
        self, driver: StorageDriver, method: str, parent: str
    ) -> None:
        getattr(driver, parent)("parent", None)
        with pytest.raises(InvalidInput, match="parent"):
            getattr(driver, method)("child", "parent")
        with pytest.raises(NotFound, match="child"):
            driver.stat("child")

    def test_an_unknown_key_is_not_found(self, driver: StorageDriver) -> None:
        calls: list[Callable[[str], object]] = [
            driver.stat,
            driver.mounts,
            driver.usage,
            driver.remove,
            partial(driver.commit, "name"),
            partial(driver.prepare, "new"),
            partial(driver.view, "new"),
        ]
        for call in calls:
            with pytest.raises(NotFound, match="unknown"):
                call("unknown")
        assert list(driver.walk()) == []

    def test_only_an_active_snapshot_can_be_committed(self, driver: StorageDriver) -> None:
        commit(driver, "base", None)
        driver.view("view", "base")
        for key in ("base", "view"):
            with pytest.raises(InvalidInput, match=key):
                driver.commit("name", key)

    def test_a_committed_snapshot_has_no_mounts(self, driver: StorageDriver) -> None:
        commit(driver, "base", None)
        with pytest.raises(InvalidInput, match="base"):
            driver.mounts("base")

    def test_any_text_is_a_key(self, driver: StorageDriver, tmp_path: Path) -> None:
        keys = ["sha256:00ff", "../../../escaped", "/absolute", "a b", "é", "-x", "%s", "'; --", "k" * 300]
        before = set(os.listdir(tmp_path))
        for key in keys:
            driver.prepare(key, None)
        assert {info.key for info in driver.walk()} == set(keys)
        assert set(os.listdir(tmp_path)) <= before | {"root", "run"}
        for key in keys:
            driver.remove(key)

    # Removal

    @pytest.mark.parametrize("child", ["prepare", "view", "commit"])
    def test_a_parent_cannot_be_removed_before_its_children(self, driver: StorageDriver, child: str) -> None:
        commit(driver, "parent", None)
        if child == "commit":
            commit(driver, "child", "parent")
        else:
            getattr(driver, child)("child", "parent")
        with pytest.raises(Conflict, match="parent"):
            driver.remove("parent")
        driver.remove("child")
        driver.remove("parent")
        assert list(driver.walk()) == []

    def test_a_chain_is_removed_from_the_top_only(self, driver: StorageDriver) -> None:
        commit(driver, "bottom", None)
        commit(driver, "middle", "bottom")
        driver.prepare("top", "middle")
        with pytest.raises(Conflict, match="middle"):
            driver.remove("middle")
        for key in ("top", "middle", "bottom"):
            driver.remove(key)

    def test_a_removed_key_is_free_again(self, driver: StorageDriver) -> None:
        commit(driver, "base", None)
        driver.prepare("reused", "base")
        driver.remove("reused")
        driver.view("reused", "base")
        driver.remove("reused")
        driver.prepare("reused", None)
        driver.remove("base")
        driver.commit("base", "reused")
        assert driver.stat("base").parent is None

    # Walks, reopening, several processes

    def test_a_walk_meets_every_snapshot_as_stat_tells_it(self, driver: StorageDriver) -> None:
        commit(driver, "base", None)
        commit(driver, "next", "base")
        driver.prepare("active", "next", labels={"a": "b"})
        driver.view("view", "next")
        driver.view("empty", None)
        walked = {info.key: info for info in driver.walk()}
        assert walked == {key: driver.stat(key) for key in ("base", "next", "active", "view", "empty")}

    def test_snapshots_can_be_removed_during_a_walk(self, driver: StorageDriver) -> None:
        for number in range(5):
            driver.prepare(str(number), None)
        for info in driver.walk():
            driver.remove(info.key)
        assert list(driver.walk()) == []

    def test_closing_twice_is_fine(self, driver: StorageDriver) -> None:
        commit(driver, "one", None)
        driver.remove("one")
        driver.close()
        driver.close()

    def test_another_process_sees_the_same_snapshots_and_mounts(
        self, driver: StorageDriver, context: DriverContext
    ) -> None:
        commit(driver, "base", None)
        commit(driver, "next", "base")
        made = driver.prepare("active", "next")
        viewed = driver.view("view", "next")
        assert driver.mounts("active") == made

        def seen() -> tuple[object, ...]:
            other = self.spec.factory(context)
            return other.mounts("active"), other.mounts("view"), sorted(info.key for info in other.walk())

        assert Forked(seen).result() == (made, viewed, ["active", "base", "next", "view"])

    def test_of_several_processes_that_prepare_one_key_one_wins(self, context: DriverContext) -> None:
        go, wait = os.pipe()

        def race() -> bool:
            os.close(wait)
            os.read(go, 1)  # ends when the parent has closed the other end
            driver = self.spec.factory(context)
            try:
                driver.prepare("wanted", None)
            except AlreadyExists:
                return False
            return True

        racers = [Forked(race) for _ in range(6)]
        os.close(go)
        os.close(wait)
        assert sorted(racer.result() for racer in racers) == [False] * 5 + [True]
        assert [info.key for info in self.spec.factory(context).walk()] == ["wanted"]

    def test_cleaning_up_leaves_what_is_in_use(self, driver: StorageDriver) -> None:
        commit(driver, "base", None)
        driver.prepare("active", "base")
        driver.view("view", "base")
        assert driver.cleanup() == 0
        assert {info.key for info in driver.walk()} == {"base", "active", "view"}

    # Files, through mounts

    @root
    def test_prepare_commit_and_view(self, driver: StorageDriver) -> None:
        def first(tree: Path) -> None:
            (tree / "a/b/c").mkdir(parents=True)
            (tree / "foo").write_text("foo")

        def second(tree: Path) -> None:
            (tree / "foo").write_text("bar")
            (tree / "bar").write_text("bar")
            (tree / "a/b/c").rmdir()
            (tree / "a/b").rmdir()

        self.commit_layers(driver, [first, second])
        seen = mounted(driver.view("look", "layer-1"), describe)
        assert sorted(seen) == [".", "a", "bar", "foo"]
        assert sorted(mounted(driver.view("below", "layer-0"), describe)) == [".", "a", "a/b", "a/b/c", "foo"]

    @root
    @pytest.mark.parametrize("name", LAYERINGS)
    def test_layers_add_up_to_the_same_tree_as_steps_on_one_directory(
        self, driver: StorageDriver, tmp_path: Path, name: str
    ) -> None:
        model = tmp_path / "model"
        model.mkdir(mode=0o755)
        parent = None
        for number, step in enumerate(LAYERINGS[name]):
            step(model)
            self.commit_layers(driver, [step], parent=parent, name=f"{number}-")
            parent = f"{number}-0"
            assert mounted(driver.view(f"view-{number}", parent), describe) == describe(model), f"layer {number}"

    @root
    def test_a_long_chain_can_be_mounted(self, driver: StorageDriver, tmp_path: Path) -> None:
        def step(number: int, tree: Path) -> None:
            (tree / "overwritten").write_text(str(number))
            (tree / "shared").mkdir(exist_ok=True)
            (tree / "shared" / str(number)).touch()
            for old in (tree / "mine").glob("*"):
                old.unlink()
            if number:
                (tree / "mine").rmdir()
            (tree / "mine").mkdir()
            (tree / "mine" / str(number)).touch()

        model = tmp_path / "model"
        model.mkdir(mode=0o755)
        steps = [partial(step, number) for number in range(DEEPEST_CHAIN)]
        for each in steps:
            each(model)
        self.commit_layers(driver, steps)
        top = f"layer-{DEEPEST_CHAIN - 1}"
        assert mounted(driver.view("view", top), describe) == describe(model)
        assert mounted(driver.prepare("active", top), describe) == describe(model)

    @root
    @pytest.mark.parametrize("depth", [0, 1, 2])
    def test_a_view_cannot_be_written(self, driver: StorageDriver, depth: int) -> None:
        self.commit_layers(driver, [nothing] * depth)
        mounts = driver.view("view", f"layer-{depth - 1}" if depth else None)

        def write(tree: Path) -> int | None:
            try:
                (tree / "file").touch()
            except OSError as error:
                return error.errno
            return 0

        assert mounted(mounts, write) == errno.EROFS

    @root
    def test_siblings_and_parents_are_not_touched_by_a_write(self, driver: StorageDriver) -> None:
        self.commit_layers(driver, [lambda tree: (tree / "file").write_text("base")])
        one, two = driver.prepare("one", "layer-0"), driver.prepare("two", "layer-0")
        mounted(one, lambda tree: (tree / "file").write_text("changed"))
        read = partial(mounted, action=lambda tree: (tree / "file").read_text())
        contents = read(driver.mounts("one")), read(two), read(driver.view("view", "layer-0"))
        assert contents == ("changed", "base", "base")

    @root
    def test_the_root_of_a_tree_is_open_to_all_and_keeps_its_mode(self, driver: StorageDriver) -> None:
        def mode(tree: Path) -> str:
            return oct(tree.stat().st_mode & 0o7777)

        mask = os.umask(0o077)
        try:
            assert mounted(driver.prepare("new", None), mode) == "0o755"
        finally:
            os.umask(mask)
        self.commit_layers(driver, [lambda tree: tree.chmod(0o1711), nothing])
        assert mounted(driver.prepare("child", "layer-1"), mode) == "0o1711"
        assert mounted(driver.view("view", "layer-1"), mode) == "0o1711"

    @root
    def test_usage_counts_what_was_written(self, driver: StorageDriver) -> None:
        self.commit_layers(driver, [nothing])
        mounts = driver.prepare("active", "layer-0")
        before = driver.usage("active")

        def write(tree: Path) -> None:
            (tree / "file").write_bytes(os.urandom(1 << 20))
            (tree / "link").hardlink_to(tree / "file")
            (tree / "empty").touch()

        mounted(mounts, write)
        after = driver.usage("active")
        assert 1 << 20 <= after.size - before.size < 2 << 20
        assert after.inodes - before.inodes == 2

    # Optional powers

    @needs("direct")
    def test_only_an_active_snapshot_is_written_directly(self, driver: Any) -> None:
        commit(driver, "base", None)
        driver.view("view", "base")
        for key in ("base", "view"):
            with pytest.raises(InvalidInput, match=key):
                driver.layer_target(key)
        with pytest.raises(NotFound, match="unknown"):
            driver.layer_target("unknown")

    @root
    @needs("direct")
    def test_a_layer_written_directly_is_what_a_mount_shows(self, driver: Any) -> None:
        self.commit_layers(driver, [lambda tree: write_all(tree, "gone", "kept", "opaque/old", "merged/old")])
        driver.prepare("active", "layer-0")
        target = driver.layer_target("active")
        write_all(target.path, "new", "opaque/new", "merged/new")
        delete(target.path / "gone", target.whiteouts)
        make_opaque(target.path / "opaque", target.whiteouts, keep={"new"})
        expected = ["kept", "merged", "merged/new", "merged/old", "new", "opaque", "opaque/new"]
        assert sorted(mounted(driver.mounts("active"), describe)) == [".", *expected]
        driver.commit("layer-1", "active")
        assert sorted(mounted(driver.view("view", "layer-1"), describe)) == [".", *expected]

    @root
    @needs("changes")
    def test_changes_are_listed_as_docker_diff_does(self, driver: Any) -> None:
        def base(tree: Path) -> None:
            write_all(tree, "etc/passwd", "etc/group", "lib/one/file", "lib/two/file", "same")
            write_all(tree, "remade/a", "remade/b/c")
            (tree / "type").mkdir()

        def change(tree: Path) -> None:
            (tree / "etc/passwd").write_text("changed")
            (tree / "etc/group").unlink()
            write_all(tree, "new/file")
            for path in ("lib/two/file", "remade/a", "remade/b/c"):
                (tree / path).unlink()
            for path in ("lib/two", "remade/b", "remade", "type"):
                (tree / path).rmdir()
            write_all(tree, "remade/b/new", "type")
            with (tree / "same").open("r+"):
                pass  # copied up, yet nothing about it is different

        self.commit_layers(driver, [base])
        mounted(driver.prepare("active", "layer-0"), change)
        assert list(driver.changes("active")) == [
            Change("C", "/etc"),
            Change("D", "/etc/group"),
            Change("C", "/etc/passwd"),
            Change("C", "/lib"),
            Change("D", "/lib/two"),
            Change("A", "/new"),
            Change("A", "/new/file"),
            Change("C", "/remade"),
            Change("D", "/remade/a"),
            Change("C", "/remade/b"),
            Change("D", "/remade/b/c"),
            Change("A", "/remade/b/new"),
            Change("C", "/type"),
        ]

    @root
    @needs("changes")
    def test_an_untouched_snapshot_has_no_changes(self, driver: Any) -> None:
        self.commit_layers(driver, [lambda tree: write_all(tree, "a/b")])
        mounted(driver.prepare("active", "layer-0"), describe)
        assert list(driver.changes("active")) == []

    @root
    @needs("rebase")
    def test_layers_unpacked_apart_are_put_on_top_of_each_other(self, driver: Any) -> None:
        def lower(tree: Path) -> None:
            write_all(tree, "gone", "kept")
            tree.chmod(0o711)

        driver.prepare("top", None)
        target = driver.layer_target("top")
        write_all(target.path, "new")
        delete(target.path / "gone", target.whiteouts)
        self.commit_layers(driver, [lower])
        driver.commit("layer-1", "top", parent="layer-0")
        assert driver.stat("layer-1").parent == "layer-0"
        seen = mounted(driver.view("view", "layer-1"), describe)
        assert sorted(seen) == [".", "kept", "new"]
        assert seen["."][0] == oct(0o40711)
        with pytest.raises(Conflict, match="layer-0"):
            driver.remove("layer-0")

    @root
    @needs("rebase")
    def test_a_root_that_a_layer_has_described_stays_as_it_is(self, driver: Any) -> None:
        self.commit_layers(driver, [lambda tree: tree.chmod(0o711)])
        driver.prepare("top", None)
        path = driver.layer_target("top").path
        for key in os.listxattr(path):
            os.removexattr(path, key)
        path.chmod(0o755)
        driver.commit("layer-1", "top", parent="layer-0")
        assert mounted(driver.view("view", "layer-1"), describe)["."][0] == oct(0o40755)

    @needs("rebase")
    def test_a_rebase_needs_a_committed_parent_and_a_snapshot_without_one(self, driver: StorageDriver) -> None:
        for key in ("base", "other"):
            commit(driver, key, None)
        driver.prepare("free", None)
        driver.prepare("bound", "base")
        with pytest.raises(NotFound, match="unknown"):
            driver.commit("name", "free", parent="unknown")
        with pytest.raises(InvalidInput, match="bound"):
            driver.commit("name", "free", parent="bound")
        with pytest.raises(InvalidInput, match="base"):
            driver.commit("name", "bound", parent="other")
        assert {driver.stat(key).kind for key in ("free", "bound")} == {"active"}

    def commit_layers(
        self, driver: StorageDriver, steps: Sequence[Step], *, parent: str | None = None, name: str = "layer-"
    ) -> None:
        """Commit ``layer-0``, ``layer-1``, ... on top of ``parent``, each after a step through its mounts."""
        for number, step in enumerate(steps):
            mounted(driver.prepare("writing", parent), partial(_take, step))
            parent = f"{name}{number}"
            driver.commit(parent, "writing")


def _take(step: Step, tree: Path) -> None:
    step(tree)  # and return nothing: what it returns may not be picklable


def commit(driver: StorageDriver, name: str, parent: str | None) -> None:
    """Make an empty committed snapshot."""
    driver.prepare(f"{name}-active", parent)
    driver.commit(name, f"{name}-active")
