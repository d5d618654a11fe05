"""Help and wrong usage, beside Docker's client where it is installed; no daemon is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from swapbox.cli.app import swapbox as root
from swapbox.cli.groups import Context, Group
from swapbox.errors import Unsupported
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import console_script
from swapbox.testing.servers import plain_environment, require

OURS_ALONE = {"help", "plugins", "completion", "registry", "storage"}
WITHOUT_DOCKERS_WORDS = {"version", "inspect", "system"}


def commands(ctx: click.Context) -> Iterator[click.Context]:
    """Yield a context for every command below one, each of its names included."""
    assert isinstance(ctx.command, click.Group)
    for name in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, name)
        assert command is not None, name
        child = Context(command, ctx, name)
        yield child
        if isinstance(command, click.Group):
            yield from commands(child)


COMMANDS = {ctx.command_path: ctx for ctx in commands(Context(root, info_name="swapbox", obj={}))}


@pytest.fixture
def swapbox(tmp_path: Path) -> Engine:
    environment = {**plain_environment(tmp_path), "SWAPBOX_ROOT": str(tmp_path / "root")}
    return Engine(console_script(), "--run-root", tmp_path / "run", environment=environment)


@pytest.fixture
def docker(tmp_path: Path) -> Engine:
    try:
        return Engine(require("docker", "docker.io"), environment=plain_environment(tmp_path))
    except Unsupported as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help_with_an_example(path: str) -> None:
    ctx = COMMANDS[path]
    text = ctx.get_help()
    assert text.startswith(f"Usage:  {path}")
    if isinstance(ctx.command, click.Group):
        assert isinstance(ctx.command, Group)
        assert f"Run '{path} COMMAND --help' for more information on a command." in text
    else:
        assert re.search(r"\n\nExample:\n  swapbox .+", text)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_described(path: str) -> None:
    for param in COMMANDS[path].command.params:
        assert not isinstance(param, click.Option) or param.help or param.hidden, param


def test_the_first_page_groups_the_verbs_as_docker_does(swapbox: Engine, docker: Engine) -> None:
    ours, theirs = sections(swapbox.ok("--help")), sections(docker.ok("--help"))
    assert list(ours) == [name for name in theirs if name != "Swarm Commands"]
    for title in ("Common Commands", "Management Commands", "Commands"):
        shared = {name: text for name, text in ours[title].items() if name not in OURS_ALONE}
        assert shared == {name: theirs[title][name] for name in shared} | {
            name: text for name, text in shared.items() if name in WITHOUT_DOCKERS_WORDS
        }
    assert [name for name in theirs["Common Commands"] if name in ours["Common Commands"]] == list(
        ours["Common Commands"]
    )


def sections(page: str) -> dict[str, dict[str, str]]:
    """Return the commands of a first help page by section and name."""
    parts = re.split(r"^([A-Z][a-z]+ (?:Commands|Options)|Commands):$", page, flags=re.MULTILINE)[1:]
    return {
        title: dict(re.findall(r"^  (\S+) +(.+)$", text, re.MULTILINE))
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_is_called_as_dockers(path: str, docker: Engine) -> None:
    theirs = docker(*path.split()[1:], "--help").out.partition("\n")[0]
    if not theirs.startswith(f"Usage:  docker {path.partition(' ')[2]}") or path.split()[1] in OURS_ALONE:
        pytest.skip("Docker has no such command")
    if path.endswith(" cp"):
        pytest.skip("Docker has two lines, one a direction")
    ours = COMMANDS[path].get_help().partition("\n")[0]
    assert without_options(ours).replace("swapbox", "docker") == without_options(theirs)


def without_options(usage: str) -> str:
    """Leave out whether there are options: the engines need not have the same."""
    return usage.replace(" [OPTIONS]", "")


def test_a_command_of_several_names_says_so(swapbox: Engine) -> None:
    names = "Aliases:\n  swapbox container ls, swapbox container list, swapbox container ps, swapbox ps\n"
    assert names in swapbox.ok("container", "list", "--help")
    assert names in swapbox.ok("ps", "--help")


def test_help_of_a_verb_is_the_verbs_own(swapbox: Engine) -> None:
    assert swapbox.ok("help", "image", "ls") == swapbox.ok("image", "ls", "--help")
    assert swapbox.ok("help") == swapbox.ok("--help")
    assert swapbox("help", "nope").err == "unknown help topic: nope"
    assert swapbox("help", "nope").code == 1


WRONG = [
    ["stop"],
    ["tag", "one"],
    ["images", "one", "two"],
    ["nosuch"],
    ["image", "nosuch"],
    ["stop", "-t", "soon", "box"],
    ["stop", "-t"],
    ["stop", "--signal"],
    ["ps", "--nosuch"],
    ["--nosuch"],
    ["ps", "-Q"],
    ["ps", "-aQ"],
    ["ps", "--all=perhaps"],
    ["ps", "-a=perhaps"],
    ["run"],
    ["run", "--rm=perhaps", "image"],
    ["run", "--memory"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage_is_answered_in_dockers_words(arguments: list[str], swapbox: Engine, docker: Engine) -> None:
    ours, theirs = swapbox(*arguments), docker(*arguments)
    # One of Docker's own messages has a slip of the keyboard.
    expected = theirs.err.replace("docker", "swapbox").replace("\nSRun", "\nRun")
    assert (ours.code, ours.out, ours.err) == (theirs.code, theirs.out, expected)


def test_a_switch_takes_a_value_as_in_docker(swapbox: Engine) -> None:
    assert swapbox.ok("ps", "--quiet=true", "-a=1") == ""
    assert swapbox.ok("ps", "--quiet=false").startswith("CONTAINER ID")


def test_what_follows_the_image_is_not_looked_at(swapbox: Engine) -> None:
    result = swapbox("run", "--dry-run=true", "-e", "--rm=perhaps", "nosuch.invalid/image", "--rm=perhaps")
    assert "perhaps" not in result.err
