"""Help pages as Docker's: ``swapbox --help``, ``swapbox VERB --help``, ``swapbox help VERB``."""

from __future__ import annotations

import inspect
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping

import click

from swapbox.cli.groups import Context, Group

COMMON = (
    *("run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"),
)
"""The verbs that ``docker --help`` shows first, in its order."""

_NARROW = 80


def page(ctx: click.Context) -> str:
    """Return the help page of a context's command."""
    command = ctx.command
    parts = [f"Usage:  {usage(ctx)}", _without_stop(inspect.cleandoc(command.help or ""))]
    if ctx.parent is not None and len(aliases := _aliases(ctx)) > 1:
        parts.append("Aliases:\n  " + ", ".join(aliases))
    options = _options(command.params)
    if ctx.parent is None and isinstance(command, click.Group):
        parts += _sections(ctx, command)
        parts.append("Global Options:\n" + options)
    else:
        if options:
            parts.append("Options:\n" + options)
        if isinstance(command, click.Group):
            parts.append(_section("Commands", _children(ctx, command)))
    if command.epilog:
        parts.append(command.epilog.replace("Example: ", "Example:\n  ").replace("; or: ", "\n  "))
    if isinstance(command, click.Group):
        parts.append(f"Run '{ctx.command_path} COMMAND --help' for more information on a command.")
    return "\n\n".join(part for part in parts if part)


def usage(ctx: click.Context) -> str:
    """Return how a command is called, such as ``swapbox stop [OPTIONS] CONTAINER [CONTAINER...]``."""
    parts = [ctx.command_path]
    if any(isinstance(param, click.Option) and not param.hidden for param in ctx.command.params):
        parts.append("[OPTIONS]")
    if isinstance(ctx.command, click.Group):
        parts.append("COMMAND")
    parts += [_argument(param) for param in ctx.command.params if isinstance(param, click.Argument)]
    return " ".join(parts)


def _argument(param: click.Argument) -> str:
    if param.metavar:
        return param.metavar
    name = (param.name or "").upper()
    if param.nargs == 1:
        return name if param.required else f"[{name}]"
    if name == "COMMAND":
        return "COMMAND [ARG...]" if param.required else "[COMMAND] [ARG...]"
    name = name.removesuffix("S")
    return f"{name} [{name}...]" if param.required else f"[{name}...]"


# -- options ------------------------------------------------------------------------------------------------------


def _options(params: Iterable[click.Parameter]) -> str:
    rows = [_row(param) for param in params if isinstance(param, click.Option) and not param.hidden]
    if not rows:
        return ""
    rows.sort(key=lambda row: row[0][6:])
    start = max(len(names) for names, _ in rows) + 3
    # Beside a very long option, text keeps room at the cost of lines that a narrow terminal wraps.
    room = max(_width() - start, 24)
    return "\n".join(line for names, text in rows for line in _wrapped(names, text, start=start, room=room))


def _row(option: click.Option) -> tuple[str, str]:
    """Return an option's names and value in Docker's columns, and its description."""
    short = next((f"{name}, " for name in option.opts if not name.startswith("--")), "    ")
    long = next(name for name in option.opts if name.startswith("--"))
    value = "" if option.is_flag else f" {option.metavar or _type_name(option)}"
    text = _without_stop(option.help or "")
    default = " (default true)" if option.is_flag and option.default is True else ""
    return f"  {short}{long}{value}", text + default


def _type_name(option: click.Option) -> str:
    """Return Docker's word for the type of an option's value."""
    if option.multiple:
        return "list"
    return "int" if option.type is click.INT else "string"


def _wrapped(names: str, text: str, *, start: int, room: int) -> Iterator[str]:
    lines = textwrap.wrap(text, room) or [""]
    yield f"{names:<{start}}{lines[0]}".rstrip()
    for line in lines[1:]:
        yield " " * start + line


def _width() -> int:
    try:
        return os.get_terminal_size(1).columns or _NARROW
    except OSError:
        return _NARROW


# -- commands -----------------------------------------------------------------------------------------------------


def _sections(ctx: click.Context, group: click.Group) -> list[str]:
    children = _children(ctx, group)
    common = {name: children[name] for name in COMMON if name in children}
    management = {name: command for name, command in children.items() if isinstance(command, click.Group)}
    rest = {name: command for name, command in children.items() if name not in {*common, *management}}
    return [
        _section("Common Commands", common),
        _section("Management Commands", management),
        _section("Commands", rest),
    ]


def _children(ctx: click.Context, group: click.Group) -> dict[str, click.Command]:
    found = ((name, group.get_command(ctx, name)) for name in group.list_commands(ctx))
    return {name: command for name, command in found if command is not None and not command.hidden}


def _section(title: str, commands: Mapping[str, click.Command]) -> str:
    lines = [f"  {name:<11} {summary(command)}" for name, command in commands.items()]
    return "\n".join([f"{title}:", *lines]) if lines else ""


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's description."""
    return _without_stop(inspect.cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " "))


def _without_stop(text: str) -> str:
    """Drop the full stop that a docstring has and a line of Docker's has not."""
    return text if text.endswith("..") else text.removesuffix(".")


def _aliases(ctx: click.Context) -> list[str]:
    """Return every way to call the same command: in groups first, as Docker does."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    top = _children(root, root.command)
    found = [
        f"{root.command_path} {group_name} {name}"
        for group_name, group in top.items()
        if isinstance(group, Group)
        for name in group.names(Context(group, root, group_name))
        if group.get_command(Context(group, root, group_name), name) is ctx.command
    ]
    return found + [f"{root.command_path} {name}" for name, command in top.items() if command is ctx.command]


# -- swapbox help -------------------------------------------------------------------------------------------------


@click.command(
    "help",
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    epilog="Example: swapbox help run",
)
@click.argument("verbs", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def help(ctx: click.Context, verbs: tuple[str, ...]) -> None:
    """Show help of the command."""
    found = ctx.find_root()
    for verb in verbs:
        command = found.command.get_command(found, verb) if isinstance(found.command, click.Group) else None
        if command is None:
            click.echo(f"unknown help topic: {' '.join(verbs)}", err=True)
            ctx.exit(1)
        found = Context(command, info_name=verb, parent=found)
    click.echo(found.get_help())
