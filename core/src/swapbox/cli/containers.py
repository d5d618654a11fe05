"""``logs``."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from swapbox.cli.app import engine_of

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
    from swapbox.cli.units import moment
    from swapbox.drivers.logging import LogQuery

    engine, now = engine_of(ctx), time.time_ns()
    query = LogQuery(
        since=moment("since", since, now=now),
        until=moment("until", until, now=now),
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
