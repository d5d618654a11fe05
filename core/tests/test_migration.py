"""Trees: one digest for all that they are, and made equal."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swapbox.drivers.storage import SnapshotInfo
from swapbox.errors import DataError
from swapbox.linux import syscalls
from swapbox.migration.mirror import mirror
from swapbox.migration.plan import built_on, in_order
from swapbox.migration.trees import tree_digest
from swapbox.testing.forked import in_mount_namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes devices and gives files away: needs root")

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service+ep


@contextmanager
def opened(*paths: Path) -> Iterator[list[int]]:
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in paths]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def digest(path: Path, *, directory_times: bool = True) -> str:
    with opened(path) as (fd,):
        return tree_digest(fd, directory_times=directory_times)


def fill(root: Path) -> None:
    """Make one of everything."""
    (root / "dir/deep").mkdir(parents=True)
    (root / "dir/file").write_bytes(b"content")
    os.link(root / "dir/file", root / "dir/deep/hard")
    os.link(root / "dir/file", root / "a-hard")
    (root / "single").write_text("alone")
    (root / "link").symlink_to("dir/file")
    os.mkfifo(root / "pipe")
    os.mknod(root / "null", 0o020644, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
    (root / "set").write_text("x")
    os.chown(root / "set", 1000, 50)
    (root / "set").chmod(0o4711)
    os.setxattr(root / "set", "user.note", b"one")
    os.setxattr(root / "single", "security.capability", CAPABILITY)
    with (root / "holes").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    (root / os.fsdecode(b"bad\xff\nname")).touch()
    (root / "opaque").mkdir()
    (root / "opaque/old").touch()
    os.utime(root / "link", ns=(5, 7), follow_symlinks=False)
    os.utime(root / "dir", ns=(10**18, 10**18 + 1))
    (root / "dir/deep").chmod(0)
    root.chmod(0o1751)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    fill(root)
    return root


def record(*fields: bytes) -> bytes:
    return b"".join(b"%d:%b" % (len(field), field) for field in fields) + b"\n"


def test_the_digest_is_what_the_documentation_says(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    os.link(tmp_path / "b", tmp_path / "c")
    (tmp_path / "a").symlink_to("b")
    for name, mtime in (("b", 3), ("a", 2), (".", 1)):
        os.utime(tmp_path / name, ns=(0, mtime), follow_symlinks=False)
    (tmp_path / "b").chmod(0o640)
    tmp_path.chmod(0o755)
    expected = record(b"", b"%d" % 0o40755, b"0", b"0", b"1")
    expected += record(b"a", b"%d" % 0o120777, b"0", b"0", b"2", b"b")
    expected += record(b"b", b"%d" % 0o100640, b"0", b"0", b"3", b"1", hashlib.sha256(b"x").digest())
    expected += record(b"c", b"link", b"b")
    assert digest(tmp_path) == f"sha256:{hashlib.sha256(expected).hexdigest()}"


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: same_time(root / "single", lambda file: file.write_text("ALONE")),
    "size": lambda root: same_time(root / "single", lambda file: file.write_text("alone!")),
    "name": lambda root: same_time(root, lambda _: (root / "single").rename(root / "other")),
    "mode": lambda root: (root / "set").chmod(0o711),
    "owner": lambda root: os.chown(root / "link", 1, 0, follow_symlinks=False),
    "group": lambda root: os.chown(root / "pipe", 0, 1),
    "nanosecond": lambda root: os.utime(root / "link", ns=(5, 8), follow_symlinks=False),
    "time of a directory": lambda root: os.utime(root / "dir", ns=(10**18, 10**18)),
    "link": lambda root: same_time(root, lambda _: relink(root / "link", "dir/FILE")),
    "device": lambda root: same_time(root, lambda _: renode(root / "null", os.makedev(1, 5))),
    "attribute": lambda root: os.setxattr(root / "set", "user.note", b"two"),
    "attribute with overlay's name": lambda root: os.setxattr(root / "set", "user.overlay.note", b"one"),
    "attribute with a name of overlay's own": lambda root: os.setxattr(root / "set", "trusted.overlay.a", b"one"),
    "capability": lambda root: os.removexattr(root / "single", "security.capability"),
    "a name of its own": lambda root: same_time(root, lambda _: part(root / "a-hard")),
    "one name more": lambda root: same_time(root, lambda _: os.link(root / "a-hard", root / "z")),
    "mode of the root": lambda root: root.chmod(0o755),
}


def same_time(path: Path, change: Callable[[Path], object]) -> None:
    before = path.lstat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def relink(path: Path, target: str) -> None:
    before = path.lstat()
    path.unlink()
    path.symlink_to(target)
    os.utime(path, ns=(0, before.st_mtime_ns), follow_symlinks=False)


def renode(path: Path, device: int) -> None:
    before = path.lstat()
    path.unlink()
    os.mknod(path, before.st_mode, device)
    os.utime(path, ns=(0, before.st_mtime_ns))


def part(path: Path) -> None:
    before, content = path.lstat(), path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    path.chmod(before.st_mode & 0o7777)
    os.utime(path, ns=(0, before.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_changes_the_digest_and_is_mirrored(tree: Path, tmp_path: Path, change: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with opened(tree, copy) as (one, other):
        mirror(one, other, thorough=False)
        before = tree_digest(one)
        assert tree_digest(other) == before
        CHANGES[change](tree)
        assert tree_digest(one) != before
        mirror(one, other, thorough=change == "content")
        assert tree_digest(other) == tree_digest(one)


def test_what_is_alike_is_not_touched(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with opened(tree, copy) as (one, other):
        mirror(one, other, thorough=False)
        before = {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in copy.rglob("*")}
        mirror(one, other, thorough=True)
    assert {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in copy.rglob("*")} == before


def test_times_of_directories_can_be_left_out(tree: Path) -> None:
    strict, loose = digest(tree), digest(tree, directory_times=False)
    os.utime(tree / "opaque", ns=(1, 1))
    assert digest(tree) != strict
    assert digest(tree, directory_times=False) == loose


def test_a_mirror_through_overlay_keeps_links_deletions_and_kinds(tmp_path: Path) -> None:
    lower, wanted = tmp_path / "lower", tmp_path / "wanted"
    for root in (lower, wanted):
        root.mkdir()
    fill(lower)
    with opened(lower, wanted) as (one, other):
        mirror(one, other, thorough=False)
    os.link(wanted / "a-hard", wanted / "z-hard")  # one name more, of a file of the layer below
    (wanted / "opaque/old").unlink()
    (wanted / "link").unlink()
    (wanted / "link").mkdir()
    (wanted / "single").unlink()
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()

    def look() -> tuple[str, str]:
        options = f"lowerdir={lower},upperdir={tmp_path}/upper,workdir={tmp_path}/work,index=off,metacopy=off"
        syscalls.mount("overlay", tmp_path / "merged", "overlay", 0, options)
        with opened(wanted, tmp_path / "merged") as (one, other):
            mirror(one, other, thorough=False)
        syscalls.umount(tmp_path / "merged")
        syscalls.mount("overlay", tmp_path / "merged", "overlay", 0, options)
        return digest(wanted), digest(tmp_path / "merged")

    expected, found = in_mount_namespace(look)
    assert found == expected
    assert not (tmp_path / "upper/null").exists()


def test_a_device_that_overlay_would_take_for_a_deletion_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    os.mknod(tmp_path / "one/zero", 0o020600, os.makedev(0, 0))
    with opened(tmp_path / "one", tmp_path / "other") as (one, other), pytest.raises(DataError, match="'zero'"):
        mirror(one, other, thorough=False)


def test_an_attribute_that_the_target_would_take_for_its_own_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "a").mkdir(parents=True)
    (tmp_path / "one/a/file").touch()
    os.setxattr(tmp_path / "one/a/file", "trusted.overlay.opaque", b"y")
    with opened(tmp_path / "one", tmp_path / "other") as (one, other):
        with pytest.raises(DataError, match=r"trusted\.overlay\.opaque of 'a/file' cannot be kept"):
            mirror(one, other, thorough=False, marks="trusted.overlay.")
        mirror(one, other, thorough=False, marks="user.overlay.")
        assert tree_digest(one) == tree_digest(other)


def test_an_attribute_that_the_target_does_not_take_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/file").touch()
    os.setxattr(tmp_path / "one/file", "user.note", b"kept")

    def refused() -> str:
        # ramfs takes none.
        syscalls.mount("none", tmp_path / "other", "ramfs")
        with opened(tmp_path / "one", tmp_path / "other") as (one, other), pytest.raises(DataError) as caught:
            mirror(one, other, thorough=False)
        return str(caught.value)

    assert in_mount_namespace(refused).startswith("attribute user.note of 'file' cannot be kept: ")


def test_a_deep_tree_is_mirrored(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    here = os.open(tmp_path / "one", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("x" * 20, dir_fd=here)
        below = os.open("x" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with opened(tmp_path / "one", tmp_path / "other") as (one, other):
        mirror(one, other, thorough=False)
        assert tree_digest(one) == tree_digest(other)


def test_layers_are_moved_from_the_lowest_up_and_once() -> None:
    parents = {"top": "middle", "middle": "base", "other": "base", "base": None}
    infos = {key: SnapshotInfo(key, "committed", parent, 0.0, {}) for key, parent in parents.items()}
    order = list(in_order(infos, ["top", "other", "gone", None]))
    assert sorted(order) == sorted(parents)
    assert all(order.index(parent) < order.index(key) for key, parent in parents.items() if parent)
    assert list(in_order(infos, ["top"], only={"base", "top"})) == ["base", "top"]
    assert built_on(infos, "middle") == ["middle", "top"]
    assert sorted(built_on(infos, "base")) == ["base", "middle", "other", "top"]
