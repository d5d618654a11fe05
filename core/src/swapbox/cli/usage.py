"""Wrong usage in Docker's words, and the exit codes of its client."""

from __future__ import annotations

import re

import click

from swapbox.cli.app import FLAG_ERROR
from swapbox.cli.groups import BadValue
from swapbox.cli.help import usage


def report(error: click.ClickException) -> int:
    """Print a usage error as Docker does; return the exit code: 125 for wrong flags, 1 for wrong arguments."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if ctx is None:
        click.echo(f"swapbox: {error.format_message()}", err=True)
        return 1
    flag = _flag_message(error)
    message, advice = (flag, "Run") if flag else _argument_message(error, ctx)
    how = f"Usage:  {_short_usage(ctx)}\n\n" if flag or ctx.parent else ""
    click.echo(f"{message}\n\n{how}{advice} '{ctx.command_path} --help' for more information", err=True)
    return FLAG_ERROR if flag else 1


def _short_usage(ctx: click.Context) -> str:
    """Return how a command is called, with the odd difference that Docker makes here for groups."""
    if not isinstance(ctx.command, click.Group):
        return usage(ctx)
    return ctx.command_path if ctx.parent else f"{ctx.command_path} [OPTIONS] COMMAND [ARG...]"


def _flag_message(error: click.ClickException) -> str:
    """Return what is wrong with a flag; empty when something else is wrong."""
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        return (
            f"unknown flag: {name}" if name.startswith("--") else f"unknown shorthand flag: '{name[1]}' in {name}"
        )
    if isinstance(error, click.BadOptionUsage):
        name = error.option_name
        return (
            f"flag needs an argument: {name}"
            if name.startswith("--")
            else (f"flag needs an argument: '{name[1]}' in {name}")
        )
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option):
        return _invalid_value(error, error.param)
    return ""


def _invalid_value(error: click.BadParameter, option: click.Option) -> str:
    short = [name for name in option.opts if not name.startswith("--")]
    long = [name for name in option.opts if name.startswith("--")]
    names = ", ".join((*short, *long[:1]))
    number = re.fullmatch(r"'(.*)' is not a valid integer\.", error.message)
    if isinstance(error, BadValue):
        return f'invalid argument "{error.value}" for "{names}" flag: {error.message}'
    if number:
        reason = f'strconv.ParseInt: parsing "{number[1]}": invalid syntax'
        return f'invalid argument "{number[1]}" for "{names}" flag: {reason}'
    reason = error.message.removesuffix(".")
    return f'invalid argument for "{names}" flag: {reason[:1].lower()}{reason[1:]}'


def _argument_message(error: click.ClickException, ctx: click.Context) -> tuple[str, str]:
    """Return what is wrong with the arguments, and which word Docker begins its advice with."""
    message = error.format_message()
    missing = isinstance(error, click.MissingParameter) and isinstance(error.param, click.Argument)
    if not missing and "unexpected extra argument" not in message:
        return f"swapbox: {message}", "Run"
    wanted = [param for param in ctx.command.params if isinstance(param, click.Argument)]
    least = sum(param.required for param in wanted)
    if not wanted:
        return f"swapbox: '{ctx.command_path}' accepts no arguments", "Run"
    if any(param.nargs == -1 for param in wanted):
        count, advice = f"at least {least}", "See"
    elif least == len(wanted):
        count, advice = f"{least}", "Run"
    elif least:
        count, advice = f"at least {least} and at most {len(wanted)}", "Run"
    else:
        count, advice = f"at most {len(wanted)}", "Run"
    plural = "s" if int(count.rpartition(" ")[2]) != 1 else ""
    return f"swapbox: '{ctx.command_path}' requires {count} argument{plural}", advice
