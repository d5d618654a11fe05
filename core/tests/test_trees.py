"""Deleting and measuring trees that containers have made."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from swapbox.drivers.storage import Mount
from swapbox.linux import mounts
from swapbox.linux.trees import disk_usage, remove_tree
from swapbox.testing.forked import Forked, in_mount_namespace


def make_deep(top: Path, levels: int) -> None:
    """Make nested directories whose whole path is longer than any system call takes."""
    directory = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("directory", dir_fd=directory)
        below = os.open("directory", os.O_RDONLY, dir_fd=directory)
        os.close(os.open("file", os.O_CREAT, dir_fd=directory))
        os.close(directory)
        directory = below
    os.close(directory)


def test_a_tree_deeper_than_a_path_can_be_is_deleted(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    make_deep(tree, 1500)
    remove_tree(tree)
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_is_not_there_is_deleted_already(tmp_path: Path) -> None:
    remove_tree(tmp_path / "none")


def test_symbolic_links_are_deleted_and_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("nowhere")
    remove_tree(tree)
    assert [path.name for path in tmp_path.rglob("*")] == ["outside", "file"]


def test_a_link_in_place_of_the_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "tree").symlink_to("outside")
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "tree")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_closed_directories_are_deleted_without_privilege(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)

    def as_nobody() -> bool:
        os.chdir(home)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        tree = Path("tree")
        (tree / "closed/inside").mkdir(parents=True)
        (tree / "closed").chmod(0)
        tree.chmod(0o500)
        remove_tree(tree)
        return tree.exists()

    assert Forked(as_nobody).result() is False


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_mount_point_inside_is_an_error_and_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "tree/point").mkdir(parents=True)
    (tmp_path / "source").mkdir()

    def remove() -> str:
        mounts.apply([Mount("tmpfs", "tmpfs")], tmp_path / "tree/point")
        with pytest.raises(OSError, match="point"):
            remove_tree(tmp_path / "tree")
        return "refused"

    assert in_mount_namespace(remove) == "refused"


def test_usage_counts_blocks_and_each_inode_once(tmp_path: Path) -> None:
    empty, _ = disk_usage(tmp_path)
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    (tmp_path / "link").hardlink_to(tmp_path / "file")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    with (tmp_path / "hole").open("w") as file:
        file.truncate(1 << 30)
    size, inodes = disk_usage(tmp_path)
    assert inodes == 5
    assert 100_000 <= size - empty < 200_000


def test_a_directory_that_becomes_a_link_is_not_measured_where_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below, host = tmp_path / "tree/below", tmp_path / "host"
    below.mkdir(parents=True)
    host.mkdir()
    (host / "file").touch()
    scandir = os.scandir

    def quick(where: int | str) -> nullcontext[list[os.DirEntry[str]]]:
        """List a directory; as soon as that is done the container has put a link in place of one."""
        with scandir(where) as found:
            entries = list(found)
        for entry in entries:
            entry.stat(follow_symlinks=False)  # the entry remembers it
        if not below.is_symlink():
            below.rename(tmp_path / "moved")
            below.symlink_to(host)
        return nullcontext(entries)

    monkeypatch.setattr(os, "scandir", quick)
    assert disk_usage(tmp_path / "tree")[1] == 2
