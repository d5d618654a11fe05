"""What is the local driver's own: options, and what crashes leave."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from swapbox.drivers.volume import Volume
from swapbox.errors import DataError, InvalidInput, Unavailable, Unsupported
from swapbox.testing.forked import Forked, mounted
from swapbox_volume_local import driver as module
from swapbox_volume_local.driver import Driver

TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,nosuid"}


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path / "root")


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"foo": ""}, 'invalid option: "foo"'),
            ({"type": "tmpfs"}, 'missing required option: "device"'),
            ({"device": "/x"}, 'missing required option: "type"'),
            ({"o": "bind"}, 'missing required option: "device"'),
            ({"type": "none", "device": "/a\0b"}, "invalid value of option 'device'"),
        ],
    )
    def test_wrong_ones_are_refused_with_dockers_words(
        self, driver: Driver, options: dict[str, str], message: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message):
            driver.create(Volume("data", options))

    def test_a_quota_is_not_promised(self, driver: Driver) -> None:
        with pytest.raises(Unsupported, match="quota"):
            driver.create(Volume("data", {"size": "1m"}))

    @pytest.mark.root
    def test_a_tmpfs_has_the_size_that_was_asked_for(self, driver: Driver) -> None:
        driver.create(Volume("data", TMPFS))
        size, flags = mounted(
            driver.mounts("data"), lambda place: (os.statvfs(place).f_blocks * 4096, os.statvfs(place).f_flag)
        )
        assert size == 65536
        assert flags & os.ST_NOSUID

    @pytest.mark.root
    def test_a_directory_of_the_host_is_bound(self, driver: Driver, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        (tmp_path / "there/file").write_text("here")
        driver.create(Volume("data", {"type": "none", "device": str(tmp_path / "there"), "o": "bind,ro"}))
        assert mounted(driver.mounts("data"), lambda place: (place / "file").read_text()) == "here"

    def test_a_file_servers_address_is_given_to_the_kernel(self, driver: Driver) -> None:
        driver.create(Volume("data", {"type": "nfs", "device": ":/x", "o": "addr=localhost,rw"}))
        (mount,) = driver.mounts("data")
        assert mount.options[0] in ("addr=127.0.0.1", "addr=::1")
        driver.create(Volume("lost", {"type": "nfs", "device": ":/x", "o": "addr=no-such-host.invalid"}))
        with pytest.raises(Unavailable, match=r"no-such-host\.invalid"):
            driver.mounts("lost")


class TestCrashes:
    def test_what_a_killed_removal_left_is_deleted_by_the_clean_up(
        self, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver.create(Volume("data"))
        monkeypatch.setattr(module, "remove_tree", lambda _path: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(AssertionError, match="ended with -9"):
            Forked(lambda: driver.remove("data")).result()
        monkeypatch.undo()
        assert list(driver.walk()) == []
        assert len(os.listdir(tmp_path / "root")) == 1
        assert driver.cleanup() == 1
        assert os.listdir(tmp_path / "root") == []

    def test_the_clean_up_leaves_alone_what_somebody_is_making(
        self, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill, found = module._fill, []

        def filled(new: Path, options: dict[str, str]) -> None:
            fill(new, options)
            found.append(driver.cleanup())

        monkeypatch.setattr(module, "_fill", filled)
        driver.create(Volume("data"))
        assert found == [0]
        assert [info.name for info in driver.walk()] == ["data"]

    def test_damaged_options_are_named(self, driver: Driver, tmp_path: Path) -> None:
        driver.create(Volume("data"))
        (tmp_path / "root/data/options.json").write_text("{")
        with pytest.raises(DataError, match="data"):
            driver.mounts("data")


def test_a_name_never_leads_out_of_the_root(driver: Driver) -> None:
    for name in ("", ".", "..", "a/b", ".new-x", "a\0b"):
        with pytest.raises(InvalidInput):
            driver.create(Volume(name))
