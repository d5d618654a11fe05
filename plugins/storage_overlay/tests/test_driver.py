"""What is overlay's own: its mount options, its probe, and what it leaves after a crash."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox import DriverContext, ProbeResult, Supported, Unsupported
from swapbox.drivers.storage import Mount
from swapbox.errors import InvalidInput
from swapbox.errors import Unsupported as UnsupportedError
from swapbox.linux import mounts, syscalls
from swapbox.testing.forked import Forked, in_mount_namespace, mounted
from swapbox_storage_overlay import driver as driver_module
from swapbox_storage_overlay.driver import Driver
from swapbox_storage_overlay.probe import probe

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path / "root")
    yield driver
    driver.close()


def commit(driver: Driver, *names: str) -> None:
    parent = None
    for name in names:
        driver.prepare("active", parent)
        driver.commit(name, "active")
        parent = name


def test_layers_are_listed_from_the_nearest_down(driver: Driver, tmp_path: Path) -> None:
    commit(driver, "one", "two")
    at = tmp_path / "root/snapshots"
    options = (
        f"lowerdir={at}/2/fs:{at}/1/fs",
        f"upperdir={at}/3/fs",
        f"workdir={at}/3/work",
        *("index=off", "metacopy=off", "redirect_dir=off"),
    )
    assert driver.prepare("active", "two") == (Mount("overlay", "overlay", options),)


def test_one_layer_is_seen_without_its_marks_and_an_empty_tree_is_bound(driver: Driver, tmp_path: Path) -> None:
    commit(driver, "one")
    at = tmp_path / "root/snapshots"
    [view] = driver.view("view", "one")
    assert view.options[:2] == (f"lowerdir={at}/1/fs:{at}/2/fs", "ro")
    assert driver.prepare("active", None) == (Mount("bind", f"{at}/3/fs", ("bind",)),)
    assert driver.view("empty", None) == (Mount("bind", f"{at}/4/fs", ("bind", "ro")),)


def test_a_view_of_several_layers_has_no_upper_directory(driver: Driver) -> None:
    commit(driver, "one", "two")
    [mount] = driver.view("view", "two")
    assert "ro" in mount.options
    assert not [option for option in mount.options if option.startswith(("upperdir", "workdir"))]


def test_without_privilege_marks_are_user_attributes(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "root", unprivileged=True)
    commit(driver, "one")
    [mount] = driver.prepare("active", "one")
    assert "userxattr" in mount.options
    assert driver.layer_target("active").whiteouts == "overlay-user"
    driver.close()


@pytest.mark.root
@needs_root
def test_the_root_may_have_any_name(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "a:b,c\\d e")
    commit(driver, "one", "two")
    driver.prepare("three", "two")
    (driver.layer_target("three").path / "file").touch()
    assert mounted(driver.mounts("three"), os.listdir) == ["file"]
    driver.close()


def test_more_layers_than_the_kernel_takes_are_refused(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(driver, "one", "two", "three")
    monkeypatch.setattr(driver_module, "_MOST_LAYERS", 2)
    with pytest.raises(UnsupportedError, match="overlay takes 2 layers"):
        driver.prepare("active", "three")
    driver.prepare("active", "two")


def test_only_an_active_snapshot_has_changes(driver: Driver) -> None:
    commit(driver, "one")
    with pytest.raises(InvalidInput, match="one"):
        list(driver.changes("one"))


def test_directories_are_closed_to_others_and_trees_are_not(driver: Driver, tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        other = Driver(tmp_path / "other")
        other.prepare("active", None)
        other.close()
    finally:
        os.umask(mask)
    modes = {
        path: oct((tmp_path / "other" / path).stat().st_mode & 0o7777)
        for path in ("snapshots", "snapshots/1", "snapshots/1/fs", "snapshots/1/work")
    }
    assert list(modes.values()) == ["0o700", "0o700", "0o755", "0o700"]


# Crashes


def die_in_prepare(driver: Driver) -> None:
    """Be killed after the directories are made and before the record is committed."""
    driver._mounts = lambda _chain: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment,return-value]
    driver.prepare("killed", None)


def test_what_a_killed_prepare_left_is_cleaned_up(driver: Driver, tmp_path: Path) -> None:
    commit(driver, "one")
    with pytest.raises(AssertionError, match="ended with -9"):
        Forked(lambda: die_in_prepare(Driver(tmp_path / "root"))).result()
    assert sorted(os.listdir(tmp_path / "root/snapshots")) == ["1", "2"]
    assert [info.key for info in driver.walk()] == ["one"]
    assert driver.cleanup() == 1
    assert os.listdir(tmp_path / "root/snapshots") == ["1"]
    assert driver.cleanup() == 0


def test_what_a_killed_prepare_left_is_not_in_the_way(driver: Driver, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with -9"):
        Forked(lambda: die_in_prepare(Driver(tmp_path / "root"))).result()
    (tmp_path / "root/snapshots/1/fs/stale").touch()
    driver.prepare("killed", None)
    assert os.listdir(driver.layer_target("killed").path) == []


def test_records_of_lost_directories_go_with_all_that_builds_on_them(driver: Driver, tmp_path: Path) -> None:
    commit(driver, "one", "two", "three")
    driver.prepare("beside", "one")
    shutil.rmtree(tmp_path / "root/snapshots/2")
    assert driver.cleanup() == 2
    assert {info.key for info in driver.walk()} == {"one", "beside"}
    assert len(os.listdir(tmp_path / "root/snapshots")) == 2


# The probe


def context(place: Path, *, unprivileged: bool = False) -> DriverContext:
    return DriverContext(root=place / "no/such/yet", run_root=place / "run", unprivileged=unprivileged)


@pytest.mark.root
@needs_root
class TestProbe:
    @pytest.mark.parametrize("unprivileged", [False, True])
    def test_it_mounts_once_and_leaves_only_its_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, unprivileged: bool
    ) -> None:
        verdict = probe(context(tmp_path, unprivileged=unprivileged))
        if not isinstance(verdict, Supported):
            pytest.skip(str(verdict))
        assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["run", "run/probed"]
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
        monkeypatch.delattr(os, "fork")
        assert probe(context(tmp_path, unprivileged=unprivileged)) == Supported()
        with pytest.raises(AttributeError):  # another question is asked anew
            probe(context(tmp_path, unprivileged=not unprivileged))

    def test_overlay_on_overlay_is_unsupported_and_asked_again(self, tmp_path: Path) -> None:
        def act() -> ProbeResult:
            driver = Driver(tmp_path / "root")
            commit(driver, "one")
            place = tmp_path / "place"
            place.mkdir()
            mounts.apply(driver.prepare("active", "one"), place)
            return probe(context(place)._replace(run_root=tmp_path / "run"))

        verdict = in_mount_namespace(act)
        assert isinstance(verdict, Unsupported)
        assert f"the file system of {tmp_path}/place cannot carry overlay" in verdict.reason
        assert not (tmp_path / "run").exists()

    def test_another_user_mounts_in_a_user_namespace(self, tmp_path: Path) -> None:
        os.chown(tmp_path, 65534, 65534)

        def as_nobody() -> ProbeResult:
            os.chdir(tmp_path)  # from here on relative: nobody may not look into the directories above
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # as after the execve of a login: /proc/self is one's own
            return probe(context(Path(), unprivileged=True))

        verdict = Forked(as_nobody).result()
        if verdict == Unsupported("mounting overlay is not permitted"):
            pytest.skip("this host lets no other user make user namespaces")
        assert verdict == Supported()
        assert os.listdir(tmp_path) == ["run"]

    def test_a_place_that_cannot_be_written_is_unsupported(self, tmp_path: Path) -> None:
        def act(tree: Path) -> ProbeResult:
            return probe(context(tree))

        verdict = mounted([Mount("tmpfs", "tmpfs", ("ro",))], act)
        assert isinstance(verdict, Unsupported)
        assert "cannot write to /mnt/tree: Read-only file system" in verdict.reason
