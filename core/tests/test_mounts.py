"""Options are read as mount(8) reads them, and mounts are made by a real kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swapbox.drivers.storage import Mount
from swapbox.linux import mounts, syscalls
from swapbox.linux.mounts import parse_options, recursive_attributes
from swapbox.linux.overlayfs import escape_layer
from swapbox.linux.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_SLAVE,
    MS_STRICTATIME,
)
from swapbox.testing.forked import in_mount_namespace, mounted

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), (0, 0, 0, "")),
        (("nosuid", "noexec", "nodev"), (MS_NOSUID | MS_NOEXEC | MS_NODEV, 0, 0, "")),
        (("rbind", "ro"), (MS_BIND | MS_REC | MS_RDONLY, 0, 0, "")),
        (("ro", "rw"), (0, MS_RDONLY, 0, "")),
        (("rw", "ro"), (MS_RDONLY, 0, 0, "")),
        (("suid", "dev", "exec"), (0, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, "")),
        (("rslave", "bind"), (MS_BIND, 0, MS_SLAVE | MS_REC, "")),
        (("private",), (0, 0, MS_PRIVATE, "")),
        (("mode=755", "strictatime", "size=65536k"), (MS_STRICTATIME, 0, 0, "mode=755,size=65536k")),
        (("defaults", "relatime", "rro", "newinstance"), (MS_RELATIME, 0, 0, "newinstance")),
        (("remount_of_something", "rsize=1", "r"), (0, 0, 0, "remount_of_something,rsize=1,r")),
    ],
)
def test_options_are_sorted(options: tuple[str, ...], expected: tuple[int, int, int, str]) -> None:
    assert parse_options(options) == expected


def test_recursive_options_become_attributes() -> None:
    assert recursive_attributes(["rro", "rnosuid", "rbind", "ro"]) == (0x3, 0)
    assert recursive_attributes(["rrw", "rexec"]) == (0, 0x9)
    assert recursive_attributes(["rnoatime"]) == (0x10, 0x70)
    assert recursive_attributes(["ro", "remount", "rslave", "relatime", "rsize=4"]) == (0, 0)


def writable(tree: Path) -> bool:
    try:
        (tree / "probe").touch()
    except OSError as error:
        if error.errno == errno.EROFS:
            return False
        raise
    return True


@pytest.mark.root
@needs_root
class TestMounting:
    def test_a_bind_mount_is_read_only_when_asked(self, tmp_path: Path) -> None:
        assert mounted([Mount("bind", str(tmp_path), ("bind",))], writable)
        assert not mounted([Mount("bind", str(tmp_path), ("bind", "ro"))], writable)

    def test_a_kernel_without_mount_setattr_is_served_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(syscalls, "mount_setattr", failing(errno.ENOSYS))
        flags = mounted([Mount("bind", str(tmp_path), ("bind", "ro", "nosuid"))], mount_flags)
        assert flags & os.ST_RDONLY
        assert flags & os.ST_NOSUID

    def test_only_rro_reaches_the_mounts_below(self, tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()

        def below_writable(*options: str) -> bool:
            def act() -> bool:
                mounts.apply([Mount("tmpfs", "tmpfs")], tmp_path / "below")
                mounts.apply([Mount("tmpfs", "tmpfs")], Path("/mnt"))
                mounts.apply([Mount("bind", str(tmp_path), options)], Path("/mnt"))
                assert not writable(Path("/mnt"))
                return writable(Path("/mnt/below"))

            return in_mount_namespace(act)

        assert below_writable("rbind", "ro")
        assert not below_writable("rbind", "rro")

    def test_options_reach_the_file_system(self) -> None:
        plan = [Mount("tmpfs", "tmpfs", ("noexec", "mode=711", "size=1m"))]
        mode, flags = mounted(plan, lambda tree: (tree.stat().st_mode & 0o777, mount_flags(tree)))
        assert mode == 0o711
        assert flags & os.ST_NOEXEC

    def test_propagation_is_set(self) -> None:
        def shared(tree: Path) -> list[str]:
            table = Path("/proc/self/mountinfo").read_text().splitlines()
            return [line for line in table if f" {tree} " in line and "shared:" in line]

        assert len(mounted([Mount("tmpfs", "tmpfs", ("rshared",))], shared)) == 1
        assert mounted([Mount("tmpfs", "tmpfs", ())], shared) == []

    def test_a_refused_mount_undoes_those_before_it(self, tmp_path: Path) -> None:
        def act() -> list[str]:
            plan = [Mount("tmpfs", "tmpfs"), Mount("bind", str(tmp_path / "none"), ("bind",))]
            with pytest.raises(FileNotFoundError):
                mounts.apply(plan, tmp_path)
            return [
                line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line
            ]

        assert in_mount_namespace(act) == []

    def test_layers_beyond_a_page_are_mounted_one_by_one(self, tmp_path: Path) -> None:
        assert mounted(many_layers(tmp_path), names) == sorted(map(str, range(60)))

    def test_an_older_kernel_gets_them_as_relative_paths(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(syscalls, "fsopen", failing(errno.ENOSYS))

        def act(tree: Path) -> tuple[list[str], str]:
            return names(tree), os.getcwd()

        assert mounted(many_layers(tmp_path), act) == (sorted(map(str, range(60))), os.getcwd())

    def test_the_relative_way_mounts_at_a_relative_target(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(syscalls, "fsopen", failing(errno.ENOSYS))
        (tmp_path / "target").mkdir()

        def act() -> list[str]:
            os.chdir(tmp_path)
            mounts.apply(many_layers(tmp_path), Path("target"))
            return names(Path("target"))

        assert in_mount_namespace(act) == sorted(map(str, range(60)))


def failing(code: int) -> Callable[..., None]:
    """Return a system call that always fails."""

    def call(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


def many_layers(place: Path) -> list[Mount]:
    """Make an overlay with 60 lower layers, each with a file, whose paths need escapes and exceed a page."""
    home = place / ("a:b,c\\d" * 12)
    home.mkdir()
    layers = [home / str(number) for number in range(60)]
    for layer in layers:
        layer.mkdir()
        (layer / layer.name).touch()
    for name in ("upper", "work"):
        (place / name).mkdir()
    lowerdir = ":".join(escape_layer(str(layer)) for layer in layers)
    assert len(lowerdir) > os.sysconf("SC_PAGESIZE")
    options = (
        f"lowerdir={lowerdir}",
        f"upperdir={place}/upper",
        f"workdir={place}/work",
        "index=off",
        "userxattr",
    )
    return [Mount("overlay", "overlay", options)]


def names(tree: Path) -> list[str]:
    return sorted(os.listdir(tree))


def mount_flags(tree: Path) -> int:
    return os.statvfs(tree).f_flag
