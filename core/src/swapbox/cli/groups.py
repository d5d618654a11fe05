"""What every command shares: Docker's look of help, and switches that take ``=true`` and ``=false``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from swapbox.errors import InvalidFlag

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


class BadValue(click.BadParameter):
    """An option got a value that it does not take; the message says why, in Docker's words."""

    def __init__(self, message: str, value: str, option: click.Option) -> None:
        super().__init__(message, param=option)
        self.value = value


def bad_value(ctx: click.Context, error: InvalidFlag) -> BadValue:
    """Return the error of usage for a value that the core does not take."""
    option = next(param for param in ctx.command.params if param.name == error.option)
    assert isinstance(option, click.Option)
    bad = BadValue(error.message, error.value, option)
    bad.ctx = ctx
    return bad


class Context(click.Context):
    """A command's context, whose help looks like Docker's."""

    def get_help(self) -> str:
        """Return the help page."""
        from swapbox.cli.help import page

        return page(self)

    @contextmanager
    def scope(self, cleanup: bool = True) -> Iterator[click.Context]:
        """Be the current context; click forgets for some errors of parsing whose they are."""
        with super().scope(cleanup) as ctx:
            try:
                yield ctx
            except click.UsageError as error:
                error.ctx = error.ctx or self
                raise


class Group(click.Group):
    """A group of commands, such as ``container``; every one of ours is of this class."""

    context_class = Context

    def names(self, ctx: click.Context) -> list[str]:
        """Return what its commands can be called, other names for the same one included."""
        return self.list_commands(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say in Docker's words that there is none."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"unknown command: {ctx.command_path} {args[0]}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            command.context_class = Context
            if ctx.resilient_parsing:  # nothing runs: a shell wants to know what could be typed
                from swapbox.cli.completion import offer_names

                offer_names(command)
            with Context(command, ctx, name).scope():
                rest = list(_plain_switches(ctx, command, rest))
        return name, command, rest


def _plain_switches(ctx: click.Context, command: click.Command, args: Sequence[str]) -> Iterator[str]:
    """Turn ``--switch=true`` into ``--switch``, and ``--switch=false`` into its opposite, or nothing.

    click knows no values for switches, Docker does. Options end at ``--``, and at the first argument where the
    command says so.
    """
    options = {name: param for param in command.params if isinstance(param, click.Option) for name in param.opts}
    interspersed = command.context_settings.get("allow_interspersed_args", True)
    rest = iter(args)
    for arg in rest:
        if arg == "--" or not (interspersed or arg.startswith("-")):
            yield arg
            yield from rest
            return
        name, equals, value = arg.partition("=")
        option = options.get(name)
        if equals and option is not None and option.is_flag:
            yield from _switch(option, name, value)
            continue
        if arg == "--timings" and arg not in options and not isinstance(command, click.Group):
            ctx.find_root().ensure_object(dict)["timings wanted"] = True  # a global option that goes anywhere
            continue
        yield arg
        if _wants_next(arg, options):
            yield from (value for value in [next(rest, None)] if value is not None)


def _switch(option: click.Option, name: str, value: str) -> Iterator[str]:
    if value in _TRUE:
        yield name
    elif value not in _FALSE:
        raise BadValue(f'strconv.ParseBool: parsing "{value}": invalid syntax', value, option)
    elif option.secondary_opts:
        yield option.secondary_opts[0]


def _wants_next(arg: str, options: Mapping[str, click.Option]) -> bool:
    """Say whether the argument after this one is an option's value."""
    if arg.startswith("--"):
        return arg in options and not options[arg].is_flag
    for place, letter in enumerate(arg[1:], start=2):
        option = options.get(f"-{letter}")
        if option is None or not option.is_flag:
            return option is not None and place == len(arg)
    return False
