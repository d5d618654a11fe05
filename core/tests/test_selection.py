"""The driver in use is the one that was asked for, or the best one this host carries, and one can ask why."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from swapbox.config import Config
from swapbox.drivers.common import Broken, DriverContext, Kind, Option, ProbeResult, Supported, Unsupported, always
from swapbox.drivers.storage import StorageDriverSpec
from swapbox.errors import InvalidInput, NotFound, PluginError
from swapbox.errors import Unsupported as UnsupportedError
from swapbox.paths import Paths
from swapbox.plugins.index import Entry
from swapbox.plugins.manager import Plugins
from swapbox.plugins.selection import Selector


class FakeDriver:
    """Knows its context and whether it was closed."""

    def __init__(self, context: DriverContext) -> None:
        self.context = context
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def spec(
    name: str,
    priority: int = 60,
    probe: ProbeResult | Callable[[DriverContext], ProbeResult] | None = None,
    factory: Callable[[DriverContext], Any] = FakeDriver,
    options: tuple[Option, ...] = (),
    capabilities: frozenset[str] = frozenset(),
) -> StorageDriverSpec:
    asked = probe if callable(probe) else always if probe is None else lambda _context: probe
    return StorageDriverSpec(
        name=name,
        summary="",
        factory=factory,
        probe=asked,
        priority=priority,
        options=options,
        capabilities=capabilities,
    )


class Host:
    """A selector over some storage drivers, and the warnings it gave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.monkeypatch = monkeypatch
        self.paths = Paths(tmp_path / "root", tmp_path / "run")
        self.warnings: list[str] = []

    def selector(
        self,
        *specs: StorageDriverSpec,
        environment: Mapping[str, str] | None = None,
        config: Config | None = None,
        flag: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> Selector:
        module = ModuleType("swapbox_test_selection")
        vars(module)["plugin"] = SimpleNamespace(swapbox_storage_drivers=lambda: iter(specs))
        self.monkeypatch.setitem(sys.modules, module.__name__, module)
        hooks = ("swapbox_storage_drivers",)
        entry = Entry("fake", f"{module.__name__}:plugin", "dist-fake", "1.0", hooks, validated=True)
        flags: dict[Kind, str] = {"storage": flag} if flag else {}
        return Selector(
            Plugins((entry,), rescan=lambda: (entry,)),
            paths=self.paths,
            config=config or Config(),
            environment=environment or {},
            flags=flags,
            options={"storage": options or {}},
            warn=self.warnings.append,
        )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


FOUR = tuple(spec(name) for name in ("a", "b", "c", "d"))
CONFIGURED = Config(drivers={"storage": "d"}, sources={"drivers.storage": Path("/etc/x.toml")})


def test_the_order_of_precedence(host: Host) -> None:
    environment = {"SWAPBOX_STORAGE_DRIVER": "b"}
    everything = host.selector(spec("e", 99), *FOUR, environment=environment, config=CONFIGURED, flag="a")
    choice = everything.choose("storage", name="c", made_with="d")
    assert (choice.name, choice.reason) == ("c", "--storage-driver")
    choice = everything.choose("storage")
    assert (choice.name, choice.reason) == ("a", "--storage-driver")
    no_flag = host.selector(spec("e", 99), *FOUR, environment=environment, config=CONFIGURED)
    choice = no_flag.choose("storage")
    assert (choice.name, choice.reason) == ("b", "SWAPBOX_STORAGE_DRIVER")
    choice = host.selector(spec("e", 99), *FOUR, config=CONFIGURED).choose("storage")
    assert (choice.name, choice.reason) == ("d", "/etc/x.toml")
    choice = host.selector(spec("e", 99), *FOUR).choose("storage")
    assert (choice.name, choice.reason) == ("e", "highest priority that this host carries")
    assert host.warnings == []


def test_what_exists_is_used_with_the_driver_it_was_made_with(host: Host) -> None:
    """With SWAPBOX_STORAGE_DRIVER set to another, ``rm`` must still find the container's snapshot."""
    selector = host.selector(*FOUR, environment={"SWAPBOX_STORAGE_DRIVER": "b"}, config=CONFIGURED, flag="a")
    choice = selector.choose("storage", made_with="c")
    assert (choice.name, choice.reason) == ("c", "this was made with it")


def test_a_store_stays_with_the_driver_it_was_made_with(host: Host) -> None:
    first = host.selector(spec("overlay", 100, Unsupported("old kernel")), spec("vfs", 10))
    first.open("storage", made_with=first.choose("storage").name)
    later = host.selector(spec("overlay", 100), spec("vfs", 10), config=CONFIGURED)
    choice = later.choose("storage")
    assert (choice.name, choice.reason) == ("vfs", f"the store {host.paths.root} was made with it")
    with pytest.raises(PluginError, match=r"the store .* was made with storage driver 'vfs'") as caught:
        host.selector(spec("overlay", 100)).choose("storage")
    assert "install dist-fake" in str(caught.value.hint)


def test_a_driver_somebody_named_does_not_bind_the_store(host: Host) -> None:
    host.selector(*FOUR, flag="b").open("storage")
    host.selector(*FOUR).open("storage", name="c")
    host.selector(*FOUR).choose("storage")
    assert host.selector(spec("e", 99), *FOUR).choose("storage").name == "e"


def test_an_empty_variable_says_nothing(host: Host) -> None:
    selector = host.selector(*FOUR, environment={"SWAPBOX_STORAGE_DRIVER": ""})
    assert selector.choose("storage").name == "a"


def test_among_equals_the_name_decides(host: Host) -> None:
    assert host.selector(spec("y"), spec("x")).choose("storage").name == "x"


def test_what_was_asked_for_is_never_replaced(host: Host) -> None:
    selector = host.selector(spec("good"), spec("bad", probe=Unsupported("no kernel module")), flag="bad")
    with pytest.raises(UnsupportedError, match="'bad', chosen by --storage-driver, cannot work here: no kernel"):
        selector.choose("storage")


def test_a_faulty_driver_names_its_distribution(host: Host) -> None:
    selector = host.selector(spec("bad", probe=Broken("its helper is gone")))
    with pytest.raises(PluginError, match=r"'bad' \(plugin 'fake' of dist-fake\).*its helper is gone"):
        selector.choose("storage", name="bad")


def test_an_unknown_driver_lists_what_there_is(host: Host) -> None:
    with pytest.raises(NotFound, match="unknown storage driver 'zfs'") as caught:
        host.selector(*FOUR, flag="zfs").choose("storage")
    assert caught.value.hint == "available: a, b, c, d"


def test_who_chose_an_unknown_driver_or_option_is_named(host: Host) -> None:
    file = Path("/etc/x.toml")
    config = Config(drivers={"storage": "zfs"}, sources={"drivers.storage": file})
    with pytest.raises(NotFound, match=r"'zfs', chosen by drivers.storage in /etc/x.toml$"):
        host.selector(*FOUR, config=config).choose("storage")
    with pytest.raises(NotFound, match=r"'zfs', chosen by SWAPBOX_STORAGE_DRIVER$"):
        host.selector(*FOUR, environment={"SWAPBOX_STORAGE_DRIVER": "zfs"}).choose("storage")
    with pytest.raises(NotFound, match=r"'zfs'$"):  # it was typed just now
        host.selector(*FOUR).choose("storage", name="zfs")
    config = Config(options={("storage", "a"): {"foo": "1"}}, sources={"options.storage.a": file})
    with pytest.raises(InvalidInput, match=r"^/etc/x.toml: unknown option 'foo' of storage driver 'a'"):
        host.selector(*FOUR, config=config).choose("storage", name="a")
    with pytest.raises(InvalidInput, match=r"^unknown option 'foo'"):
        host.selector(*FOUR, config=config, options={"foo": "2"}).choose("storage", name="a")


def test_what_data_was_made_with_is_never_replaced(host: Host) -> None:
    with pytest.raises(PluginError, match="this was made with storage driver 'gone'") as caught:
        host.selector(*FOUR).choose("storage", made_with="gone", made_by="swapbox-gone")
    assert caught.value.hint == "install swapbox-gone; available: a, b, c, d"
    with pytest.raises(UnsupportedError, match="with which this was made, cannot work here: old kernel"):
        host.selector(spec("a"), spec("b", probe=Unsupported("old kernel"))).choose("storage", made_with="b")


def test_a_fallback_is_announced_once_with_its_reason(host: Host) -> None:
    def selector(reason: str) -> Selector:
        return host.selector(spec("overlay", 100, Unsupported(reason)), spec("vfs", 10))

    first = selector("no overlayfs")
    assert first.choose("storage").name == first.choose("storage").name == "vfs"
    assert selector("no overlayfs").choose("storage").name == "vfs"
    assert host.warnings == ["using storage driver 'vfs', since 'overlay' cannot be used: no overlayfs"]
    assert selector("another reason").choose("storage").name == "vfs"
    assert len(host.warnings) == 2


def test_an_equally_good_driver_is_no_fallback(host: Host) -> None:
    assert host.selector(spec("v2", 90, Unsupported("a v1 host")), spec("v1", 80)).choose("storage").name == "v1"
    assert host.warnings == []


def test_a_faulty_driver_that_is_passed_over_is_always_told_of(host: Host) -> None:
    assert host.selector(spec("v2", 90, Broken("bug")), spec("v1", 80)).choose("storage").name == "v1"
    assert host.warnings == ["using storage driver 'v1', since 'v2' cannot be used: bug"]


def test_a_warning_that_cannot_be_noted_is_still_given(host: Host) -> None:
    host.paths.run_root.touch()
    host.selector(spec("overlay", 100, Unsupported("no")), spec("vfs", 10)).choose("storage")
    assert len(host.warnings) == 1


def test_a_probe_that_raises_is_a_fault_of_the_driver(host: Host) -> None:
    def probe(_context: DriverContext) -> ProbeResult:
        raise KeyError("x")

    choice = host.selector(spec("bad", 90, probe), spec("good")).choose("storage")
    assert choice.name == "good"
    assert [(c.offer.spec.name, c.result) for c in choice.considered] == [
        ("bad", Broken("KeyError: 'x'")),
        ("good", Supported()),
    ]


def test_a_host_that_carries_none_says_why_not(host: Host) -> None:
    selector = host.selector(spec("a", probe=Unsupported("no a")), spec("b", probe=Broken("bug")))
    with pytest.raises(UnsupportedError, match="no storage driver works on this host: a: no a; b: bug"):
        selector.choose("storage")


def test_without_any_driver_the_hint_says_how_plugins_are_found(host: Host) -> None:
    with pytest.raises(NotFound, match="no storage driver is installed") as caught:
        host.selector().choose("storage")
    assert "pip install" in str(caught.value.hint)


def test_a_driver_that_is_used_by_name_is_never_the_default(host: Host) -> None:
    special = spec("special", 99, capabilities=frozenset({"by-name"}))
    assert host.selector(special, spec("usual", 1)).choose("storage").name == "usual"
    alone = host.selector(special)
    with pytest.raises(NotFound, match="no storage driver is installed but those to be named: special"):
        alone.choose("storage")
    assert alone.choose("storage", name="special").name == "special"


def test_two_plugins_with_the_best_driver_are_an_error(host: Host) -> None:
    with pytest.raises(PluginError, match="'twin' is offered twice"):
        host.selector(spec("twin", 90), spec("twin", 90), spec("other")).choose("storage")


def test_drivers_below_the_choice_are_not_asked(host: Host) -> None:
    choice = host.selector(spec("best", 90), spec("other")).choose("storage")
    assert [(c.offer.spec.name, c.result) for c in choice.considered] == [("best", Supported()), ("other", None)]


def test_an_explanation_asks_every_driver(host: Host) -> None:
    choice, candidates = host.selector(spec("best", 90), spec("other", probe=Unsupported("no"))).explain("storage")
    assert not isinstance(choice, Exception)
    assert choice.name == "best"
    assert [c.result for c in candidates] == [Supported(), Unsupported("no")]


def test_an_explanation_of_an_error_still_asks_every_driver(host: Host) -> None:
    error, candidates = host.selector(spec("a"), flag="zfs").explain("storage")
    assert isinstance(error, NotFound)
    assert [c.result for c in candidates] == [Supported()]


def test_an_open_driver_has_directories_of_its_own(host: Host) -> None:
    driver = host.selector(spec("a")).open("storage")
    assert isinstance(driver, FakeDriver)
    assert driver.context.root == host.paths.root / "storage/a"
    assert driver.context.run_root == host.paths.run_root / "storage/a"


def test_a_driver_is_opened_once_and_closed_once(host: Host) -> None:
    selector = host.selector(*FOUR)
    driver = selector.open("storage", name="b")
    other = selector.open("storage", name="c")
    assert selector.open("storage", made_with="b") is driver
    selector.close()
    selector.close()
    assert isinstance(driver, FakeDriver)
    assert isinstance(other, FakeDriver)
    assert (driver.closed, other.closed) == (1, 1)


def test_one_driver_that_cannot_close_leaves_none_open(host: Host) -> None:
    def close() -> None:
        raise OSError("stuck")

    selector = host.selector(*FOUR, spec("bad", factory=lambda _context: SimpleNamespace(close=close)))
    drivers = [selector.open("storage", name=name) for name in ("a", "bad", "b")]
    with pytest.raises(OSError, match="stuck"):
        selector.close()
    assert [driver.closed for driver in drivers if isinstance(driver, FakeDriver)] == [1, 1]


def test_a_factory_that_fails_names_the_distribution(host: Host) -> None:
    def factory(_context: DriverContext) -> object:
        raise ImportError("no module named zfs")

    with pytest.raises(PluginError, match=r"'a' \(plugin 'fake' of dist-fake\) failed: ImportError: no module"):
        host.selector(spec("a", factory=factory)).open("storage")


def test_a_factorys_own_error_is_passed_on(host: Host) -> None:
    def factory(_context: DriverContext) -> object:
        raise InvalidInput("ceiling is no number")

    with pytest.raises(InvalidInput, match="ceiling is no number"):
        host.selector(spec("a", factory=factory)).open("storage")


OPTIONS = (Option("size", "", default="1g"), Option("quota", ""))


def test_options_come_from_flag_then_file_then_default(host: Host) -> None:
    config = Config(options={("storage", "a"): {"size": "2g", "quota": "7"}})
    opened = [
        host.selector(spec("a", options=OPTIONS)).open("storage"),
        host.selector(spec("a", options=OPTIONS), config=config).open("storage"),
        host.selector(spec("a", options=OPTIONS), config=config, options={"size": "3g"}).open("storage"),
    ]
    assert [driver.context.options for driver in opened if isinstance(driver, FakeDriver)] == [
        {"size": "1g"},
        {"size": "2g", "quota": "7"},
        {"size": "3g", "quota": "7"},
    ]


def test_an_unknown_option_is_named_with_those_there_are(host: Host) -> None:
    with pytest.raises(InvalidInput, match="unknown option 'sise' of storage driver 'a'") as caught:
        host.selector(spec("a", options=OPTIONS), options={"sise": "1"}).open("storage")
    assert caught.value.hint == "it has: quota, size"
