"""``diff``, ``export``, ``cp`` and ``commit``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from swapbox.cli.app import ClientError, engine_of
from swapbox.errors import SwapboxError


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
            raise ClientError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        write_archive(engine, engine.containers.find(container), write_stdout)
        return
    from swapbox.cli.output import check_output_file, replacing

    with _clients_mistakes("failed to export container: "):
        check_output_file(output)
    found = engine.containers.find(container)
    with replacing(Path(output)) as file:
        write_archive(engine, found, file.write)


@contextmanager
def _clients_mistakes(start: str = "") -> Iterator[None]:
    """Have errors printed as Docker's client prints those that it finds itself."""
    try:
        yield
    except SwapboxError as error:
        raise ClientError(f"{start}{error.message}") from error


class _Options(NamedTuple):
    archive: bool
    follow_link: bool
    quiet: bool


@click.command(epilog="Example: swapbox cp web:/etc/nginx/. ./nginx; or: swapbox cp index.html web:/srv/")
@click.option("-a", "--archive", is_flag=True, help="Archive mode (copy all uid/gid information).")
@click.option("-L", "--follow-link", is_flag=True, help="Always follow symbol link in SRC_PATH.")
@click.option(
    "--quiet/--no-quiet", "-q", default=None, help="Suppress progress output, as if there were no terminal."
)
@click.argument("source", metavar="CONTAINER:SRC_PATH|SRC_PATH|-")
@click.argument("destination", metavar="DEST_PATH|CONTAINER:DEST_PATH|-")
@click.pass_context
def cp(
    ctx: click.Context, source: str, destination: str, *, archive: bool, follow_link: bool, quiet: bool | None
) -> None:
    """Copy files/folders between a container and the local filesystem.

    Use '-' as the source to read a tar archive from stdin
    and extract it to a directory destination in a container.
    Use '-' as the destination to stream a tar archive of a
    container source to stdout.
    """
    for what, path in (("source", source), ("destination", destination)):
        if not path:
            raise ClientError(f"{what} can not be empty")
    options = _Options(archive, follow_link, not os.isatty(1) if quiet is None else quiet)
    (origin, source), (goal, destination) = _split(source), _split(destination)
    if origin and goal:
        raise ClientError("copying between containers is not supported")
    if origin:
        _copy_out(ctx, origin, source, destination, options)
    elif goal:
        _copy_in(ctx, source, goal, destination, options)
    else:
        raise ClientError("must specify at least one container source")


def _split(argument: str) -> tuple[str, str]:
    """Return container and path; an absolute path, and one that starts with a dot, is the host's."""
    name, colon, path = argument.partition(":")
    if argument.startswith("/") or not colon or name.startswith("."):
        return "", argument
    return name, path


def _copy_out(ctx: click.Context, name: str, path: str, destination: str, options: _Options) -> None:
    from swapbox.cli.output import check_output_path
    from swapbox.containers.copy import container_source, copy_to_host, write_archive

    destination = destination if destination == "-" else _local(destination)
    with _clients_mistakes():
        check_output_path(destination)
    engine = engine_of(ctx)
    with container_source(
        engine, engine.containers.find(name), path, follow_link=options.follow_link, name=name
    ) as source:
        if destination == "-":
            write_archive(source, write_stdout)
            return
        with _clients_mistakes():
            size = copy_to_host(source, destination, engine=engine)
    _say_copied(size, destination, options)


def _copy_in(ctx: click.Context, path: str, name: str, destination: str, options: _Options) -> None:
    from swapbox.containers import copy
    from swapbox.containers.inside import opened
    from swapbox.containers.users import resolve_user

    engine = engine_of(ctx)
    container = engine.containers.find(name)
    with ExitStack() as stack:
        root, container = stack.enter_context(opened(engine, container, with_mounts=True))
        with _clients_mistakes():
            place = copy.container_destination(root, destination, name=name)
        if path == "-":
            if not place.is_directory:
                raise ClientError(f'destination "{name}:{destination}" must be a directory')
            directory = place.path
        else:
            with _clients_mistakes():
                found = stack.enter_context(copy.host_source(_local(path), follow_link=options.follow_link))
                directory, found = copy.placed(found, place)
        owner = None
        if options.archive and container.config.user:
            owner = resolve_user(Path(f"/proc/self/fd/{root}"), container.config.user)[:2]
        target = copy.container_target(engine, container, root, directory, owner=owner, name=name)
        with target as extractor:
            if path == "-":
                copy.extract(_Stdin(), extractor)
                size = 0
            else:
                size = copy.copy(found, extractor)
    _say_copied(size, f"{name}:{place.path}", options)


class _Stdin:
    def read(self, size: int, /) -> bytes:
        return os.read(0, size)


def _local(path: str) -> str:
    from swapbox.containers.lookup import keep_ending

    return keep_ending(os.path.abspath(path), path)


def _say_copied(size: int, where: str, options: _Options) -> None:
    if not options.quiet:
        from swapbox.cli.units import human_size

        click.echo(f"Successfully copied {human_size(size, precision=3)} to {where}", err=True)


@click.command(epilog="Example: swapbox commit -m 'with tools' -c 'CMD [\"sh\"]' web web:tools")
@click.option("-a", "--author", default="", metavar="string", help="Author (e.g., 'J. Hannibal <h@example.com>').")
@click.option(
    "-c", "--change", "changes", multiple=True, help="Apply Dockerfile instruction to the created image."
)
@click.option("-m", "--message", default="", metavar="string", help="Commit message.")
@click.option("--pause/--no-pause", "-p", default=True, help="Pause container during commit (default true).")
@click.argument("container")
@click.argument("reference", metavar="[REPOSITORY[:TAG]]", required=False, default="")
@click.pass_context
def commit(
    ctx: click.Context,
    container: str,
    reference: str,
    *,
    author: str,
    changes: tuple[str, ...],
    message: str,
    pause: bool,
) -> None:
    """Create a new image from a container's changes."""
    from swapbox.containers.commit import CommitOptions
    from swapbox.containers.commit import commit as make_image
    from swapbox.references import Reference

    with _clients_mistakes():
        if reference and Reference.parse(reference).digest:
            raise ClientError("refusing to create a tag with a digest reference")
    engine = engine_of(ctx)
    options = CommitOptions(reference, author, message, changes, pause)
    click.echo(make_image(engine, engine.containers.find(container), options).id)


def write_stdout(data: bytes) -> None:
    """Write all of it to standard output.

    :raises BrokenPipeError: nobody reads it any more.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
