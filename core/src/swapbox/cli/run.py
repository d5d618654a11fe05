"""``swapbox run``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import FLAG_ERROR, ClientError, engine_of, monitor_of, print_error
from swapbox.cli.attach import OUTPUTS, SignalProxy, attach, check_terminal, terminal_size
from swapbox.cli.container_options import attached_streams, container_options
from swapbox.cli.create import check_pull, cidfile, pull_image
from swapbox.cli.detach import chosen_keys
from swapbox.cli.groups import bad_value
from swapbox.errors import CommandNotExecutable, InvalidFlag, NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.containers.spawn import Monitor
    from swapbox.engine import Engine


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Example: swapbox run --rm -it -e GREETING=hello -v /srv/data:/data:ro alpine sh",
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background and print the container's id.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on to the container.")
@click.option("--detach-keys", default="", metavar="KEYS", help="Keys that leave it running.")
@click.option("--dry-run", is_flag=True, help="Print the OCI config.json instead of running.")
@container_options
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> int:
    """Create and run a new container from an image."""
    monitor: Monitor | None = None
    try:
        monitor = monitor_of(ctx)
        return _run(engine_of(ctx), monitor, given)
    except InvalidFlag as error:
        raise bad_value(ctx, error) from None
    except CommandNotExecutable as error:
        _print_run_error(error)
        return error.exit_code
    except ClientError:
        raise
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
    check_pull(given)
    if given["dry_run"]:
        return _dry_run(engine, given)
    given["attach"] = streams = _streams(given)
    keys = chosen_keys(given["detach_keys"], engine.environment) if streams else b""
    size = terminal_size(1) if given["tty"] else None
    with (
        SignalProxy(forward=given["sig_proxy"]).installed() as proxy,
        cidfile(given["cidfile"]) as write_id,
    ):

        def get_image() -> None:
            with proxy.lifted():
                pull_image(engine, given)

        def created(container_id: str) -> None:
            write_id(container_id)
            if not streams:  # as Docker does, also when the start fails
                click.echo(container_id)

        if given["pull"] == "always":
            get_image()
        started = monitor.run(
            engine,
            given,
            attach=bool(streams),
            console_size=size,
            missing=get_image,
            created=created,
        )
        if not streams:
            return 0
        return attach(
            engine,
            started,
            proxy=proxy,
            terminal=given["tty"],
            stdin="stdin" in streams,
            outputs=[stream for stream in OUTPUTS if stream in streams],
            detach_keys=keys,
            size=size,
        )


def _streams(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which streams to attach to: none with ``-d``.

    :raises ClientError: ``-a`` beside ``-d``, or a terminal in the container and none here.
    """
    if given["detach"]:
        if given["attach"]:
            raise ClientError("conflicting options: cannot specify both --attach and --detach")
        return ()
    streams = attached_streams(given)
    if "stdin" in streams:
        check_terminal(tty=given["tty"])
    return streams


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
