"""One ``pip install .`` brings the core and every built-in plugin, and each plugin's folder stands on its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir())


def read(directory: Path) -> dict[str, Any]:
    return tomllib.loads((directory / "pyproject.toml").read_text())


MAIN = read(ROOT)


def entry_points(document: dict[str, Any]) -> dict[str, str]:
    points = document["project"]["entry-points"]["swapbox.plugins"]
    assert isinstance(points, dict)
    return points


def project(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def test_the_main_distribution_offers_what_the_plugins_do() -> None:
    offered: dict[str, str] = {}
    for plugin in PLUGINS:
        offered |= entry_points(read(plugin))
    assert entry_points(MAIN) == offered


def test_lists_are_in_order() -> None:
    assert list(entry_points(MAIN)) == sorted(entry_points(MAIN))


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
class TestEveryPlugin:
    def test_has_its_files(self, plugin: Path) -> None:
        package = plugin / f"src/swapbox_{plugin.name}"
        for file in ("README.md", "pyproject.toml", "tests/test_contract.py"):
            assert (plugin / file).is_file(), f"{plugin.name} lacks {file}"
        assert (package / "__init__.py").is_file()
        assert (package / "py.typed").is_file()

    def test_is_listed_where_it_must_be(self, plugin: Path) -> None:
        source = f"plugins/{plugin.name}/src"
        assert f"{source}/swapbox_{plugin.name}" in MAIN["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert source in MAIN["tool"]["mypy"]["mypy_path"]

    def test_is_a_distribution_of_its_own(self, plugin: Path) -> None:
        document = read(plugin)
        name = plugin.name.replace("_", "-")
        assert document["project"]["name"] == f"swapbox-{name}"
        assert document["project"]["version"] == MAIN["project"]["version"]
        assert entry_points(document) == {name: f"swapbox_{plugin.name}"}
        assert document["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/swapbox_{plugin.name}"]

    def test_needs_nothing_the_main_distribution_does_not_bring(self, plugin: Path) -> None:
        needed = {project(requirement) for requirement in read(plugin)["project"]["dependencies"]}
        brought = {project(requirement) for requirement in MAIN["project"]["dependencies"]} | {"swapbox"}
        assert "swapbox" in needed
        assert needed <= brought

    def test_its_tests_can_be_copied_out(self, plugin: Path) -> None:
        """They use nothing from a conftest.py outside the plugin's folder."""
        for file in (plugin / "tests").glob("*.py"):
            assert "conftest" not in file.read_text()


def test_the_version_is_the_same_everywhere() -> None:
    import swapbox

    assert swapbox.__version__ == MAIN["project"]["version"]


def test_every_public_name_can_be_imported() -> None:
    import swapbox

    for name in swapbox.__all__:
        assert getattr(swapbox, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        swapbox.no_such_name  # noqa: B018


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main distribution's wheel, built offline by the build backend installed for development."""
    target = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(target)], cwd=ROOT, check=True, capture_output=True)
    (file,) = target.glob("*.whl")
    return file


def test_the_wheel_has_only_our_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {
        "swapbox",
        *(f"swapbox_{plugin.name}" for plugin in PLUGINS),
    }
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]
    assert "swapbox/py.typed" in names


def test_an_installed_wheel_finds_its_plugins(wheel: Path, tmp_path: Path) -> None:
    """Outside the tree and without an editable install; what the core depends on is borrowed from here."""
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    import click
    import pluggy
    import stevedore

    borrowed = {str(Path(module.__file__ or "").parents[1]) for module in (click, pluggy, stevedore)}
    program = (
        "from swapbox.plugins.manager import Plugins\n"
        "import swapbox, sys\n"
        f"assert swapbox.__file__.startswith({str(site)!r}), swapbox.__file__\n"
        f"sys.path += {sorted(borrowed)!r}\n"
        "plugins = Plugins.load(environment={}, cache_dir=None)\n"
        "print(*(entry.name for entry in plugins.entries if not entry.error))"
    )
    outcome = subprocess.run(
        [tmp_path / "venv/bin/python", "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split() == sorted(entry_points(MAIN))
