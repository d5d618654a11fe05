"""Docker's management commands, ``swapbox container ls``: verbs once more, in groups by noun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from swapbox.cli.groups import Group


class Noun(Group):
    """A group of commands that are imported one at a time.

    :param verbs: where each is: ``module:attribute`` below :mod:`swapbox.cli`.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, each once."""
        names: dict[str, str] = {}
        for verb, where in self._verbs.items():
            names.setdefault(where, verb)
        return sorted([*names.values(), *self.commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in self._verbs:
            return super().get_command(ctx, cmd_name)
        from importlib import import_module

        module, _, attribute = self._verbs[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"swapbox.cli.{module}"), attribute)
        return command


container = Noun(
    "container",
    help="Manage containers.",
    epilog="Example: swapbox container ls -a",
    verbs={
        "kill": "containers:kill",
        "logs": "containers:logs",
        "ls": "container_list:ps",
        "list": "container_list:ps",
        "ps": "container_list:ps",
        "rm": "containers:rm",
        "run": "run:run",
        "stop": "containers:stop",
    },
)

image = Noun(
    "image",
    help="Manage images.",
    epilog="Example: swapbox image ls",
    verbs={
        "from-host": "images:from_host",
        "ls": "image_list:images",
        "list": "image_list:images",
        "pull": "images:pull",
        "rm": "images:rmi",
        "remove": "images:rmi",
        "tag": "images:tag",
    },
)
