"""``swapbox exec``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import ClientError, engine_of, monitor_of, print_error
from swapbox.cli.attach import SignalProxy, attach, check_terminal, terminal_size
from swapbox.cli.detach import chosen_keys
from swapbox.cli.groups import bad_value
from swapbox.containers.execute import plan
from swapbox.errors import CommandNotExecutable, InvalidFlag, InvalidInput

if TYPE_CHECKING:
    from swapbox.containers.spawn import Monitor
    from swapbox.engine import Engine


@click.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    epilog="Example: swapbox exec -it -u root web sh",
)
@click.option("-d", "--detach", is_flag=True, help="Run it in the background.")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass the host's on.")
@click.option("--env-file", multiple=True, type=click.Path(), help="Read variables from a file.")
@click.option("-w", "--workdir", default="", metavar="PATH", help="Working directory in the container.")
@click.option("-u", "--user", default="", metavar="NAME|UID[:GROUP|GID]", help="User to run as.")
@click.option("--privileged", is_flag=True, help="Give it every capability.")
@click.option("--detach-keys", default="", metavar="KEYS", help="Keys that leave it running.")
@click.argument("container")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(ctx: click.Context, /, **given: Any) -> int:
    """Execute a command in a running container."""
    if given["interactive"] and not given["detach"]:
        check_terminal(tty=given["tty"])
    engine, monitor = engine_of(ctx), monitor_of(ctx)
    try:
        return _exec(engine, monitor, given)
    except InvalidFlag as error:
        raise bad_value(ctx, error) from None
    except CommandNotExecutable as error:
        print_error(error)
        return 1 if given["detach"] else error.exit_code
    finally:
        monitor.cancel()


def _exec(engine: Engine, monitor: Monitor, given: dict[str, Any]) -> int:
    keys, details = chosen_keys(given["detach_keys"], engine.environment), _details(engine, given)
    attached = not given["detach"]
    with SignalProxy(leaves=True).installed() as proxy:
        with engine.timed("resolve"):
            container = engine.containers.find(given["container"])
            order = plan(engine, container, details)
        started = monitor.execute(engine, container.id, order)
        if not attached:
            return 0
        return attach(
            engine,
            started,
            proxy=proxy,
            terminal=given["tty"],
            stdin=given["interactive"],
            detach_keys=keys,
            detach_fails=True,
            size=details["console_size"],
        )


def _details(engine: Engine, given: dict[str, Any]) -> dict[str, Any]:
    """Return what :func:`swapbox.containers.execute.plan` wants to know, as plain values."""
    env: tuple[str, ...] = given["env"]
    for item in env:
        if not item.partition("=")[0]:
            raise InvalidFlag(f"invalid environment variable: {item}", option="env", value=item)
    if given["env_file"]:
        from swapbox.containers.options import read_env_file

        try:
            files = [read_env_file(Path(path), engine.environment) for path in given["env_file"]]
        except InvalidInput as error:
            raise ClientError(error.message, hint=error.hint) from None
        env = (*(item for items in files for item in items), *env)
    return {
        "exec_id": os.urandom(32).hex(),
        "args": list(given["command"]),
        "env": env,
        "workdir": given["workdir"],
        "user": given["user"],
        "tty": given["tty"],
        "stdin": given["interactive"] and not given["detach"],
        "privileged": given["privileged"],
        "attach": not given["detach"],
        "console_size": terminal_size(1) if given["tty"] and not given["detach"] else None,
    }
