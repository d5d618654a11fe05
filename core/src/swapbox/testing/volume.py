"""What every volume driver has to do. Subclass :class:`VolumeDriverContract` and give it your spec::

    class TestContract(VolumeDriverContract):
        spec = next(swapbox_volume_local.swapbox_volume_drivers())

Mounts are made in forked children, so a failing case leaves none. A driver whose volumes need options, or a
server, overrides ``options`` and ``context``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest

from swapbox.drivers.common import DriverContext, Supported
from swapbox.drivers.volume import Volume, VolumeDriver, VolumeDriverSpec
from swapbox.errors import InvalidInput, NotFound
from swapbox.testing.forked import Forked, mounted

ResultT = TypeVar("ResultT")

NAMES = ("ab", "A.b_c-d", "0" * 64, "x" * 255, "a..b")
"""Names that every driver has to take."""

root = pytest.mark.root


class VolumeDriverContract:
    """The cases. Those that mount need root.

    :cvar spec: what the plugin offers.
    :cvar exempt: names of cases that this driver cannot pass, each with its reason, which the test run prints.
    :cvar options: of the volumes that are made.
    """

    spec: ClassVar[VolumeDriverSpec]
    exempt: ClassVar[Mapping[str, str]] = {}
    options: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture(autouse=True)
    def choose(self, request: pytest.FixtureRequest) -> None:
        """Skip a case that is not for this driver or user."""
        case = request.function.__name__
        if case in self.exempt:
            pytest.skip(f"exempt: {self.exempt[case]}")
        if request.node.get_closest_marker("root") and os.geteuid() != 0:
            pytest.skip("needs root")

    @pytest.fixture
    def context(self, tmp_path: Path) -> DriverContext:
        """Return what the factory is given."""
        options = {option.name: option.default for option in self.spec.options if option.default is not None}
        context = DriverContext(tmp_path / "root", tmp_path / "run", options)
        verdict = self.spec.probe(context)
        if not isinstance(verdict, Supported):
            pytest.skip(f"{self.spec.name} says: {verdict}")
        return context

    @pytest.fixture
    def driver(self, context: DriverContext) -> Iterator[VolumeDriver]:
        """Return the driver under test."""
        driver = self.spec.factory(context)
        yield driver
        driver.close()

    def volume(self, name: str = "data") -> Volume:
        """Return a volume that the driver can make."""
        return Volume(name, self.options)

    # Being there

    def test_a_volume_is_there_from_its_creation_to_its_removal(self, driver: VolumeDriver) -> None:
        assert list(driver.walk()) == []
        driver.create(self.volume())
        assert driver.inspect("data").name == "data"
        assert [info.name for info in driver.walk()] == ["data"]
        driver.remove("data")
        assert list(driver.walk()) == []

    def test_a_volume_that_is_not_there_is_not_found(self, driver: VolumeDriver) -> None:
        calls: list[Callable[[str], object]] = [driver.inspect, driver.mounts, driver.usage]
        for call in calls:
            with pytest.raises(NotFound, match="nothing"):
                call("nothing")

    def test_what_is_there_is_made_again_and_what_is_gone_is_removed_again(self, driver: VolumeDriver) -> None:
        driver.remove("data")
        driver.create(self.volume())
        driver.create(self.volume())
        assert len(list(driver.walk())) == 1
        driver.remove("data")
        driver.remove("data")

    @pytest.mark.parametrize("name", NAMES)
    def test_every_name_of_dockers_is_taken(self, driver: VolumeDriver, name: str) -> None:
        driver.create(self.volume(name))
        assert [info.name for info in driver.walk()] == [name]
        driver.remove(name)

    def test_another_process_sees_the_same_volumes_and_options(
        self, driver: VolumeDriver, context: DriverContext
    ) -> None:
        driver.create(self.volume())

        def look() -> list[tuple[str, dict[str, str]]]:
            return [(info.name, dict(info.options)) for info in self.spec.factory(context).walk()]

        assert Forked(look).result() == [("data", dict(self.options))]

    def test_an_unknown_option_is_refused_and_nothing_is_left(self, driver: VolumeDriver) -> None:
        with pytest.raises(InvalidInput, match="no-such-option"):
            driver.create(Volume("data", {**self.options, "no-such-option": "1"}))
        assert list(driver.walk()) == []
        driver.remove("data")

    def test_the_driver_may_be_closed_twice(self, driver: VolumeDriver) -> None:
        driver.close()
        driver.close()

    # Data

    @root
    def test_a_new_volume_is_empty_and_roots(self, driver: VolumeDriver) -> None:
        driver.create(self.volume())

        def look(place: Path) -> tuple[list[str], int, int, int]:
            info = place.stat()
            return os.listdir(place), info.st_uid, info.st_gid, info.st_mode & 0o7777

        assert mounted(driver.mounts("data"), look) == ([], 0, 0, 0o755)

    @root
    def test_data_outlives_the_mount_and_the_driver(self, driver: VolumeDriver, context: DriverContext) -> None:
        driver.create(self.volume())
        mounted(driver.mounts("data"), lambda place: (place / "file").write_text("kept"))
        driver.close()
        again = self.spec.factory(context)
        again.create(self.volume())
        assert mounted(again.mounts("data"), lambda place: (place / "file").read_text()) == "kept"
        again.close()

    @root
    def test_owners_modes_links_and_attributes_are_kept(self, driver: VolumeDriver) -> None:
        driver.create(self.volume())

        def write(place: Path) -> None:
            (place / "file").touch(mode=0o640)
            os.chown(place / "file", 12, 34)
            os.setxattr(place / "file", "user.key", b"value")
            (place / "link").symlink_to("/etc/passwd")
            (place / "hard").hardlink_to(place / "file")
            os.chown(place, 56, 78)
            place.chmod(0o1770)

        def read(place: Path) -> tuple[object, ...]:
            info, top = (place / "file").stat(), place.stat()
            key = os.getxattr(place / "file", "user.key")
            ids = (info.st_uid, info.st_gid, info.st_nlink, top.st_uid, top.st_gid, top.st_mode & 0o7777)
            return *ids, key, os.readlink(place / "link")

        mounted(driver.mounts("data"), write)
        assert mounted(driver.mounts("data"), read) == (12, 34, 2, 56, 78, 0o1770, b"value", "/etc/passwd")

    @root
    def test_volumes_share_nothing(self, driver: VolumeDriver) -> None:
        for name in ("one", "two"):
            driver.create(self.volume(name))
        mounted(driver.mounts("one"), lambda place: (place / "file").touch())
        assert mounted(driver.mounts("two"), os.listdir) == []

    @root
    def test_a_removed_volume_comes_back_empty(self, driver: VolumeDriver) -> None:
        driver.create(self.volume())

        def fill(place: Path) -> None:
            (place / "a/b").mkdir(parents=True)
            (place / "a/b/file").touch()
            (place / "a").chmod(0)

        mounted(driver.mounts("data"), fill)
        driver.remove("data")
        driver.create(self.volume())
        assert mounted(driver.mounts("data"), os.listdir) == []

    @root
    def test_a_link_out_of_a_volume_is_not_followed_by_its_removal(
        self, driver: VolumeDriver, tmp_path: Path
    ) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/file").touch()
        driver.create(self.volume())
        mounted(driver.mounts("data"), lambda place: (place / "link").symlink_to(tmp_path / "outside"))
        driver.usage("data")
        driver.remove("data")
        assert (tmp_path / "outside/file").exists()

    @root
    def test_usage_counts_the_data(self, driver: VolumeDriver) -> None:
        driver.create(self.volume())
        before = driver.usage("data")
        mounted(driver.mounts("data"), lambda place: (place / "file").write_bytes(os.urandom(1 << 20)))
        after = driver.usage("data")
        assert after.size - before.size >= 1 << 20
        assert after.inodes == before.inodes + 1

    @root
    def test_nothing_is_mounted_on_the_host(self, driver: VolumeDriver, context: DriverContext) -> None:
        before = Path("/proc/self/mountinfo").read_text()
        driver.create(self.volume())
        driver.mounts("data")
        assert str(context.root) not in Path("/proc/self/mountinfo").read_text().replace(before, "")

    # Many at once, and crashes

    def test_several_processes_make_and_remove_volumes_at_once(
        self, driver: VolumeDriver, context: DriverContext
    ) -> None:
        def work(number: int) -> None:
            own = self.spec.factory(context)
            for step in range(10):
                own.create(self.volume("shared"))
                own.create(self.volume(f"own-{number}-{step}"))
                list(own.walk())
                own.remove(f"own-{number}-{step}")
            own.close()

        children = [Forked(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
        for child in children:
            child.result()
        assert [info.name for info in driver.walk()] == ["shared"]

    @root
    def test_a_volume_is_whole_or_not_there_when_its_maker_is_killed(
        self, driver: VolumeDriver, context: DriverContext
    ) -> None:
        for microseconds in (0, 100, 500, 1000, 3000, 10000):
            _killed_after(
                microseconds, lambda: _make_and_remove_for_ever(self.spec.factory(context), self.volume())
            )
            for info in driver.walk():
                assert mounted(driver.mounts(info.name), os.listdir) == []
            driver.create(self.volume())
            driver.remove("data")
            assert list(driver.walk()) == []
        driver.cleanup()
        assert driver.cleanup() == 0

    def test_clean_up_leaves_volumes_alone(self, driver: VolumeDriver) -> None:
        driver.create(self.volume())
        assert driver.cleanup() == 0
        assert [info.name for info in driver.walk()] == ["data"]


def _make_and_remove_for_ever(driver: VolumeDriver, volume: Volume) -> None:
    while True:
        driver.create(volume)
        driver.remove(volume.name)


def _killed_after(microseconds: int, function: Callable[[], object]) -> None:
    """Run a function in a child that the kernel kills some time after it has begun: a timer whose signal kills."""

    def work() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(microseconds, 1) / 10**6)
        function()

    child = Forked(work)
    with pytest.raises(AssertionError, match=f"ended with -{signal.SIGALRM}"):
        child.result()
