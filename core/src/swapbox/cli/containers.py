"""``logs``, ``stop``, ``kill``, ``rm``."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from swapbox.cli.app import engine_of, for_each, print_error
from swapbox.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from swapbox.drivers.logging import LogRecord


@click.command(epilog="Example: swapbox logs -f --tail 20 --since 10m web")
@click.option("-f", "--follow", is_flag=True, help="Go on until the container has ended.")
@click.option(
    "--since", default="", metavar="TIME", help="Only from this time on: a time, or 10m for ten minutes ago."
)
@click.option("--until", default="", metavar="TIME", help="Only up to this time.")
@click.option("-n", "--tail", default="all", metavar="NUMBER", help="Only the last NUMBER lines.")
@click.option("-t", "--timestamps", is_flag=True, help="Show the time of each line.")
@click.option("--details", is_flag=True, help="Show extra attributes.")
@click.argument("container")
@click.pass_context
def logs(
    ctx: click.Context,
    container: str,
    *,
    follow: bool,
    since: str,
    until: str,
    tail: str,
    timestamps: bool,
    details: bool,
) -> None:
    """Fetch the logs of a container."""
    from swapbox.cli.units import parse_moment
    from swapbox.drivers.logging import LogQuery

    engine, now = engine_of(ctx), time.time_ns()
    query = LogQuery(
        since=parse_moment(since, now=now) if since else None,
        until=parse_moment(until, now=now) if until else None,
        tail=_tail(tail),
        follow=follow,
    )
    found = engine.containers.find(container)
    for record in engine.containers.logs(found, query):
        _print_record(record, terminal=found.config.tty, timestamps=timestamps, details=details)


def _tail(text: str) -> int | None:
    """Read ``--tail``: what is no number means all, as with Docker."""
    return int(text) if text.isdecimal() else None


def _print_record(record: LogRecord, *, terminal: bool, timestamps: bool, details: bool) -> None:
    data = record.data
    if details:
        pairs = ",".join(f"{name}={value}" for name, value in sorted(record.attributes.items()))
        data = pairs.encode() + b" " + data
    if timestamps:
        from swapbox.cli.units import format_time

        data = format_time(record.time, digits=9).encode() + b" " + data
    fd = 2 if record.stream == "stderr" and not terminal else 1
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@click.command(epilog="Example: swapbox stop -t 30 web db")
@click.option("-t", "--timeout", "--time", type=int, metavar="SECONDS", help="Kill after so long; -1: never.")
@click.option("-s", "--signal", "signal_name", default="", metavar="SIGNAL", help="Signal to send.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def stop(ctx: click.Context, containers: tuple[str, ...], *, timeout: int | None, signal_name: str) -> int:
    """Stop one or more running containers."""
    service = engine_of(ctx).containers
    return for_each(
        containers, lambda name: service.stop(service.find(name), timeout=timeout, signal_name=signal_name)
    )


@click.command(epilog="Example: swapbox kill -s HUP web")
@click.option("-s", "--signal", "signal_name", default="KILL", metavar="SIGNAL", help="Signal to send.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def kill(ctx: click.Context, containers: tuple[str, ...], *, signal_name: str) -> int:
    """Kill one or more running containers."""
    from swapbox.containers.options import parse_signal

    service, number = engine_of(ctx).containers, parse_signal(signal_name)
    return for_each(containers, lambda name: service.kill(service.find(name), number))


@click.command(epilog="Example: swapbox rm -f web")
@click.option("-f", "--force", is_flag=True, help="Kill a running container first.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes, too.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_context
def rm(ctx: click.Context, containers: tuple[str, ...], *, force: bool, volumes: bool) -> int:
    """Remove one or more containers."""
    service = engine_of(ctx).containers

    def remove(name: str) -> None:
        try:
            service.remove(service.find(name), force=force)
        except NotFound as error:  # perhaps another's removal came first
            if not force:
                raise
            print_error(error)
            return
        click.echo(name)

    if any(not name for name in containers):
        raise InvalidInput("container name cannot be empty")
    return for_each(containers, remove, echo=False)
