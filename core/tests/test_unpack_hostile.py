"""Layers made to break out, to fill the host or to confuse: nothing beside the target ever changes."""

from __future__ import annotations

import errno
import io
import os
import random
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from swapbox.config import Limits
from swapbox.drivers.storage import LayerTarget, WhiteoutStyle
from swapbox.errors import DataError, PermissionDenied, SwapboxError, Unavailable
from swapbox.images.apply import apply_layer
from swapbox.images.compression import decompress
from swapbox.testing.hostile import ESCAPES
from swapbox.testing.images import Entry, directory, file, hardlink, opaque, symlink, whiteout

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what root may write is what must be refused"),
]

STYLES: list[WhiteoutStyle] = ["remove", "overlay", "overlay-user"]
PRECIOUS = b"precious"


class Host(NamedTuple):
    """A target, and beside it a directory that an attack aims at."""

    target: Path
    victim: Path


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in [directory, *directory.rglob("*")]:
        info = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        attributes = os.listxattr(path, follow_symlinks=False)
        found[str(path)] = (info.st_mode, info.st_uid, info.st_nlink, info.st_mtime_ns, content, attributes)
    return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "store/target", tmp_path / "victim")
    for path in (made.target, made.victim / "sub"):
        path.mkdir(parents=True)
    for path in (made.victim / "precious", made.victim / "sub/precious", made.target.parent / "precious"):
        path.write_bytes(PRECIOUS)
        os.utime(path, (1, 1))
    made.target.parent.chmod(0o700)
    before = snapshot(made.victim), (made.target.parent / "precious").lstat(), os.listdir(made.target.parent)
    yield made
    after = snapshot(made.victim), (made.target.parent / "precious").lstat(), os.listdir(made.target.parent)
    assert after[0] == before[0]
    assert after[1] == before[1]
    assert after[2] == before[2]


def tar_of(entries: Iterable[Entry]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def unpack(
    host: Host, entries: Iterable[Entry], *, style: WhiteoutStyle = "remove", limits: Limits | None = None
) -> None:
    apply_layer(io.BytesIO(tar_of(entries)), LayerTarget(host.target, style), limits=limits or Limits())


def device(name: str, kind: bytes, major: int, minor: int) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.devmajor, info.devminor = kind, major, minor
    return info, b""


def out(host: Host) -> str:
    """A relative path that leads from the root of the target to the victim."""
    return f"../../{host.victim.name}"


REFUSED: dict[str, tuple[Callable[[Host], list[Entry]], str]] = {
    "dot-dot": (lambda host: [file(f"{out(host)}/new")], "leads out of the tree"),
    "dot-dot behind a directory": (lambda host: [directory("a"), file(f"a/../{out(host)}/new")], "leads out"),
    "dot-dot directory": (lambda _: [directory("..", mode=0o777)], "leads out of the tree"),
    "dot-dot at the end": (lambda _: [directory("a/../..", mode=0o777)], "leads out of the tree"),
    "absolute dot-dot": (lambda host: [file(f"/{out(host)}/new")], "leads out of the tree"),
    "symlink below dot-dot": (lambda host: [symlink(f"{out(host)}/new", "x")], "leads out of the tree"),
    "whiteout below dot-dot": (lambda host: [whiteout(f"{out(host)}/precious")], "leads out of the tree"),
    "opaque below dot-dot": (lambda host: [opaque(out(host))], "leads out of the tree"),
    "whiteout of dot-dot": (lambda _: [file("d/.wh...")], "whiteout 'd/.wh...' names no file"),
    "whiteout of dot": (lambda _: [file("d/.wh..")], "whiteout 'd/.wh..' names no file"),
    "whiteout of nothing": (lambda _: [file("d/.wh.")], "whiteout 'd/.wh.' names no file"),
    "whiteout as a parent": (lambda _: [file("d/.wh.x/y")], "parent 'd/.wh.x' is a whiteout"),
    "hard link by dot-dot": (lambda host: [hardlink("x", f"{out(host)}/precious")], "leads out of the tree"),
    "hard link by an absolute name": (lambda host: [hardlink("x", f"{host.victim}/precious")], "does not have"),
    "hard link through an absolute link": (
        lambda host: [symlink("l", str(host.victim)), hardlink("x", "l/precious")],
        "does not have",
    ),
    "hard link through a relative link": (
        lambda host: [directory("d"), symlink("d/l", f"../{out(host)}"), hardlink("x", "d/l/precious")],
        "does not have",
    ),
    "hard link to nothing here": (lambda _: [hardlink("x", "y")], "hard link 'x' leads to 'y'"),
    "hard link to itself": (lambda _: [file("x"), hardlink("x", "x")], "hard link 'x' leads to 'x'"),
    "hard link to the root": (lambda _: [hardlink("x", "/")], "operation not permitted"),
    "file through an absolute link": (
        lambda host: [symlink("l", str(host.victim)), file("l/new")],
        "parent 'l' is no directory",
    ),
    "file through a relative link": (
        lambda host: [directory("d"), symlink("d/l", f"../{out(host)}"), file("d/l/new")],
        "parent 'd/l' is no directory",
    ),
    "file through two links": (
        lambda host: [symlink("a", ".."), symlink("b", f"a/../{out(host)}"), file("b/new")],
        "parent 'b' is no directory",
    ),
    "file through a loop": (lambda _: [symlink("a", "b"), symlink("b", "a"), file("a/new")], "too many levels"),
    "directory in a victim": (
        lambda host: [symlink("l", str(host.victim)), directory("l/new")],
        "parent 'l' is no directory",
    ),
    "file as a parent": (lambda _: [file("x"), file("x/y")], "parent 'x' is no directory"),
    "fifo as a parent": (lambda _: [device("x", tarfile.FIFOTYPE, 0, 0), file("x/y")], "is no directory"),
    "root as a file": (lambda _: [file("./")], "is the root of the tree"),
    "root as a link": (lambda host: [symlink("/", str(host.victim))], "is the root of the tree"),
    "overlay's mark": (lambda _: [device("x", tarfile.CHRTYPE, 0, 0)], "the mark by which overlay"),
    "device out of range": (lambda _: [device("x", tarfile.CHRTYPE, 1 << 12, 0)], "4096:0, which is out of range"),
    "name of 300 bytes": (lambda _: [file("n" * 300)], "file name too long"),
    "path of 5000 bytes": (lambda _: [file("n/" * 2500 + "x")], "5001 bytes, more than 4095"),
    "link target of 5000 bytes": (lambda _: [symlink("x", "n" * 5000)], "file name too long"),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_layer_is_refused_and_nothing_outside_changes(
    case: str, style: WhiteoutStyle, host: Host
) -> None:
    make, message = REFUSED[case]
    with pytest.raises((DataError, PermissionDenied)) as raised:
        unpack(host, make(host), style=style)
    assert message in raised.value.message


HARMLESS: dict[str, Callable[[Host], list[Entry]]] = {
    "absolute name": lambda host: [file(f"{host.victim}/precious", b"escaped")],
    "link to a victim": lambda host: [symlink("l", str(host.victim)), file("l", b"escaped")],
    "link to a file, then a write": lambda host: [symlink("x", f"{host.victim}/precious"), file("x", b"escaped")],
    "link to a directory, then a directory": lambda host: [
        symlink("l", str(host.victim)),
        directory("l", mode=0o777, uid=1),
        file("l/precious", b"escaped"),
    ],
    "parent that was opened, then becomes a link": lambda host: [
        file("d/one"),
        directory("victim"),
        symlink("d", "/victim"),
        file("d/two", b"escaped"),
    ],
    "grandparent that becomes a link": lambda host: [
        file("a/b/c/one"),
        directory("v/b/c"),
        symlink("a", "v"),
        file("a/b/c/two", b"escaped"),
    ],
    "hard link to a link out, then a write": lambda host: [
        symlink("l", f"{host.victim}/precious"),
        hardlink("h", "l"),
        file("h", b"escaped"),
    ],
    "whiteout of a link out": lambda host: [symlink("l", str(host.victim)), whiteout("l")],
    "whiteout below a link out": lambda host: [
        directory(str(host.victim)),
        symlink("l", str(host.victim)),
        whiteout("l/precious"),
        whiteout("l/sub"),
    ],
    "opaque link out": lambda host: [directory(str(host.victim)), symlink("l", str(host.victim)), opaque("l")],
    "directory attributes on a link out": lambda host: [
        directory("d", mode=0o777, uid=7),
        file("d/x"),
        symlink("d", str(host.victim)),
    ],
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", HARMLESS)
def test_a_trick_that_stays_inside_writes_nothing_outside(case: str, style: WhiteoutStyle, host: Host) -> None:
    unpack(host, HARMLESS[case](host), style=style)
    assert any(host.target.rglob("*"))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", ESCAPES)
def test_the_attacks_of_the_testing_package_fail(case: str, style: WhiteoutStyle, host: Host) -> None:
    layer = ESCAPES[case](host.victim)
    try:
        with layer.blob.open() as blob:
            apply_layer(decompress(blob), LayerTarget(host.target, style))
    except SwapboxError as error:
        assert isinstance(error, DataError)  # noqa: PT017 - some of them are harmless


@pytest.mark.parametrize("second", [[whiteout("l/precious")], [opaque("l")], [whiteout("l")], [directory("l")]])
def test_a_link_left_by_a_lower_layer_leads_nowhere_either(second: list[Entry], host: Host) -> None:
    unpack(host, [symlink("l", str(host.victim))])
    unpack(host, second)


def test_a_file_that_replaces_a_tree_too_deep_for_python_or_a_path_removes_it(host: Host) -> None:
    entries = [directory("/".join(["d"] * 1000)), symlink("s", "/".join(["d"] * 1000))]
    entries += [file("s/" + "/".join(["e" * 100] * 30) + "/x"), file("d", b"short")]
    unpack(host, entries)
    assert (host.target / "d").read_bytes() == b"short"


def test_too_many_entries_are_refused_with_the_setting_to_raise(host: Host) -> None:
    with pytest.raises(DataError, match="more than 10 entries") as raised:
        unpack(host, [file(str(number)) for number in range(11)], limits=Limits(max_entries=10))
    assert "limits.max-entries" in (raised.value.hint or "")
    unpack(host, [file(str(number)) for number in range(10)], limits=Limits(max_entries=10))


def test_a_path_too_long_is_refused_with_the_setting_to_raise(host: Host) -> None:
    with pytest.raises(DataError, match="5 bytes, more than 4") as raised:
        unpack(host, [file("a/b/c")], limits=Limits(max_path=4))
    assert "limits.max-path" in (raised.value.hint or "")


def test_a_sparse_file_of_an_exbibyte_is_refused_with_the_setting_to_raise(host: Host) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"GNU.sparse.map": "0,4", "GNU.sparse.size": str(1 << 60)}
    info.size = 4
    with pytest.raises(DataError, match="has 4 bytes of data and is 1152921504606846976 bytes long") as raised:
        unpack(host, [(info, b"data")])
    assert "limits.max-ratio" in (raised.value.hint or "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_unavailable_with_a_hint(number: int, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_fd: int, _data: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(Unavailable, match="cannot unpack 'd/x'") as raised:
        unpack(host, [file("d/x", b"data")])
    assert raised.value.hint == "free some with: swapbox system prune"


def test_no_descriptor_is_left_open_whatever_happens(host: Host) -> None:
    before = os.listdir("/proc/self/fd")
    for make, _ in REFUSED.values():
        with pytest.raises(SwapboxError):
            unpack(host, make(host))
    assert os.listdir("/proc/self/fd") == before


def test_whatever_is_in_a_layer_nothing_outside_changes_and_the_errors_are_ours(host: Host) -> None:
    chance = random.Random(4711)
    parts = ["a", "b", "l", "..", ".", "", "victim", ".wh.a", ".wh..wh..opq", "/", "...", "c" * 260]
    outcomes = set()
    for number in range(2000):
        entries = [random_entry(chance, parts, host) for _ in range(chance.randint(1, 8))]
        try:
            unpack(host, entries, style=chance.choice(STYLES))
            outcomes.add("written")
        except SwapboxError as error:
            outcomes.add(type(error).__name__)
        if number % 20 == 0:
            os.rename(host.target, host.victim.parent / f"used-{number}")
            host.target.mkdir()
    assert outcomes >= {"written", "DataError"}


def random_entry(chance: random.Random, parts: list[str], host: Host) -> Entry:
    def path() -> str:
        return "/".join(chance.choice(parts) for _ in range(chance.randint(1, 4))) or "x"

    targets = [str(host.victim), f"../{out(host)}", "..", "/", "a", "../a", "/a/b", "l"]
    make: list[Callable[[], Entry]] = [
        lambda: file(path(), b"escaped", mode=0o6777),
        lambda: directory(path(), mode=0o777),
        lambda: symlink(path(), chance.choice(targets)),
        lambda: symlink(path(), chance.choice(targets)),
        lambda: hardlink(path(), chance.choice([path(), f"{out(host)}/precious", "l/precious"])),
        lambda: device(path(), tarfile.FIFOTYPE, 0, 0),
        lambda: whiteout(path()),
        lambda: opaque(path()),
    ]
    return chance.choice(make)()
