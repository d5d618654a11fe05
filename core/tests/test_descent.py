"""Walks by descriptors: any depth, and nothing of what strangers do meanwhile leads out of the tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.linux.descent import KEPT, Descent, walk
from swapbox.linux.trees import remove_tree


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)
    remove_tree(tmp_path)


def deep(depth: int, root: int) -> None:
    fd = os.dup(root)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_PATH | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_names_come_in_order_and_parents_first(tmp_path: Path, root: int) -> None:
    for name in ("b", "a/x", "a-b"):
        (tmp_path / name).mkdir(parents=True)
    assert [node.path for node in walk(root)] == [b"a", b"a/x", b"a-b", b"b"]


def test_a_link_is_told_of_and_not_followed(tmp_path: Path, root: int) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert [node.path for node in walk(root)] == [b"link"]


def test_a_tree_may_be_deeper_than_there_are_descriptors(root: int) -> None:
    deep(1500, root)
    assert sum(1 for _ in walk(root)) == 1500
    assert len(os.listdir("/proc/self/fd")) < 200


def test_a_directory_that_turns_into_a_link_is_not_entered(tmp_path: Path, root: int) -> None:
    (tmp_path / "dir").mkdir()
    found = walk(root)
    assert next(found).path == b"dir"
    (tmp_path / "dir").rmdir()
    (tmp_path / "dir").symlink_to("/etc")
    assert list(found) == []


def test_the_way_back_from_a_directory_that_was_moved_is_refused(tmp_path: Path, root: int) -> None:
    deep(KEPT + 2, root)
    with Descent(root) as place:
        for _ in range(KEPT + 2):
            assert place.enter(b"d")
        os.rename(os.readlink(f"/proc/self/fd/{place.fd}"), tmp_path / "elsewhere")
        with pytest.raises(OSError, match="was moved"):
            place.leave()
