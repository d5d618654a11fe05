"""Installed plugins are found, checked, kept apart when faulty, and cost nothing when nobody asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from swapbox.errors import NotFound, PluginError
from swapbox.plugins.manager import Plugins

LONG_AGO = 1_600_000_000

STORAGE = """
from swapbox import StorageDriverSpec, hookimpl

@hookimpl
def swapbox_storage_drivers():
    yield StorageDriverSpec(name={name!r}, summary="", factory=print)
"""


class Install(Protocol):
    """Installs a distribution with one plugin."""

    def __call__(self, name: str, source: str, *, distribution: str = ..., value: str = ...) -> Path: ...


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of installed packages, the only one but for Python's own and what is installed for tests."""
    directory = tmp_path / "site"
    directory.mkdir()
    monkeypatch.setattr(sys, "path", [str(directory), *sys.path])
    return directory


@pytest.fixture
def install(site: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(name: str, source: str, *, distribution: str = "", value: str = "") -> Path:
        module = f"installed_{name.replace('-', '_')}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        file = site / f"{module}.py"
        file.write_text(source)
        metadata = site / f"{distribution or name}-1.0.dist-info"
        metadata.mkdir(exist_ok=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or name}\nVersion: 1.0\n")
        with (metadata / "entry_points.txt").open("a") as points:
            points.write(f"[swapbox.plugins]\n{name} = {value or module}\n")
        settle(site)
        return file

    return install


def settle(site: Path) -> None:
    """Let every file look as if it had been there for long, each change still with a time of its own."""
    for number, path in enumerate([site, *site.rglob("*")]):
        os.utime(path, ns=(0, LONG_AGO * 10**9 + path.stat().st_mtime_ns % 10**9 + number))


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Plugins]:
    def load(*, only: str | None = None, third_party: bool = True, cache_dir: Path | None = None) -> Plugins:
        environment = {} if only is None else {"SWAPBOX_PLUGINS": only}
        return Plugins.load(environment=environment, cache_dir=cache_dir, third_party=third_party)

    return load


def third_party(plugins: Plugins) -> list[str]:
    return [entry.name for entry in plugins.entries if not entry.builtin]


def test_the_built_in_plugins_are_found_by_the_same_door(load: Callable[..., Plugins]) -> None:
    names = {entry.name for entry in load().entries if entry.builtin}
    assert {"storage-overlay", "storage-vfs", "isolation-ns", "registry-hub"} <= names


def test_every_built_in_plugin_is_well(load: Callable[..., Plugins]) -> None:
    assert [q for q in load().check() if q.distribution == "swapbox"] == []


def test_a_driver_knows_its_plugin_and_distribution(install: Install, load: Callable[..., Plugins]) -> None:
    install("storage-foo", STORAGE.format(name="foo"), distribution="swapbox-foo")
    offer = load().offer("storage", "foo")
    assert (offer.spec.name, offer.plugin, offer.distribution) == ("foo", "storage-foo", "swapbox-foo")


def test_an_entry_point_may_name_an_object(install: Install, load: Callable[..., Plugins]) -> None:
    source = """
from swapbox import StorageDriverSpec, hookimpl
class Plugin:
    @hookimpl
    def swapbox_storage_drivers(self):
        yield StorageDriverSpec(name="inner", summary="", factory=print)
plugin = Plugin()
"""
    install("object", source, value="installed_object:plugin")
    assert load().offer("storage", "inner").plugin == "object"


def test_an_unknown_name_lists_what_there_is(install: Install, load: Callable[..., Plugins]) -> None:
    install("foo", STORAGE.format(name="foo"))
    with pytest.raises(NotFound, match="unknown storage driver 'zfs'") as caught:
        load().offer("storage", "zfs")
    assert caught.value.hint is not None
    assert "available: foo" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("this is no python", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x"),
        ("assert False, 'never'", "AssertionError: never"),
        (
            "from swapbox import hookimpl\n@hookimpl\ndef swapbox_storage_driver(): ...",
            "unknown hook 'swapbox_storage_driver', did you mean 'swapbox_storage_drivers'?",
        ),
        ("from swapbox import hookimpl\n@hookimpl\ndef swapbox_event(evnt): ...", "evnt"),
        ("def swapbox_event(event): ...", "function 'swapbox_event' is not marked with @hookimpl"),
        (
            "import pluggy\n@pluggy.HookimplMarker('swapbox')(wrapper=True)\ndef swapbox_event(event): yield",
            "hook 'swapbox_event' cannot be wrapped",
        ),
    ],
)
def test_a_faulty_plugin_is_kept_apart_with_its_error(
    install: Install, load: Callable[..., Plugins], source: str, error: str
) -> None:
    install("bad", source, distribution="bad-dist")
    install("good", STORAGE.format(name="good"))
    plugins = load()
    (quarantined,) = [q for q in plugins.quarantined if q.distribution != "swapbox"]
    assert (quarantined.name, quarantined.distribution, quarantined.version) == ("bad", "bad-dist", "1.0")
    assert error in quarantined.error
    assert plugins.offer("storage", "good")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise ValueError('no')\n    yield", "ValueError: no"),
        ("raise SystemExit\n    yield", "SystemExit"),
        ("yield 'text'", "yielded 'text', which is no spec of a storage driver"),
        (
            "from swapbox import LogDriverSpec\n    yield LogDriverSpec(name='x', summary='', factory=print)",
            "which is no spec of a storage driver",
        ),
        (
            "from swapbox import StorageDriverSpec\n"
            "    yield StorageDriverSpec(name='x', summary='', factory=print, api=(9, 3))",
            "storage driver 'x' was written for driver interface 9.3, this release has 1.0",
        ),
    ],
)
def test_a_plugin_that_offers_nonsense_is_kept_apart(
    install: Install, load: Callable[..., Plugins], body: str, error: str
) -> None:
    install("bad", f"from swapbox import hookimpl\n@hookimpl\ndef swapbox_storage_drivers():\n    {body}\n")
    install("good", STORAGE.format(name="good"))
    plugins = load()
    assert "good" in [offer.spec.name for offer in plugins.offers("storage")]
    (quarantined,) = [q for q in plugins.quarantined if q.distribution != "swapbox"]
    assert error in quarantined.error


def test_an_unknown_driver_says_which_faulty_plugin_might_have_had_it(
    install: Install, load: Callable[..., Plugins]
) -> None:
    install("zfs", "import no_such_module_anywhere", distribution="swapbox-zfs")
    with pytest.raises(NotFound) as caught:
        load().offer("storage", "zfs")
    assert "plugin 'zfs' of swapbox-zfs is in quarantine: ModuleNotFoundError" in str(caught.value.hint)


def test_a_hook_of_a_later_release_may_be_optional(install: Install, load: Callable[..., Plugins]) -> None:
    source = "from swapbox import hookimpl\n@hookimpl(optionalhook=True)\ndef swapbox_of_the_future(): ..."
    install("modern", source)
    assert third_party(load()) == ["modern"]
    assert load().quarantined == []


def test_two_plugins_with_one_driver_are_an_error_that_names_both(
    install: Install, load: Callable[..., Plugins]
) -> None:
    install("one", STORAGE.format(name="twin"), distribution="dist-one")
    install("two", STORAGE.format(name="twin"), distribution="dist-two")
    install("other", STORAGE.format(name="other"))
    plugins = load()
    assert plugins.offer("storage", "other")
    with pytest.raises(PluginError, match=r"'twin' is offered twice: by dist-one .* and dist-two"):
        plugins.offer("storage", "twin")


def test_two_distributions_may_use_one_plugin_name(install: Install, load: Callable[..., Plugins]) -> None:
    install("same", STORAGE.format(name="first"), distribution="dist-one")
    install("other", STORAGE.format(name="second"), distribution="dist-other")
    (metadata,) = Path(sys.path[0]).glob("dist-other-*")
    (metadata / "entry_points.txt").write_text("[swapbox.plugins]\nsame = installed_other\n")
    assert {"first", "second"} <= {offer.spec.name for offer in load().offers("storage")}


def test_damaged_metadata_of_another_package_hides_no_plugin(
    site: Path, install: Install, load: Callable[..., Plugins]
) -> None:
    install("good", STORAGE.format(name="good"))
    damaged = site / "damaged-1.0.dist-info"
    damaged.mkdir()
    (damaged / "entry_points.txt").write_bytes(b"[swapbox.plugins]\n\xff\xfe no equals sign\n")
    (site / "empty-1.0.dist-info").mkdir()
    assert third_party(load()) == ["good"]


BOMB = "import pathlib\npathlib.Path({marker!r}).touch()\n"


def test_swapbox_plugins_leaves_out_others_before_they_are_imported(
    install: Install, load: Callable[..., Plugins], tmp_path: Path
) -> None:
    install("bomb", BOMB.format(marker=str(tmp_path / "imported")))
    install("good", STORAGE.format(name="good"))
    plugins = load(only="good, more")
    assert third_party(plugins) == ["good"]
    assert [entry.name for entry in plugins.left_out] == ["bomb"]
    assert [entry for entry in plugins.entries if entry.builtin]
    assert not (tmp_path / "imported").exists()


def test_no_plugins_leaves_out_every_third_party_before_it_is_imported(
    install: Install, load: Callable[..., Plugins], tmp_path: Path
) -> None:
    install("bomb", BOMB.format(marker=str(tmp_path / "imported")))
    plugins = load(third_party=False)
    assert third_party(plugins) == []
    assert not (tmp_path / "imported").exists()
    with pytest.raises(NotFound) as caught:
        plugins.offer("storage", "of-the-bomb")
    assert "left out by SWAPBOX_PLUGINS or --no-plugins: 'bomb'" in str(caught.value.hint)


class TestWithIndex:
    """The second command knows what the first one found."""

    @pytest.fixture
    def cached(self, tmp_path: Path, load: Callable[..., Plugins]) -> Callable[..., Plugins]:
        def cached(**options: object) -> Plugins:
            return load(cache_dir=tmp_path / "cache", **options)

        return cached

    def test_nothing_is_scanned_again(
        self, install: Install, cached: Callable[..., Plugins], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install("foo", STORAGE.format(name="foo"))
        monkeypatch.setattr("swapbox.plugins.index.SETTLED_NS", 0)  # what has just changed counts as settled
        cached()  # the first import writes byte code beside the plugin
        first = cached()
        monkeypatch.setattr("swapbox.plugins.discovery.scan", None)
        assert cached().entries == first.entries

    def test_a_new_plugin_is_found_at_once(self, install: Install, cached: Callable[..., Plugins]) -> None:
        install("foo", STORAGE.format(name="foo"))
        assert third_party(cached()) == ["foo"]
        install("bar", STORAGE.format(name="bar"))
        assert third_party(cached()) == ["bar", "foo"]

    def test_an_edited_plugin_is_checked_again(self, install: Install, cached: Callable[..., Plugins]) -> None:
        install("foo", STORAGE.format(name="foo"))
        assert cached().quarantined == []
        install("foo", STORAGE.format(name="foo").replace("drivers():", "driver():"))
        assert "unknown hook" in cached().quarantined[0].error

    def test_a_plugin_left_out_at_first_is_checked_when_it_is_wanted(
        self, install: Install, cached: Callable[..., Plugins]
    ) -> None:
        install("foo", STORAGE.format(name="foo"))
        assert third_party(cached(third_party=False)) == []
        assert cached().offer("storage", "foo")
        assert third_party(cached(third_party=False)) == []

    def test_a_plugin_that_was_mended_is_found_when_asked_for(
        self, install: Install, cached: Callable[..., Plugins], site: Path
    ) -> None:
        install("foo", "import installed_need\n" + STORAGE.format(name="foo"))
        assert len(cached().quarantined) == 1
        plugins = cached()
        (site / "installed_need.py").touch()
        assert plugins.offer("storage", "foo")
        assert plugins.quarantined == []


def test_a_command_that_asks_nothing_imports_no_plugin_and_none_of_the_machinery(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from swapbox.plugins.manager import Plugins
plugins = Plugins.load(environment={{}}, cache_dir=Path({str(tmp_path / "cache")!r}))
assert plugins.entries
assert not plugins.implements("swapbox_no_such_hook")
print(*sys.modules)
"""

    def run() -> set[str]:
        command = [sys.executable, "-P", "-c", program]
        return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    assert "stevedore" in run()
    again = run()
    assert again & {"stevedore", "pluggy", "importlib.metadata", "inspect", "threading"} == set()
    assert [name for name in again if name.startswith("swapbox_")] == []
