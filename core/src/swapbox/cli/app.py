"""The top of the command line: global options, where each verb lives, and how errors end a command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swapbox import __version__
from swapbox.cli.early import GLOBAL_OPTIONS
from swapbox.cli.groups import Group
from swapbox.engine import Engine
from swapbox.errors import ForcedExit, SwapboxError

if TYPE_CHECKING:
    from swapbox.containers.spawn import Monitor
    from swapbox.timings import Timings


class ClientError(SwapboxError):
    """A mistake that Docker's client finds itself, and prints without ``Error:`` before it.

    :param code: the exit code.
    """

    def __init__(self, message: str, *, code: int = 1, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


FLAG_ERROR = 125
"""The exit code of Docker's client for a flag it does not know, and of ``run`` for an error of the engine."""

# Where each verb lives; its module is imported when the verb is used.
_VERBS = {
    "pull": "images",
    "push": "push",
    "images": "image_list",
    "tag": "images",
    "login": "login",
    "search": "search",
    "logout": "login",
    "rmi": "images",
    "image": "nouns",
    "manifest": "nouns",
    "run": "run",
    "container": "nouns",
    "ps": "container_list",
    "logs": "containers",
    "create": "create",
    "start": "start",
    "attach": "start",
    "exec": "exec",
    "stop": "life",
    "restart": "life",
    "kill": "life",
    "pause": "life",
    "unpause": "life",
    "wait": "life",
    "rm": "life",
    "rename": "life",
    "update": "life",
    "port": "life",
    "top": "top",
    "stats": "stats",
    "inspect": "inspect",
    "commit": "files",
    "cp": "files",
    "diff": "files",
    "export": "files",
    "save": "archives",
    "load": "archives",
    "import": "archives",
    "events": "events",
    "history": "history",
    "storage": "nouns",
    "system": "nouns",
    "version": "system",
    "info": "system",
    "plugins": "plugin_list",
    "volume": "nouns",
    "network": "nouns",
    "registry": "nouns",
    "help": "help",
    "completion": "completion",
}

_FUNCTIONS = {"exec": "exec_", "import": "import_"}  # words of Python's

# Verbs of Docker's that are still to come: one of these is no misspelling.
_TO_COME = ("build",)


class Verbs(Group):
    """A group whose commands are imported one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every verb, plugins' own included."""
        _add_plugin_commands(self, ctx)
        return sorted({*_VERBS, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name in _VERBS:
            from importlib import import_module

            module = import_module(f"swapbox.cli.{_VERBS[cmd_name]}")
            command: click.Command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
            return command
        _add_plugin_commands(self, ctx)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; end as by SIGPIPE when nobody reads its output any more (click would end with 1)."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _drop_output()
            return 128 + signal.SIGPIPE

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; say of Docker's others that they are to come."""
        if args[0] in _TO_COME and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"unknown command: swapbox {args[0]} (Docker's, not in this release)", ctx)
        return super().resolve_command(ctx, args)


def _drop_output() -> None:
    """Throw away what Python still holds for a stdout that takes nothing: writing it would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _add_plugin_commands(group: click.Group, ctx: click.Context) -> None:
    engine = _described_engine(ctx)
    engine.plugins.notify("swapbox_cli", warn=engine.warn, group=group)


_DRIVER_OPTIONS = (
    ("--storage-driver", "storage", "Storage driver."),
    ("--isolation", "isolation", "Isolation driver."),
    ("--cgroup", "cgroup", "Cgroup controller."),
    ("--log-driver", "logging", "Log driver."),
    ("--registry", "registry", "Registry driver."),
    ("--network-driver", "network_driver", "Driver of the network where none is named."),
    ("--volume-driver", "volume_driver", "Volume driver."),
)


def driver_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that choose drivers: those named, or all."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for flag, name, help in reversed(_DRIVER_OPTIONS):
            if not names or name in names:
                function = click.option(flag, name, metavar="NAME", help=help)(function)
        return function

    return add


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: swapbox run --rm -it alpine sh",
)
@click.option("--root", type=click.Path(path_type=Path), help="Where images and containers are kept.")
@click.option("--run-root", type=click.Path(path_type=Path), help="The same for what ends with a reboot.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Read this configuration file only."
)
@click.option("--no-plugins", is_flag=True, help="Leave out plugins that did not come with swapbox.")
@click.option("--timings", is_flag=True, help="Show on stderr where the time went; for every command.")
@driver_options()
@click.version_option(__version__, "-v", "--version", message="swapbox version %(version)s")
@click.pass_context
def swapbox(ctx: click.Context, /, **_global: Any) -> None:
    """A container engine in which every backend can be swapped."""
    state = ctx.ensure_object(dict)
    state["timings wanted"] = state.get("timings wanted") or _global["timings"]
    monitor: Monitor | None = state.get("monitor")
    if monitor is not None:
        monitor.prepare(_described_engine(ctx))


def _described_engine(ctx: click.Context) -> Engine:
    """Return the engine that the global options describe, made when it is first asked for.

    It is not closed at the end: the process ends, and closing the last connection to a SQLite file waits for the
    disk.
    """
    top = ctx.find_root()
    state, given = top.ensure_object(dict), top.params
    if "engine" not in state:
        chosen = {name: given.get(f"{name}_driver", given.get(name)) for name in GLOBAL_OPTIONS.values()}
        state["engine"] = Engine(**chosen, third_party=not given.get("no_plugins"), warn=warn)
        state["engine"].timings = state.get("timings")
    engine: Engine = state["engine"]
    return engine


def monitor_of(ctx: click.Context) -> Monitor:
    """Return the monitor that ``main`` has forked early, or a new one."""
    from swapbox.containers.spawn import spawn

    monitor: Monitor | None = ctx.ensure_object(dict).pop("monitor", None)
    if monitor is None:
        engine = engine_of(ctx)
        monitor = spawn()
        monitor.prepare(engine)
    return monitor


def engine_of(ctx: click.Context) -> Engine:
    """Return the engine that the global options describe.

    :raises SwapboxError: this user can have none.
    """
    if (refused := ctx.ensure_object(dict).get("refused")) is not None:
        raise refused
    engine = _described_engine(ctx)
    if engine.timings is not None and engine.timings.phase == "parse":
        engine.timings.begin("command")
    return engine


def warn(message: str) -> None:
    """Print one warning."""
    click.echo(f"WARNING: {message}", err=True)


def print_error(error: SwapboxError, *, prefix: str | None = None) -> None:
    """Print an error and its hint, after ``Error: `` unless it is one that Docker's client finds."""
    if prefix is None:
        prefix = "" if isinstance(error, ClientError) else "Error: "
    click.echo(f"{prefix}{error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


@contextmanager
def about(words: str) -> Iterator[None]:
    """Put words before the message of an error that goes through."""
    try:
        yield
    except SwapboxError as error:
        error.message = f"{words}: {error.message}"
        raise


def for_each(names: Sequence[str], action: Callable[[str], object], *, echo: bool = True) -> int:
    """Do something for every name: echo it when that went well, go on past failures; return the exit code."""
    code = 0
    for name in names:
        try:
            action(name)
        except SwapboxError as error:
            print_error(error)
            code = 1
        else:
            if echo:
                click.echo(name)
    return code


def run(
    argv: Sequence[str],
    *,
    monitor: Monitor | None = None,
    refused: SwapboxError | None = None,
    timings: Timings | None = None,
) -> int:
    """Run one command; return its exit code. Never raises for a user's mistake.

    :param monitor: one for the container that the command will start, forked before all imports.
    :param refused: why this user can have no engine; raised by the verbs that need one.
    :param timings: where the time goes; printed if ``--timings`` is an option of the command.
    """
    state: dict[str, Any] = {"monitor": monitor, "refused": refused, "timings": timings}
    if timings is not None:
        timings.begin("parse")
    code = _outcome(argv, state)
    if timings is not None and state.get("timings wanted"):
        from swapbox.cli.timings import report

        click.echo(report(timings), err=True)
    return code


def _outcome(argv: Sequence[str], state: dict[str, Any]) -> int:
    """Run one command; say how it failed; return its exit code."""
    try:
        result = swapbox.main(list(argv), prog_name="swapbox", standalone_mode=False, obj=state)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 0
    except click.ClickException as error:
        from swapbox.cli.usage import report

        return report(error)
    except click.Abort:
        return 130
    except ClientError as error:
        print_error(error)
        return error.code
    except SwapboxError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except ForcedExit:
        return 1
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except OSError as error:
        if error.filename is not None:
            raise
        print_error(ClientError(f"write /dev/stdout: {str(error.strerror).lower()}"))
        _drop_output()
        return 1
    return result if isinstance(result, int) else 0
