"""``swapbox completion``: what the shell offers after a tab, with click's machinery and swapbox's own names.

The script that a shell loads calls ``swapbox`` with ``_SWAPBOX_COMPLETE`` in its environment and the line so far
in ``COMP_WORDS``. Nothing is ever said on stderr then: it would land in the middle of what is being typed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from swapbox.cli.app import engine_of
from swapbox.cli.groups import Group

if TYPE_CHECKING:
    from swapbox.drivers.common import Kind
    from swapbox.engine import Engine

VARIABLE = "_SWAPBOX_COMPLETE"

# bash ends words at ":" and "=", so it must not be given what stands before the last of them in a word once more.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" type value
    local word="${line##*[[:space:]]}"
    local before="${word%%"${word##*[:=]}"}"
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case "$type" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                value="${value#"$before"}"
                [[ "$value" == *[:=] ]] && compopt -o nospace
                COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="$line" %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """bash 4.4 and newer, without the package bash-completion."""

    source_template = _BASH

    def source(self) -> str:
        """Return the script; no bash has to be here for that."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Read the line up to the cursor, in which ``host:5000/name:tag`` is one word."""
        from click.shell_completion import split_arg_string

        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() else (words[:-1], words[-1] if words else "")


class _WholeWords(ShellComplete):
    """A shell that replaces ``--option=val`` as a whole."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the items, each with the option it belongs to."""
        items = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if equals and option.startswith("--"):
            for item in items:
                item.value = f"{option}={item.value}"
        return items


class Zsh(_WholeWords, ZshComplete):
    """zsh."""


class Fish(_WholeWords, FishComplete):
    """fish."""


_SHELLS: Mapping[str, type[ShellComplete]] = {"bash": Bash, "zsh": Zsh, "fish": Fish}


@click.group(cls=Group)
def completion() -> None:
    """Generate the autocompletion script for swapbox for the specified shell."""


def _add(name: str, where: str) -> None:
    @completion.command(name, help=f"Generate the autocompletion script for {name}.", epilog=f"Example: {where}")
    @click.pass_context
    def script(ctx: click.Context) -> None:
        root = ctx.find_root().command
        click.echo(_SHELLS[name](root, {}, "swapbox", VARIABLE).source(), nl=False)


_add("bash", "swapbox completion bash >/etc/bash_completion.d/swapbox; or: source <(swapbox completion bash)")
_add("zsh", "swapbox completion zsh >/usr/local/share/zsh/site-functions/_swapbox")
_add("fish", "swapbox completion fish >~/.config/fish/completions/swapbox.fish")


def answer(environment: Mapping[str, str]) -> int:
    """Answer a shell's question; return the exit code. Whatever goes wrong, there is just nothing to offer."""
    from swapbox.cli.app import swapbox

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    shell = _SHELLS.get(environment[VARIABLE].partition("_")[0])
    if shell is None:
        return 1
    offer_names(swapbox)
    try:
        click.echo(shell(swapbox, {"obj": {}}, "swapbox", VARIABLE).complete())
    except Exception:
        return 1
    return 0


# -- what is offered ----------------------------------------------------------------------------------------------

_RUNNING = frozenset({"attach", "exec", "kill", "pause", "port", "stats", "stop", "top"})
_STATUS = {**dict.fromkeys(_RUNNING, ("running",)), "start": ("created", "exited"), "unpause": ("paused",)}


def offer_names(command: click.Command) -> None:
    """Let a command's parameters offer the names of what is here."""
    for param in command.params:
        values = _values(command.name or "", param)
        if values is not None:
            setattr(param, "shell_complete", _Offer(param, values))  # noqa: B010 - an instance's own, of a method


class _Offer:
    """Takes the place of a parameter's ``shell_complete``."""

    def __init__(self, param: click.Parameter, values: Callable[[Engine], Iterable[str]]) -> None:
        self._param = param
        self._values = values

    def __call__(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        given = ctx.params.get(self._param.name or "") or ()
        names = sorted(set(self._values(engine_of(ctx))))
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in given]


def _values(verb: str, param: click.Parameter) -> Callable[[Engine], Iterable[str]] | None:
    """Return what lists a parameter's values, None where click knows better."""
    if isinstance(param, click.Option):
        return next((_OPTIONS[name] for name in param.opts if name in _OPTIONS), None)
    name = param.name or ""
    if verb == "cp":
        return lambda engine: (f"{name}:" for name in _containers(engine, None))
    if verb == "inspect" and name == "names":
        return lambda engine: (*_containers(engine, None), *_images(engine), *_volumes(engine))
    if (verb, name) == ("logout", "server"):
        return _servers
    if name in ("container", "containers"):
        return lambda engine: _containers(engine, _STATUS.get(verb))
    if name in ("image", "images", "repository") or (verb, name) in _IMAGES:
        return _images
    if verb == "migrate" and name in ("source", "target"):
        return _drivers("storage")
    if name in ("network", "networks") and verb != "create":
        return _networks
    return _volumes if name in ("volume", "volumes") and verb != "create" else None


_IMAGES = frozenset({("tag", "source"), ("tag", "target"), ("rmi", "names"), ("history", "name")})


def _containers(engine: Engine, status: tuple[str, ...] | None) -> Iterable[str]:
    found = engine.containers.all()
    return (container.name for container in found if status is None or container.state.status in status)


def _images(engine: Engine) -> Iterable[str]:
    return (reference.familiar for image in engine.images.all() for reference in image.references)


def _volumes(engine: Engine) -> Iterable[str]:
    return (volume.name for volume in engine.volumes.all())


def _servers(engine: Engine) -> Iterable[str]:
    from swapbox.cli.login import login_driver

    return login_driver(engine, None).hosts()


def _drivers(kind: Kind) -> Callable[[Engine], Iterable[str]]:
    return lambda engine: (offer.spec.name for offer in engine.plugins.offers(kind))


def _always(*names: str) -> Callable[[Engine], Iterable[str]]:
    return lambda _engine: names


def _capabilities(_engine: Engine) -> Iterable[str]:
    from swapbox.linux.caps import BITS

    return ("ALL", *(name.removeprefix("CAP_") for name in BITS))


def _signals(_engine: Engine) -> Iterable[str]:
    return (found.name.removeprefix("SIG") for found in signal.Signals)


def _networks(engine: Engine) -> Iterable[str]:
    return (network.name for network in engine.networks.all())


_OPTIONS: Mapping[str, Callable[[Any], Iterable[str]]] = {
    "--storage-driver": _drivers("storage"),
    "--isolation": _drivers("isolation"),
    "--runtime": _drivers("isolation"),
    "--cgroup": _drivers("cgroup"),
    "--log-driver": _drivers("logging"),
    "--registry": _drivers("registry"),
    "--network-driver": _drivers("network"),
    "--network": _networks,
    "--volume-driver": _drivers("volume"),
    "--attach": _always("stdin", "stdout", "stderr"),
    "--container": lambda engine: _containers(engine, None),
    "--cap-add": _capabilities,
    "--cap-drop": _capabilities,
    "--env": lambda engine: engine.environment,
    "--format": _always("json", "table"),
    "--platform": _always("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/riscv64"),
    "--pull": _always("always", "missing", "never"),
    "--restart": _always("no", "on-failure", "always", "unless-stopped"),
    "--signal": _signals,
    "--stop-signal": _signals,
    "--type": _always("container", "image", "volume"),
}
