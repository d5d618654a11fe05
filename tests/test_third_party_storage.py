"""A storage plugin from outside the tree is installed, found, offered and passes the contract; no edit here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
OFFERED = """
from swapbox.plugins.manager import Plugins

for offer in Plugins.load(environment={}, cache_dir=None).offers("storage"):
    print(offer.distribution, offer.spec.name)
"""


class Environment(NamedTuple):
    """A virtual environment that also sees what is installed in this one, swapbox too."""

    directory: Path

    def run(self, *arguments: str | Path) -> str:
        """Run its Python, expect success and return the output."""
        done = subprocess.run(
            [self.directory / "bin/python", *arguments],
            capture_output=True,
            text=True,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory), "LANG": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, project: Path) -> None:
        """Install a project from its folder; nothing is fetched."""
        options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
        self.run("-m", "pip", "install", *options, project)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    directory = tmp_path / "venv"
    venv.create(directory, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(directory)}))
    ours = sysconfig.get_path("purelib")
    packages.joinpath("outer.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return Environment(directory)


def renamed_copy(source: Path, target: Path, *, old: str, new: str) -> None:
    """Copy a plugin's folder with every name of it changed, as README.md of storage_vfs tells its readers to."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_file():
            path.write_text(path.read_text().replace(old, new))
        path.rename(path.with_name(path.name.replace(old, new)))


def vfs_as_foo(project: Path) -> None:
    renamed_copy(REPOSITORY / "plugins/storage_vfs", project, old="vfs", new="foo")


def example(project: Path) -> None:
    shutil.copytree(REPOSITORY / "examples/storage_cp", project, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize(("make", "name"), [(vfs_as_foo, "foo"), (example, "cp")])
def test_an_installed_plugin_is_offered_and_passes_the_contract(
    environment: Environment, tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    project = tmp_path / "project"
    make(project)
    before = environment.run("-c", OFFERED).splitlines()
    environment.install(project)
    after = environment.run("-c", OFFERED).splitlines()
    assert set(after) - set(before) == {f"swapbox-storage-{name} {name}"}
    assert {"swapbox overlay", "swapbox vfs"} <= set(before)
    tests = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", project / "tests")
    assert " passed" in tests
    assert " failed" not in tests
