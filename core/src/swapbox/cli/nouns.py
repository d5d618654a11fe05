"""Docker's management commands, ``swapbox container ls``: verbs once more, in groups by noun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from swapbox.cli.groups import Group


class Noun(Group):
    """A group of commands that are imported one at a time.

    :param verbs: what each is: a verb of the top level, or ``module:attribute`` below :mod:`swapbox.cli`.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, each under the first of its names."""
        names: dict[str, str] = {}
        for verb, where in self._verbs.items():
            names.setdefault(where, verb)
        return sorted([*names.values(), *self.commands])

    def names(self, ctx: click.Context) -> list[str]:
        """Return every name of every verb, in the order of the definition."""
        return [*self._verbs, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        where = self._verbs.get(cmd_name)
        if where is None:
            return super().get_command(ctx, cmd_name)
        module, colon, attribute = where.partition(":")
        if not colon:
            top = ctx.find_root().command
            assert isinstance(top, click.Group)
            return top.get_command(ctx, where)
        from importlib import import_module

        command: click.Command = getattr(import_module(f"swapbox.cli.{module}"), attribute)
        return command


def _same(*verbs: str) -> dict[str, str]:
    """Return verbs that have the same name at the top level."""
    return dict(zip(verbs, verbs, strict=True))


container = Noun(
    "container",
    help="Manage containers.",
    epilog="Example: swapbox container ls -a",
    verbs={
        **_same("attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port"),
        **_same("rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait"),
        "inspect": "inspect:container_inspect",
        "ls": "ps",
        "list": "ps",
        "ps": "ps",
        "prune": "prune:container_prune",
        "remove": "rm",
    },
)

image = Noun(
    "image",
    help="Manage images.",
    epilog="Example: swapbox image ls",
    verbs={
        **_same("history", "import", "load", "pull", "push", "save", "tag"),
        "from-host": "images:from_host",
        "inspect": "inspect:image_inspect",
        "ls": "images",
        "list": "images",
        "prune": "prune:image_prune",
        "rm": "rmi",
        "remove": "rmi",
    },
)

manifest = Noun(
    "manifest",
    help="Manage Docker image manifests and manifest lists.",
    epilog="Example: swapbox manifest inspect alpine",
    verbs={"inspect": "manifest:inspect"},
)

volume = Noun(
    "volume",
    help="Manage volumes.",
    epilog="Example: swapbox volume create data",
    verbs={
        "create": "volumes:create",
        "inspect": "volumes:inspect",
        "ls": "volumes:ls",
        "list": "volumes:ls",
        "prune": "volumes:prune",
        "rm": "volumes:rm",
        "remove": "volumes:rm",
    },
)

network = Noun(
    "network",
    help="Manage networks.",
    epilog="Example: swapbox network create front",
    verbs={
        "connect": "networks:connect",
        "create": "networks:create",
        "disconnect": "networks:disconnect",
        "inspect": "networks:inspect",
        "ls": "networks:ls",
        "list": "networks:ls",
        "prune": "networks:prune",
        "rm": "networks:rm",
        "remove": "networks:rm",
    },
)

registry = Noun(
    "registry",
    help="Manage a registry of your own.",
    epilog="Example: swapbox registry serve images",
    verbs={"serve": "registry:serve"},
)

storage = Noun(
    "storage",
    help="Manage storage drivers.",
    epilog="Example: swapbox storage migrate overlay vfs",
    verbs={"migrate": "storage:migrate"},
)

system = Noun(
    "system",
    help="Manage swapbox.",
    epilog="Example: swapbox system df",
    verbs={**_same("events", "info"), "df": "disk_usage:df", "prune": "prune:system_prune"},
)
