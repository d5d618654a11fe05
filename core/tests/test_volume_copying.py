"""The copy of an image's files into a volume: exact, finished after a kill, and safe against a hostile volume."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.volumes import copying
from swapbox.volumes.copying import copy_into

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for owners and devices")
YEAR_2000 = 946_684_800_123_456_789


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def copy(source: Path, target: Path) -> None:
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (source, target)]
    try:
        copy_into(*fds)
    finally:
        for fd in fds:
            os.close(fd)


def test_content_modes_times_and_links_are_kept(source: Path, target: Path) -> None:
    (source / "sub/deep").mkdir(parents=True, mode=0o711)
    (source / "sub/deep/file").write_text("content")
    (source / "sub/hard").hardlink_to(source / "sub/deep/file")
    (source / "link").symlink_to("/etc/passwd")
    (source / "other").hardlink_to(source / "link")
    (source / "sub/deep/file").chmod(0o640)
    os.mkfifo(source / "fifo", 0o600)
    paths = [source, *source.rglob("*")]
    for path in sorted(paths, reverse=True):
        os.utime(path, ns=(YEAR_2000, YEAR_2000), follow_symlinks=False)
    source.chmod(0o1775)
    copy(source, target)
    for path in paths:
        here, there = path.lstat(), (target / path.relative_to(source)).lstat()
        assert (there.st_mode, there.st_nlink) == (here.st_mode, here.st_nlink)
        assert there.st_mtime_ns == here.st_mtime_ns
    assert (target / "sub/hard").read_text() == "content"
    assert (target / "sub/hard").samefile(target / "sub/deep/file")
    assert os.readlink(target / "link") == "/etc/passwd"
    assert (target / "link").lstat().st_ino == (target / "other").lstat().st_ino


@needs_root
def test_owners_attributes_and_devices_are_kept(source: Path, target: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    (source / "ping").touch()
    os.chown(source / "ping", 5, 6)
    (source / "ping").chmod(0o6755)
    os.setxattr(source / "ping", "security.capability", capability)
    os.setxattr(source, "user.key", b"value")
    (source / "link").symlink_to("nowhere")
    os.chown(source / "link", 7, 8, follow_symlinks=False)
    os.setxattr(source / "link", "trusted.key", b"value", follow_symlinks=False)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(source, 9, 10)
    copy(source, target)
    info = (target / "ping").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (5, 6, 0o6755)
    assert os.getxattr(target / "ping", "security.capability") == capability
    assert os.getxattr(target, "user.key") == b"value"
    link = (target / "link").lstat()
    assert (link.st_uid, link.st_gid) == (7, 8)
    assert os.getxattr(target / "link", "trusted.key", follow_symlinks=False) == b"value"
    assert (target / "null").lstat().st_rdev == os.makedev(1, 3)
    assert (target.stat().st_uid, target.stat().st_gid) == (9, 10)


def test_holes_stay_holes(source: Path, target: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.seek(1 << 22)
        file.write(b"data" * 1000)
        file.truncate(1 << 25)
    copy(source, target)
    assert (target / "sparse").stat().st_blocks == (source / "sparse").stat().st_blocks
    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()


def test_sockets_are_left_out(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source)  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    copy(source, target)
    assert os.listdir(target) == []


def test_a_tree_deeper_than_there_are_descriptors_is_copied(source: Path, target: Path) -> None:
    here = source
    for number in range(150):
        here = here / str(number)
        here.mkdir()
    (here / "file").touch()
    copy(source, target)
    assert (target / here.relative_to(source) / "file").exists()


def test_a_copy_is_finished_by_another_that_leaves_alone_what_is_there(source: Path, target: Path) -> None:
    for name in ("a", "b", "sub/c"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("image's")
    copy(source, target)
    (target / "a").write_text("container's")
    (target / "b").rename(target / ".swapbox-partial-x")
    (target / "sub/c").unlink()
    copy(source, target)
    assert sorted(path.name for path in target.rglob("*")) == ["a", "b", "c", "sub"]
    assert (target / "a").read_text() == "container's"
    assert (target / "b").read_text() == (target / "sub/c").read_text() == "image's"


def test_a_failed_copy_leaves_no_half_file(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError("full")

    (source / "file").write_text("content")
    monkeypatch.setattr(copying, "_copy_range", fail)
    with pytest.raises(OSError, match="full"):
        copy(source, target)
    assert os.listdir(target) == []


class TestHostileVolumes:
    @pytest.fixture
    def outside(self, tmp_path: Path) -> Iterator[Path]:
        """A directory that nothing may be written to."""
        (tmp_path / "outside").mkdir(mode=0o700)
        (tmp_path / "outside/file").write_text("secret")
        before = [(path.stat().st_mode, path.stat().st_nlink) for path in (tmp_path / "outside").rglob("*")]
        yield tmp_path / "outside"
        assert os.listdir(tmp_path / "outside") == ["file"]
        after = [(path.stat().st_mode, path.stat().st_nlink) for path in (tmp_path / "outside").rglob("*")]
        assert after == before
        assert (tmp_path / "outside/file").read_text() == "secret"

    def test_a_link_in_the_place_of_a_directory_is_not_entered(
        self, source: Path, target: Path, outside: Path
    ) -> None:
        (source / "sub").mkdir()
        (source / "sub/new").write_text("content")
        (target / "sub").symlink_to(outside)
        copy(source, target)

    def test_a_link_in_the_place_of_a_file_is_not_written_through(
        self, source: Path, target: Path, outside: Path
    ) -> None:
        (source / "file").write_text("content")
        (target / "file").symlink_to(outside / "file")
        copy(source, target)

    def test_a_directory_replaced_by_a_link_meanwhile_lends_no_hard_link(
        self, source: Path, target: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (source / "a").mkdir()
        (source / "a/file").write_text("content")
        (source / "b").hardlink_to(source / "a/file")
        make = copying._Copy._make

        def swap_then_make(self: copying._Copy, name: bytes, partial: bytes, info: os.stat_result) -> None:
            if name == b"b":
                (target / "a").rename(target / "moved")
                (target / "a").symlink_to(outside)
            make(self, name, partial, info)

        monkeypatch.setattr(copying._Copy, "_make", swap_then_make)
        copy(source, target)
        assert (target / "b").read_text() == "content"

    @needs_root
    def test_a_new_file_replaced_by_a_link_lends_no_owner_and_no_mode(
        self, source: Path, target: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.mkfifo(source / "fifo", 0o666)
        mknod = os.mknod

        def replace(name: bytes, mode: int, device: int, *, dir_fd: int) -> None:
            mknod(name, mode, device, dir_fd=dir_fd)
            os.unlink(name, dir_fd=dir_fd)
            os.symlink(outside / "file", name, dir_fd=dir_fd)

        monkeypatch.setattr(os, "mknod", replace)
        with pytest.raises(OSError, match="replaced"):
            copy(source, target)
