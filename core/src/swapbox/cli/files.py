"""``diff`` and ``export``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from swapbox.cli.app import engine_of
from swapbox.errors import InvalidInput


@click.command(epilog="Example: swapbox diff web")
@click.argument("container")
@click.pass_context
def diff(ctx: click.Context, container: str) -> None:
    """Inspect changes to files or directories on a container's filesystem."""
    from swapbox.containers.diff import diff as changes

    engine = engine_of(ctx)
    for change in changes(engine, engine.containers.find(container)):
        click.echo(f"{change.kind} {change.path}".encode(errors="surrogateescape"))


@click.command(epilog="Example: swapbox export -o web.tar web")
@click.option("-o", "--output", default="", metavar="string", help="Write to a file, instead of STDOUT.")
@click.argument("container")
@click.pass_context
def export(ctx: click.Context, container: str, *, output: str) -> None:
    """Export a container's filesystem as a tar archive."""
    from swapbox.containers.export import export as write_archive

    engine = engine_of(ctx)
    if not output:
        if os.isatty(1):
            raise InvalidInput("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        write_archive(engine, engine.containers.find(container), write_stdout)
        return
    from swapbox.cli.output import check_output_file, replacing

    try:
        check_output_file(output)
    except InvalidInput as error:
        raise InvalidInput(f"failed to export container: {error.message}") from None
    found = engine.containers.find(container)
    with replacing(Path(output)) as file:
        write_archive(engine, found, file.write)


def write_stdout(data: bytes) -> None:
    """Write all of it to standard output.

    :raises BrokenPipeError: nobody reads it any more.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
