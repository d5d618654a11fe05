"""``swapbox run``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import FLAG_ERROR, engine_of, monitor_of, print_error
from swapbox.cli.attach import SignalProxy, attach, terminal_size
from swapbox.cli.container_options import container_options
from swapbox.cli.create import check_pull, cidfile, pull_image
from swapbox.cli.detach import DEFAULT_KEYS, parse_keys
from swapbox.errors import CommandNotExecutable, InvalidInput, NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.containers.spawn import Monitor
    from swapbox.engine import Engine


class NoTerminal(InvalidInput):
    """``-it`` needs a terminal on stdin; Docker ends with 1 here, unlike for other wrong options."""


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Example: swapbox run --rm -it -e GREETING=hello -v /srv/data:/data:ro alpine sh",
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background and print the container's id.")
@click.option("--detach-keys", default=DEFAULT_KEYS, metavar="KEYS", help="Keys that leave it running.")
@click.option("--dry-run", is_flag=True, help="Print the OCI config.json instead of running.")
@container_options
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> int:
    """Create and run a new container from an image."""
    monitor: Monitor | None = None
    try:
        monitor = monitor_of(ctx)
        return _run(engine_of(ctx), monitor, given)
    except CommandNotExecutable as error:
        _print_run_error(error)
        return error.exit_code
    except NoTerminal as error:
        _print_run_error(error)
        return 1
    except SwapboxError as error:
        _print_run_error(error)
        return FLAG_ERROR
    finally:
        if monitor is not None:
            monitor.cancel()


def _print_run_error(error: SwapboxError) -> None:
    print_error(error, prefix="swapbox: ")
    click.echo("\nRun 'swapbox run --help' for more information", err=True)


def _run(engine: Engine, monitor: Monitor, given: dict[str, Any]) -> int:
    _check_terminal(given)
    check_pull(given)
    keys = parse_keys(given["detach_keys"])
    if given["dry_run"]:
        return _dry_run(engine, given)
    size = terminal_size(1) if given["tty"] and not given["detach"] else None
    with SignalProxy().installed() as proxy, cidfile(given["cidfile"]) as write_id:

        def get_image() -> None:
            with proxy.lifted():
                pull_image(engine, given)

        if given["pull"] == "always":
            get_image()
        started = monitor.run(
            engine,
            given,
            attach=not given["detach"],
            console_size=size,
            missing=get_image,
            created=write_id,
        )
        if given["detach"]:
            click.echo(started.container_id)
            return 0
        return attach(
            engine,
            started,
            proxy=proxy,
            terminal=given["tty"],
            stdin=given["interactive"],
            detach_keys=keys,
        )


def _dry_run(engine: Engine, given: dict[str, Any]) -> int:
    import json

    from swapbox.containers.flags import asked_config

    asked = asked_config(given, engine.environment, Path.cwd())
    try:
        image = engine.images.find(asked.image)
    except NotFound:
        pull_image(engine, given)
        image = engine.images.find(asked.image)
    click.echo(json.dumps(engine.containers.plan(asked, image=image), indent=2))
    return 0


def _check_terminal(given: dict[str, Any]) -> None:
    if given["tty"] and given["interactive"] and not given["detach"] and not os.isatty(0):
        raise NoTerminal(
            "cannot attach stdin to a TTY-enabled container because stdin is not a terminal",
            hint="leave out -t, or -i",
        )
