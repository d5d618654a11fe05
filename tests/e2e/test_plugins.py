"""Plugins from outside: good ones work, broken ones stand in nobody's way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from swapbox.testing.process import Result
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

RAISES = "raise RuntimeError('this plugin is broken')\n"

COPYCAT = """
from swapbox import StorageDriverSpec, hookimpl

def make(context):
    from swapbox_storage_vfs.driver import Driver
    return Driver(context.root)

@hookimpl
def swapbox_storage_drivers():
    yield StorageDriverSpec(name="{name}", summary="a copy of vfs", factory=make)
"""

MISSPELT = """
from swapbox import hookimpl

@hookimpl
def swapbox_storage_divers():
    yield None
"""

GREETER = """
from swapbox import hookimpl

@hookimpl
def swapbox_container_spec(spec, container):
    spec["process"]["env"].append("GREETING=hello from a plugin")
"""


COMMANDER = """
import click
from swapbox import hookimpl

@hookimpl
def swapbox_cli(group):
    @group.command()
    def hello():
        "Greet."
        click.echo("hello")
"""

COMPLAINER = """
from swapbox import hookimpl

@hookimpl
def swapbox_event(event):
    if event.action == "die":
        raise RuntimeError("cannot see containers die")
"""


def install(directory: Path, name: str, source: str) -> Mapping[str, str]:
    """Install a plugin as a distribution of its own; return the environment that makes it visible."""
    module = name.replace("-", "_")
    (directory / f"{module}.py").write_text(source)
    info = directory / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[swapbox.plugins]\n{name} = {module}\n")
    return {"PYTHONPATH": str(directory)}


def test_the_built_in_plugins_are_listed(swapbox: Sandbox) -> None:
    listing = swapbox.ok("plugins", "ls")
    for name in ("overlay", "vfs", "ns", "hub", "json-file"):
        assert name in listing.split()


@pytest.mark.parametrize("source", [RAISES, MISSPELT, "import nosuchmodule\n", "this is not Python\n"])
def test_a_broken_plugin_stops_nothing(swapbox: Sandbox, tmp_path: Path, source: str) -> None:
    env = install(tmp_path, "broken-one", source)

    def works(*arguments: str) -> Result:
        return swapbox(*arguments, env=env).check()

    assert works("run", "--name", "fine", "busybox", "echo", "hi").out == "hi"
    works("run", "-d", "--name", "too", "busybox", "sleep", "1000")
    assert "too" in works("ps").out
    assert works("logs", "fine").out == "hi"
    assert works("rm", "-f", "fine", "too").out.split() == ["fine", "too"]
    listing = works("plugins", "ls")
    assert "broken-one" in listing.out + listing.err


def test_the_error_of_a_broken_plugin_is_shown(swapbox: Sandbox, tmp_path: Path) -> None:
    env = install(tmp_path, "broken-one", RAISES)
    listing = swapbox("plugins", "ls", env=env).check()
    assert "this plugin is broken" in listing.out + listing.err
    assert "Traceback" not in listing.err


@pytest.mark.parametrize("arguments", [("--no-plugins",), ()])
def test_plugins_can_be_left_out(swapbox: Sandbox, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    env = {**install(tmp_path, "broken-one", RAISES)}
    if not arguments:
        env["SWAPBOX_PLUGINS"] = "isolation-ns,storage-vfs"
    listing = swapbox(*arguments, "plugins", "ls", env=env).check()
    assert "broken-one" not in listing.out
    assert "this plugin is broken" not in listing.err


def test_a_storage_driver_from_outside_runs_containers(swapbox: Sandbox, tmp_path: Path) -> None:
    env = install(tmp_path, "copycat", COPYCAT.format(name="copycat"))
    assert "copycat" in swapbox("plugins", "ls", env=env).out
    result = swapbox(
        "run", "--name", "cat", "--storage-driver", "copycat", "busybox", "echo", "hi", env=env
    ).check()
    assert result.out == "hi"
    # Without the plugin the container cannot be removed, and the error says what is missing.
    swapbox("rm", "cat").fails(1, "copycat")
    assert swapbox.names("-a") == ["cat"]
    assert swapbox("rm", "cat", env=env).out == "cat"


def test_two_plugins_with_one_name_are_both_named(swapbox: Sandbox, tmp_path: Path) -> None:
    env = install(tmp_path, "copycat", COPYCAT.format(name="vfs"))
    result = swapbox("run", "--rm", "--storage-driver", "vfs", "busybox", "true", env=env)
    result.fails(125, "vfs", "copycat", "swapbox")


def test_a_plugin_may_edit_the_spec(swapbox: Sandbox, tmp_path: Path) -> None:
    env = install(tmp_path, "greeter", GREETER)
    greeting = swapbox("run", "--rm", "busybox", "sh", "-c", "echo $GREETING", env=env).check().out
    assert greeting == "hello from a plugin"


def test_why_explains_each_choice(swapbox: Sandbox) -> None:
    told = swapbox.ok("info", "--why")
    for kind in ("storage", "isolation", "cgroup", "logging", "registry", "network"):
        assert kind in told.lower()
    assert "vfs" in swapbox.ok("--storage-driver", "vfs", "info", "--why")
    chosen = swapbox("info", "--why", env={"SWAPBOX_STORAGE_DRIVER": "vfs"}).check().out
    assert "SWAPBOX_STORAGE_DRIVER" in chosen


def test_the_environment_chooses_a_driver(swapbox: Sandbox) -> None:
    swapbox("run", "--name", "chosen", "busybox", "true", env={"SWAPBOX_LOG_DRIVER": "none"}).check()
    assert swapbox.inspect("chosen")["HostConfig"]["LogConfig"]["Type"] == "none"


def test_version_and_info_say_what_is_here(swapbox: Sandbox) -> None:
    assert "Version" in swapbox.ok("version")
    assert str(swapbox.root) in swapbox.ok("info")


def test_a_plugin_adds_a_command(swapbox: Sandbox, tmp_path: Path) -> None:
    environment = install(tmp_path, "commander", COMMANDER)
    assert swapbox("hello", env=environment).check().out == "hello"
    assert "hello " in swapbox("--help", env=environment).check().out
    swapbox("hello").fails(1, "unknown command")


@pytest.mark.parametrize("seconds", ["0", "1.5"])  # while the monitor is warm, and after it has turned lean
def test_a_warning_at_the_end_of_a_container_reaches_the_attached_user(
    swapbox: Sandbox, tmp_path: Path, seconds: str
) -> None:
    environment = install(tmp_path, "complainer", COMPLAINER)
    result = swapbox("run", "--rm", "busybox", "sleep", seconds, env=environment)
    assert result.code == 0
    assert "WARNING: " in result.err
    assert "cannot see containers die" in result.err
