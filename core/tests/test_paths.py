"""Where things lie, and whose directories are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swapbox import paths
from swapbox.errors import InvalidInput, PermissionDenied, Unavailable
from swapbox.paths import Paths


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("as_root")
def test_root_has_the_system_directories() -> None:
    assert paths.resolve(environment={}) == Paths(Path("/var/lib/swapbox"), Path("/run/swapbox"))
    assert paths.cache_dir({"HOME": "/root"}) == Path("/var/cache/swapbox")


@pytest.mark.usefixtures("as_user")
def test_a_user_has_the_xdg_directories(tmp_path: Path) -> None:
    environment = {
        "HOME": "/home/me",
        "XDG_DATA_HOME": "/data",
        "XDG_RUNTIME_DIR": str(tmp_path),
        "XDG_CACHE_HOME": "/cache",
        "XDG_CONFIG_HOME": "/config",
    }
    assert paths.resolve(environment=environment) == Paths(Path("/data/swapbox"), tmp_path / "swapbox")
    assert paths.cache_dir(environment) == Path("/cache/swapbox")
    assert paths.config_files(environment)[-1] == Path("/config/swapbox/config.toml")


@pytest.mark.usefixtures("as_user")
def test_a_user_without_xdg_variables_has_their_defaults() -> None:
    environment = {"HOME": "/home/me", "XDG_DATA_HOME": "relative/is/ignored"}
    assert paths.resolve(environment=environment).root == Path("/home/me/.local/share/swapbox")
    assert paths.cache_dir(environment) == Path("/home/me/.cache/swapbox")
    assert paths.config_files(environment) == (
        Path("/etc/swapbox/config.toml"),
        Path("/home/me/.config/swapbox/config.toml"),
    )


@pytest.mark.usefixtures("as_user")
def test_a_user_without_a_home_has_to_name_a_root() -> None:
    with pytest.raises(InvalidInput, match="neither HOME nor XDG_DATA_HOME"):
        paths.resolve(environment={})
    assert paths.resolve(environment={}, root=Path("/r")).root == Path("/r")
    assert paths.cache_dir({}) is None


def test_flag_goes_before_environment_before_file() -> None:
    environment = {"HOME": "/h", "SWAPBOX_ROOT": "/env", "SWAPBOX_RUN_ROOT": "/env-run"}
    flag, configured = Path("/flag"), Path("/file")
    assert paths.resolve(environment=environment, root=flag, configured_root=configured).root == flag
    assert paths.resolve(environment=environment, configured_root=configured).root == Path("/env")
    assert paths.resolve(environment={"HOME": "/h"}, configured_root=configured).root == configured
    assert paths.resolve(environment=environment, run_root=flag).run_root == flag
    assert paths.resolve(environment=environment, configured_run_root=configured).run_root == Path("/env-run")
    assert paths.resolve(environment={"HOME": "/h"}, configured_run_root=configured).run_root == configured


def test_another_root_has_its_run_root_inside() -> None:
    assert paths.resolve(environment={"HOME": "/h"}, root=Path("/r")) == Paths(Path("/r"), Path("/r/run"))


def test_relative_roots_are_relative_to_the_working_directory_given() -> None:
    found = paths.resolve(environment={"HOME": "/h"}, root=Path("r"), cwd=Path("/work"))
    assert found == Paths(Path("/work/r"), Path("/work/r/run"))


def test_the_layout() -> None:
    layout = Paths(Path("/r"), Path("/run"))
    assert layout.db == Path("/r/db.sqlite")
    assert layout.content == Path("/r/content")
    assert layout.container("abc") == Path("/r/containers/abc")
    assert layout.container_run("abc") == Path("/run/containers/abc")
    assert layout.driver("storage", "overlay") == Path("/r/storage/overlay")
    assert layout.driver_run("storage", "overlay") == Path("/run/storage/overlay")


def test_directories_are_made_when_needed_and_private(tmp_path: Path) -> None:
    layout = Paths(tmp_path / "deep/root", tmp_path / "run")
    made = layout.make(layout.container("abc"))
    assert made.is_dir()
    assert made.stat().st_mode & 0o777 == 0o700
    assert layout.root.stat().st_mode & 0o777 == 0o700
    assert not layout.run_root.exists()
    assert layout.make(made) == made
    assert layout.make(layout.container_run("abc")).is_relative_to(layout.run_root)


def test_a_root_that_others_may_write_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(0o1777)
    layout = Paths(root, tmp_path / "run")
    with pytest.raises(PermissionDenied, match=r"can be written by others \(mode 1777\)"):
        layout.check()
    with pytest.raises(PermissionDenied):
        layout.make(layout.content)


def test_a_root_that_was_thrown_away_is_at_the_same_place_but_one_elsewhere_is_not(
    tmp_path: Path,
) -> None:
    above = tmp_path / "above"
    layout = Paths(above / "root", tmp_path / "run")
    layout.root.mkdir(parents=True)
    place = layout.place()
    layout.root.rmdir()
    assert layout.place() == place
    above.rename(tmp_path / "elsewhere")
    layout.root.mkdir(parents=True)
    assert layout.place() != place


def test_a_link_to_a_root_that_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    with pytest.raises(PermissionDenied, match="can be written by others"):
        paths.check_private(tmp_path / "link")


def test_a_root_of_another_user_is_refused(tmp_path: Path, as_user: None) -> None:
    if tmp_path.stat().st_uid == 1000:
        pytest.skip("the tests run as the very user they pretend to be")
    with pytest.raises(PermissionDenied, match=r"belongs to user \d+, not to 1000") as caught:
        Paths(tmp_path, tmp_path / "run").check()
    assert "--root" in str(caught.value.hint)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    layout = Paths(tmp_path / "root", tmp_path / "run")
    with pytest.raises(Unavailable, match=str(layout.root)):
        layout.make(layout.content)


def test_another_user_is_unprivileged(as_user: None) -> None:
    assert paths.is_unprivileged()
