"""Writing a layer: the same tree as GNU tar writes, and whiteouts after the OCI image-spec."""

from __future__ import annotations

import io
import os
import socket
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from swapbox.drivers.storage import LayerTarget, Mount, WhiteoutStyle
from swapbox.errors import DataError, PermissionDenied
from swapbox.images.apply import apply_layer
from swapbox.testing.forked import Forked, mounted
from swapbox.testing.images import Entry, directory, file, hardlink, opaque, symlink, whiteout

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, devices and overlay's attributes"),
]


def tar_of(entries: Iterable[Entry]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def apply(target: Path, *entries: Entry, style: WhiteoutStyle = "remove", unprivileged: bool = False) -> None:
    target.mkdir(exist_ok=True)
    apply_layer(io.BytesIO(tar_of(entries)), LayerTarget(target, style), unprivileged=unprivileged)


def node(name: str, kind: bytes, major: int = 0, minor: int = 0, *, mode: int = 0o640) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.devmajor, info.devminor, info.mode = kind, major, minor, mode
    return info, b""


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be said of every path below."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        name = str(path.relative_to(root))
        info = path.lstat()
        content: object = b""
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in listed(path)}
        first = inodes.setdefault(info.st_ino, name)
        found[name] = (
            info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, info.st_rdev, first, content, attributes,
        )  # fmt: skip
    return found


def listed(path: Path) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def make_tricky(root: Path) -> None:
    """Make a tree of everything that a layer may hold."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/su").write_bytes(b"set-uid")
    os.chown(root / "usr/bin/su", 0, 42)
    (root / "usr/bin/su").chmod(0o6755)
    (root / "bin").symlink_to("usr/bin")
    (root / "dangling").symlink_to("/no/where")
    (root / "hard").hardlink_to(root / "usr/bin/su")
    os.link(root / "dangling", root / "hardlink-to-link", follow_symlinks=False)
    os.mkfifo(root / "pipe", 0o622)
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(root / "loop", 0o660 | stat.S_IFBLK, os.makedev(7, 1))
    (root / "set-gid").mkdir()
    os.chown(root / "set-gid", 1, 50)
    (root / "set-gid").chmod(0o3775)
    (root / "set-gid/inside").write_bytes(b"group of its own")
    (root / "closed").mkdir(mode=0o000)
    (root / "closed/file").write_bytes(b"in a directory without permissions")
    (root / "closed").chmod(0)
    (root / ("n" * 150)).write_bytes(b"long name")
    (root / "ümlaut\n").write_bytes(b"odd name")
    (root / "large").write_bytes(os.urandom(3_000_000))
    os.chown(root / "dangling", 7, 8, follow_symlinks=False)
    os.setxattr(root / "large", "user.note", b"binary \0 value")
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(root / "large", "security.capability", capability)
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number), follow_symlinks=False)


@pytest.mark.parametrize("options", [["--format=pax"], ["--format=gnu"]])
def test_a_tree_is_what_gnu_tar_makes_of_it(options: list[str], tmp_path: Path) -> None:
    source, expected, target = tmp_path / "source", tmp_path / "expected", tmp_path / "target"
    for path in (source, expected, target):
        path.mkdir()
    make_tricky(source)
    packed = tmp_path / "tar"
    attributes = ["--xattrs", "--xattrs-include=*"] if "pax" in options[0] else []
    subprocess.run(["tar", "-C", source, *options, *attributes, "-cf", packed, "."], check=True)
    subprocess.run(["tar", "-C", expected, "-xp", *attributes, "--numeric-owner", "-f", packed], check=True)
    with packed.open("rb") as stream:
        size = apply_layer(stream, LayerTarget(target, "remove"))
    found = {info.st_ino: info for info in (path.lstat() for path in target.rglob("*"))}
    assert size == sum(info.st_size for info in found.values() if not stat.S_ISDIR(info.st_mode))
    assert tree(target) == tree(expected)


def test_umask_and_a_set_gid_parent_change_nothing(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        apply(tmp_path / "a", directory("d", mode=0o2775, gid=50), file("d/f", mode=0o666), file("new/f"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a/d/f").stat().st_mode) == 0o666
    assert (tmp_path / "a/d/f").stat().st_gid == 0
    assert stat.S_IMODE((tmp_path / "a/new").stat().st_mode) == 0o755


def test_missing_parents_below_a_set_gid_directory_belong_to_root(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.chown(tmp_path / "a", 0, 50)
    (tmp_path / "a").chmod(0o2755)
    apply(tmp_path / "a", file("new/f"))
    assert ((tmp_path / "a/new").stat().st_gid, (tmp_path / "a/new").stat().st_mode & 0o7777) == (0, 0o755)


@pytest.mark.parametrize("name", ["/etc/x", "./etc/x", "etc//x", "etc/./x", "no/../etc/x", "//etc/x"])
def test_a_name_is_read_as_docker_reads_it(name: str, tmp_path: Path) -> None:
    apply(tmp_path / "a", file(name, b"1"))
    assert (tmp_path / "a/etc/x").read_bytes() == b"1"


def test_the_root_itself_can_be_an_entry(tmp_path: Path) -> None:
    apply(tmp_path / "a", directory("./", mode=0o711, uid=5))
    info = (tmp_path / "a").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, int(info.st_mtime)) == (0o711, 5, 1704067200)


KINDS: dict[str, Entry] = {
    "file": file("x", b"new"),
    "directory": directory("x"),
    "symlink": symlink("x", "elsewhere"),
    "hardlink": hardlink("x", "other"),
    "fifo": node("x", tarfile.FIFOTYPE),
    "device": node("x", tarfile.CHRTYPE, 1, 3),
}


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", ["file", "directory", "symlink", "dangling", "fifo"])
@pytest.mark.parametrize("same_layer", [True, False])
def test_an_entry_replaces_whatever_is_there(old: str, new: str, same_layer: bool, tmp_path: Path) -> None:
    there = {
        "file": [file("x", b"old")],
        "directory": [directory("x"), file("x/below/deep", b"old")],
        "symlink": [symlink("x", "real")],
        "dangling": [symlink("x", "/no/where")],
        "fifo": [node("x", tarfile.FIFOTYPE)],
    }[old]
    below = [directory("real"), file("real/kept", b"kept"), file("other", b"other"), *there]
    if same_layer:
        apply(tmp_path / "a", *below, KINDS[new])
    else:
        apply(tmp_path / "a", *below)
        apply(tmp_path / "a", file("other", b"other"), KINDS[new])
    path = tmp_path / "a/x"
    kinds = {"file": "f", "directory": "d", "symlink": "l", "hardlink": "f", "fifo": "p", "device": "c"}
    found = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c"}
    assert found[stat.S_IFMT(path.lstat().st_mode)] == kinds[new]
    assert (tmp_path / "a/real/kept").read_bytes() == b"kept"
    if new == "directory":
        assert names(path) == ({"below", "below/deep"} if old == "directory" else set())


def test_a_socket_is_replaced_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "a/x"))
    apply(tmp_path / "a", file("x", b"new"))
    assert (tmp_path / "a/x").read_bytes() == b"new"


def test_a_parent_that_is_a_link_inside_the_tree_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "a"
    apply(root, directory("usr/lib"), symlink("lib", "usr/lib"), symlink("usr/abs", "/usr/lib"))
    apply(root, file("lib/one", b"1"), file("usr/abs/two", b"2"), file("lib/sub/three", b"3"))
    assert names(root / "usr/lib") == {"one", "two", "sub", "sub/three"}


def test_what_was_opened_is_forgotten_when_its_directory_is_replaced(tmp_path: Path) -> None:
    root = tmp_path / "a"
    apply(
        root,
        file("d/one", b"1"),
        directory("elsewhere"),
        symlink("d", "elsewhere"),
        file("d/two", b"2"),
        file("d"),
        directory("d"),
        file("d/three", b"3"),
    )
    assert names(root) == {"d", "d/three", "elsewhere", "elsewhere/two"}


def test_more_directories_than_may_be_open_are_written(tmp_path: Path) -> None:
    entries = [file(f"{number % 700}/{number}/f", b"%d" % number) for number in range(1400)]
    entries += [hardlink(f"{number}/h", f"{number}/{number}/f") for number in range(700)]
    apply(tmp_path / "a", *entries)
    assert (tmp_path / "a/699/1399/f").read_bytes() == b"1399"
    assert (tmp_path / "a/5/h").samefile(tmp_path / "a/5/5/f")


def test_attributes_the_archive_must_not_set_are_left_out(tmp_path: Path) -> None:
    marks = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y"}
    one = directory("d")
    one[0].pax_headers = {**marks, "SCHILY.xattr.user.kept": "1"}
    apply(tmp_path / "a", one)
    assert os.listxattr(tmp_path / "a/d") == ["user.kept"]


def test_attributes_the_file_system_does_not_take_are_left_out(tmp_path: Path) -> None:
    one, link = file("f", b"1"), symlink("l", "f")
    one[0].pax_headers = {"SCHILY.xattr.unknown.space": "1", "SCHILY.xattr.user.note": "2"}
    link[0].pax_headers = {"SCHILY.xattr.user.note": "links take none"}
    apply(tmp_path / "a", one, link)
    assert os.listxattr(tmp_path / "a/f") == ["user.note"]


def test_a_sparse_file_keeps_its_holes(tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as stream:
        stream.seek(5_000_000)
        stream.write(b"data")
        stream.truncate(20_000_000)
    subprocess.run(["tar", "-C", tmp_path, "-S", "-cf", tmp_path / "tar", "sparse"], check=True)
    (tmp_path / "a").mkdir()
    with (tmp_path / "tar").open("rb") as packed:
        apply_layer(packed, LayerTarget(tmp_path / "a", "remove"))
    written = tmp_path / "a/sparse"
    assert written.read_bytes() == source.read_bytes()
    assert written.stat().st_blocks * 512 < 1_000_000


# Whiteouts in a full tree.


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    root = tmp_path / "full"
    apply(
        root, file("gone", b"1"), file("d/low", b"2"), file("d/sub/low", b"3"), symlink("link", "d"), file("kept")
    )
    return root


def test_a_whiteout_removes_a_file_a_link_or_a_whole_directory(lower: Path) -> None:
    apply(lower, whiteout("gone"), whiteout("link"), whiteout("d"), whiteout("never/was"), whiteout("was-not"))
    assert names(lower) == {"kept"}


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_spares_what_its_own_layer_has(first: bool, lower: Path) -> None:
    new = [file("gone", b"new"), file("d/sub/new", b"new")]
    out = [whiteout("gone"), whiteout("d")]
    apply(lower, *(out + new if first else new + out))
    assert names(lower) == {"gone", "d", "d/sub", "d/sub/new", "link", "kept"}
    assert (lower / "gone").read_bytes() == b"new"


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_directory_spares_what_its_own_layer_has(first: bool, lower: Path) -> None:
    new = [directory("d"), file("d/new", b"new"), file("d/sub/new", b"new")]
    apply(lower, *([opaque("d"), *new] if first else [*new, opaque("d")]))
    assert names(lower / "d") == {"new", "sub", "sub/new"}


def test_an_opaque_directory_below_a_link_is_emptied_where_it_is(lower: Path) -> None:
    apply(lower, file("link/new", b"new"), opaque("link"))
    assert names(lower / "d") == {"new"}


def test_other_reserved_names_of_aufs_are_ignored(lower: Path) -> None:
    before = names(lower)
    apply(lower, directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", b"x"), file("d/.wh..wh.aufs"))
    assert names(lower) == before


# Whiteouts in overlay directories.


def is_whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


STYLES: dict[WhiteoutStyle, str] = {
    "overlay": "trusted.overlay.opaque",
    "overlay-user": "user.overlay.opaque",
}


@pytest.mark.parametrize("style", STYLES)
def test_overlay_deletions_are_devices_and_attributes(style: WhiteoutStyle, tmp_path: Path) -> None:
    root = tmp_path / "a"
    apply(root, whiteout("gone"), whiteout("d/gone"), whiteout("gone"), opaque("o"), file("o/new"), style=style)
    assert is_whiteout(root / "gone")
    assert is_whiteout(root / "d/gone")
    assert names(root) == {"gone", "d", "d/gone", "o", "o/new"}
    assert os.getxattr(root / "o", STYLES[style]) == b"y"
    assert os.listxattr(root / "d") == []


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("first", [True, False])
def test_overlay_whiteouts_spare_what_their_own_layer_has(
    style: WhiteoutStyle, first: bool, tmp_path: Path
) -> None:
    root = tmp_path / "a"
    new = [file("f", b"new"), directory("d", mode=0o700), file("d/x"), file("implied/x"), symlink("l", "f")]
    out = [whiteout("f"), whiteout("d"), whiteout("implied"), whiteout("l")]
    apply(root, *(out + new if first else new + out), style=style)
    assert names(root) == {"f", "d", "d/x", "implied", "implied/x", "l"}
    assert (root / "f").read_bytes() == b"new"
    # What lower layers have in these directories was deleted as well.
    assert os.getxattr(root / "d", STYLES[style]) == b"y"
    assert os.getxattr(root / "implied", STYLES[style]) == b"y"
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o700


def test_the_kernel_sees_the_same_through_overlay_as_in_a_full_tree(tmp_path: Path) -> None:
    below = [file("gone", b"1"), file("d/low", b"2"), file("d/sub/low", b"3"), file("o/low"), file("e/low", b"4")]
    above = [whiteout("gone"), whiteout("d"), file("d/sub/new", b"5"), opaque("o"), file("o/new"), file("e/new")]
    apply(tmp_path / "full", *below)
    apply(tmp_path / "full", *above)
    apply(tmp_path / "low", *below)
    apply(tmp_path / "up", *above, style="overlay")
    (tmp_path / "work").mkdir()
    options = (f"lowerdir={tmp_path}/low", f"upperdir={tmp_path}/up", f"workdir={tmp_path}/work")
    assert mounted([Mount("overlay", "overlay", options)], names) == names(tmp_path / "full")


# Without root's powers.


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that anybody reaches and may write to, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def test_unprivileged_without_any_powers_everything_is_the_callers(shared: Path) -> None:
    entries = [
        directory("closed", mode=0o500),
        file("closed/f", b"1", uid=3, gid=4),
        symlink("l", "f"),
        node("null", tarfile.CHRTYPE, 1, 3),
    ]

    def as_nobody() -> None:
        become_nobody()
        apply(shared / "a", *entries, unprivileged=True)

    Forked(as_nobody).result()
    owners = {name: (shared / "a" / name).lstat().st_uid for name in names(shared / "a")}
    assert owners == {"closed": 65534, "closed/f": 65534, "l": 65534}


def test_privileged_a_device_that_may_not_be_made_is_an_error(shared: Path) -> None:
    def as_nobody() -> str:
        become_nobody()
        with pytest.raises(PermissionDenied) as raised:
            apply(shared / "a", node("null", tarfile.CHRTYPE, 1, 3))
        return raised.value.message

    assert Forked(as_nobody).result() == "cannot unpack 'null': operation not permitted"


def test_the_archive_is_read_with_all_its_padding(tmp_path: Path) -> None:
    stream = io.BytesIO(tar_of([file("f", b"1")]) + bytes(100_000))
    assert apply_layer(stream, LayerTarget(tmp_path, "remove")) == 1
    assert stream.read() == b""


def test_an_error_in_a_directorys_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file name too long"):
        apply(tmp_path / "a", file("d/" + "n" * 300))
