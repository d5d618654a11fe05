"""What is vfs' own: a copy is exact, or there is none."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swapbox.errors import NotFound, Unavailable, Unsupported
from swapbox.testing.forked import Forked
from swapbox_storage_vfs import copying
from swapbox_storage_vfs.copying import copy_tree
from swapbox_storage_vfs.driver import Driver

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for owners and devices")
YEAR_2000 = 946_684_800_123_456_789


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path / "root")
    yield driver
    driver.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    return source


def copied(source: Path) -> Path:
    target = source.with_name("target")
    copy_tree(source, target)
    return target


def fail(code: int) -> Callable[..., int]:
    def call(*_arguments: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


class TestCopies:
    def test_times_are_kept_to_the_nanosecond(self, source: Path) -> None:
        (source / "directory").mkdir()
        (source / "directory/file").touch()
        (source / "directory/link").symlink_to("nowhere")
        for name in ("directory/file", "directory/link", "directory", "."):
            os.utime(source / name, ns=(YEAR_2000, YEAR_2000), follow_symlinks=False)
        target = copied(source)
        times = [path.lstat().st_mtime_ns for path in (target, *target.rglob("*"))]
        assert times == [YEAR_2000] * 4

    @pytest.mark.parametrize("fallback", [None, "share", "kernel"])
    def test_holes_stay_holes_whichever_way_data_is_copied(
        self, source: Path, monkeypatch: pytest.MonkeyPatch, fallback: str | None
    ) -> None:
        if fallback:
            monkeypatch.setattr(fcntl, "ioctl", fail(errno.EOPNOTSUPP))
        if fallback == "kernel":
            monkeypatch.setattr(os, "copy_file_range", fail(errno.EXDEV))
        with (source / "sparse").open("wb") as file:
            for offset in (1 << 22, 1 << 25):
                file.seek(offset)
                file.write(b"data" * 1000)
            file.truncate(1 << 26)
        (source / "hole").touch()
        os.truncate(source / "hole", 1 << 26)
        target = copied(source)
        for name in ("sparse", "hole"):
            assert (target / name).stat().st_blocks == (source / name).stat().st_blocks
            assert (target / name).read_bytes() == (source / name).read_bytes()

    def test_hard_links_stay_together_and_apart_from_the_original(self, source: Path) -> None:
        (source / "one").touch()
        (source / "sub").mkdir()
        (source / "sub/two").hardlink_to(source / "one")
        (source / "link").symlink_to("one")
        (source / "link2").hardlink_to(source / "link")
        target = copied(source)
        assert (target / "one").samefile(target / "sub/two")
        assert (target / "one").stat().st_nlink == 2
        assert not (target / "one").samefile(source / "one")
        assert (target / "link2").lstat().st_ino == (target / "link").lstat().st_ino

    def test_sockets_are_left_out(self, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(source)  # a socket's path has to be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
        (source / "file").touch()
        assert os.listdir(copied(source)) == ["file"]

    @pytest.mark.root
    @needs_root
    def test_set_user_id_and_capabilities_survive_the_change_of_owner(self, source: Path) -> None:
        capability = bytes.fromhex("0100000200200000000000000000000000000000")
        (source / "ping").touch()
        os.chown(source / "ping", 5, 6)
        (source / "ping").chmod(0o6755)
        os.setxattr(source / "ping", "security.capability", capability)
        target = copied(source)
        info = (target / "ping").stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (5, 6, 0o6755)
        assert os.getxattr(target / "ping", "security.capability") == capability


class TestCrashes:
    @pytest.fixture(autouse=True)
    def _layer(self, driver: Driver) -> None:
        driver.prepare("active", None)
        tree = driver.layer_target("active").path
        for number in range(3):
            (tree / str(number)).write_text("data")
        driver.commit("layer", "active")

    def test_a_copy_that_fails_leaves_nothing(
        self, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(copying, "_copy_range", fail(errno.ENOSPC))
        monkeypatch.setattr(fcntl, "ioctl", fail(errno.EOPNOTSUPP))
        with pytest.raises(Unavailable, match="cannot create snapshot new: No space left on device"):
            driver.prepare("new", "layer")
        with pytest.raises(NotFound):
            driver.stat("new")
        assert os.listdir(tmp_path / "root/snapshots") == ["1"]

    def test_a_killed_copy_is_cleaned_up_and_one_at_work_is_not(self, driver: Driver, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        copy_file = copying._copy_file

        def stop_after_one(source: str, target: str) -> None:
            copy_file(source, target)
            os.write(writer, b"x")
            signal.pause()

        def prepare() -> None:
            copying._copy_file = stop_after_one
            Driver(tmp_path / "root").prepare("new", "layer")

        child = Forked(prepare)
        os.read(reader, 1)
        assert driver.cleanup() == 0
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(AssertionError, match="ended with -9"):
            child.result()
        os.close(reader)
        os.close(writer)
        assert driver.cleanup() == 1
        assert os.listdir(tmp_path / "root/snapshots") == ["1"]
        driver.prepare("new", "layer")
        assert len(os.listdir(driver.layer_target("new").path)) == 3

    def test_a_killed_removal_is_finished_by_the_clean_up(self, driver: Driver, tmp_path: Path) -> None:
        driver._ledger.remove("layer")  # as remove() does before it deletes files
        assert driver.cleanup() == 1
        assert os.listdir(tmp_path / "root/snapshots") == []


def test_a_parent_cannot_be_set_at_commit(driver: Driver) -> None:
    driver.prepare("one-active", None)
    driver.commit("one", "one-active")
    driver.prepare("free", None)
    with pytest.raises(Unsupported, match="free"):
        driver.commit("two", "free", parent="one")
    driver.prepare("bound", "one")
    driver.commit("two", "bound", parent="one")


def test_a_view_copies_nothing(driver: Driver, tmp_path: Path) -> None:
    driver.prepare("active", None)
    driver.commit("one", "active")
    [mount] = driver.view("view", "one")
    assert mount == ("bind", str(tmp_path / "root/snapshots/1/fs"), ("bind", "ro"))
