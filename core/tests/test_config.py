"""A configuration file is read as it says, and its mistakes are named with file and key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from swapbox import config
from swapbox.config import Config, Limits, Rule
from swapbox.errors import InvalidInput, NotFound


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(file: Path, text: str) -> Config:
    file.write_text(text)
    return config.load(environment={}, path=file)


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert config.load(environment={"XDG_CONFIG_HOME": str(tmp_path)}) == Config()


def test_without_a_file_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tomllib", raising=False)
    config.load(environment={"XDG_CONFIG_HOME": str(tmp_path)})
    assert "tomllib" not in sys.modules


def test_every_setting(file: Path) -> None:
    found = read(
        file,
        """
offline = true
root = "/data/swapbox"
run-root = "/run/other"

[drivers]
storage = "vfs"
logging = "none"

[options.storage.overlay]
metacopy = true
ceiling = 12

[limits]
max-ratio = 100
max-entries = 5
max-path = 255

[registries."docker.io"]
mirrors = ["mirror.lan:5000", "mirror.example/hub"]

[registries."quay.io/team"]
location = "registry.lan/team"

[registries."*"]
blocked = true

[networks]
pools = [{base = "10.210.0.0/16", size = 24}]
""",
    )
    assert found.registries == {
        "docker.io": Rule(mirrors=("mirror.lan:5000", "mirror.example/hub")),
        "quay.io/team": Rule(location="registry.lan/team"),
        "*": Rule(blocked=True),
    }
    assert (found.root, found.run_root) == (Path("/data/swapbox"), Path("/run/other"))
    assert found.offline
    assert found.drivers == {"storage": "vfs", "logging": "none"}
    assert found.options == {("storage", "overlay"): {"metacopy": "true", "ceiling": "12"}}
    assert found.pools == (("10.210.0.0/16", 24),)
    assert found.limits == Limits(max_ratio=100, max_entries=5, max_path=255)
    assert found.sources["drivers.storage"] == file


def test_the_users_file_goes_before_the_systems_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, user = tmp_path / "system.toml", tmp_path / "user.toml"
    system.write_text('[drivers]\nstorage = "vfs"\nlogging = "none"\n[options.storage.vfs]\na = "1"\nb = "1"\n')
    user.write_text('[drivers]\nstorage = "overlay"\n[options.storage.vfs]\nb = "2"\n')
    monkeypatch.setattr(config, "config_files", lambda _environment: (system, user))
    found = config.load(environment={})
    assert found.drivers == {"storage": "overlay", "logging": "none"}
    assert found.options["storage", "vfs"] == {"a": "1", "b": "2"}
    assert found.sources["drivers.logging"] == system


def test_a_file_asked_for_replaces_the_others(file: Path, tmp_path: Path) -> None:
    (tmp_path / "swapbox").mkdir()
    (tmp_path / "swapbox/config.toml").write_text("[drivers]\nstorage = 'overlay'\n")
    file.write_text("[drivers]\nlogging = 'none'\n")
    environment = {"SWAPBOX_CONFIG": str(file), "XDG_CONFIG_HOME": str(tmp_path)}
    assert config.load(environment=environment).drivers == {"logging": "none"}
    with pytest.raises(NotFound, match="flag"):
        config.load(environment=environment, path=tmp_path / "flag.toml")


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("rot = '/x'", "unknown setting 'rot'", "did you mean 'root'?"),
        ("[drivers]\nstorrage = 'x'", "unknown setting 'drivers.storrage'", "did you mean 'drivers.storage'?"),
        ("[driver]\nstorage = 'x'", "unknown setting 'driver'", "did you mean 'drivers'?"),
        ("[options.storge.vfs]\na = 1", "unknown setting 'options.storge'", None),
        ("root = 'relative'", "root: expected an absolute path, not 'relative'", None),
        ("root = 3", "root: expected an absolute path, not 3", None),
        ("drivers = 'vfs'", "unknown setting 'drivers'", None),
        ("[drivers]\nstorage = ''", "drivers.storage: expected a text, not ''", None),
        ("[limits]\nmax-ratio = 0", "limits.max-ratio: expected a whole number above 0, not 0", None),
        ("[limits]\nmax-ratio = true", "limits.max-ratio: expected a whole number above 0, not True", None),
        ("[limits]\nmax-path = '1k'", "limits.max-path: expected a whole number above 0, not '1k'", None),
        ("[options.storage]\nvfs = 1", "options.storage.vfs: expected a table, not 1", None),
        ("[options.storage.vfs]\na = [1]", "options.storage.vfs: expected a text, a number or a truth", None),
        ("offline = 1", "offline: expected true or false, not 1", None),
        ("[registries.docker.io]\nblocked = true", "expected a host, or a host and the beginning", "docker.io"),
        ('[registries."ghcr.io"]\nblocked = 1', "registries.ghcr.io: expected true or false", None),
        (
            '[registries."ghcr.io"]\nmirror = "x"',
            "expected location, mirrors, blocked in it",
            None,
        ),
        ('[registries."ghcr.io"]\nmirrors = "x"', "expected a list of mirrors", None),
        ('[registries."ghcr.io"]\nlocation = "team"', "expected a host, or a host and the beginning", None),
        ('[registries]\n"ghcr.io" = 1', "registries.ghcr.io: expected a table", None),
        ("[networks]\npools = [{base = 'x', size = 24}]", "expected an address and a prefix length", None),
        ("[networks]\npools = [{base = '10.0.0.0', size = 24}]", "expected an address and a prefix length", None),
        ("[networks]\npools = [{base = '10.0.0.0/16', size = 8}]", "a size from 16 to 30 for 10.0.0.0/16", None),
        ("[networks]\npools = [{base = 'fd00::/48', size = 127}]", "a size from 48 to 126 for fd00::/48", None),
        ("= 1", "Invalid", None),
    ],
)
def test_a_mistake_is_named(file: Path, text: str, error: str, hint: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(file, text)
    assert caught.value.message.startswith(f"{file}: ")
    assert error in caught.value.message
    if hint:
        assert hint in str(caught.value.hint)


def test_a_file_that_is_no_text_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=str(file)):
        config.load(environment={}, path=file)
