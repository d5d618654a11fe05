"""``save``, ``load`` and ``import``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from swapbox.cli.app import ClientError, driver_options, engine_of
from swapbox.cli.files import write_stdout
from swapbox.cli.platform_option import platform_option
from swapbox.errors import InvalidReference, SwapboxError

if TYPE_CHECKING:
    from swapbox.images.progress import Progress


@click.command(epilog="Example: swapbox save -o images.tar alpine:3.20 nginx")
@click.option("-o", "--output", default="", metavar="string", help="Write to a file, instead of STDOUT.")
@platform_option("Save only images for this platform.", words="invalid platform: ")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE [IMAGE...]")
@click.pass_context
def save(ctx: click.Context, images: tuple[str, ...], *, output: str, platform: str | None) -> None:
    """Save one or more images to a tar archive (streamed to STDOUT by default)."""
    from swapbox.images.save import save as write_archive

    if not output:
        if os.isatty(1):
            raise ClientError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        write_archive(engine_of(ctx), images, write_stdout, platform=platform)
        return
    from swapbox.cli.output import check_output_file, replacing

    try:
        check_output_file(output)
    except SwapboxError as error:
        raise ClientError(f"failed to save image: {error.message}") from error
    engine = engine_of(ctx)
    with replacing(Path(output)) as file:
        write_archive(engine, images, file.write, platform=platform)


@click.command(epilog="Example: swapbox load -i images.tar.gz")
@click.option("-i", "--input", "path", default="", metavar="string", help="Read from tar archive file, not STDIN.")
@click.option("-q", "--quiet", is_flag=True, help="Suppress the load output.")
@platform_option("Load only images for this platform.", words="invalid platform: ")
@driver_options("storage")
@click.pass_context
def load(ctx: click.Context, *, path: str, quiet: bool, platform: str | None, storage: str | None) -> None:
    """Load an image from a tar archive or STDIN."""
    from swapbox.images.load import load as load_images

    if not path and os.isatty(0):
        raise ClientError("requested load from stdin, but stdin is empty")
    with _opened(path) as file:
        progress = None if quiet else _progress()
        for loaded in load_images(engine_of(ctx), file, platform=platform, storage=storage, progress=progress):
            for name, id in loaded.replaced:
                words = (
                    f"The image {name.familiar} already exists, renaming the old one with ID {id} to empty string"
                )
                click.echo(words)
            for name in loaded.names:
                click.echo(f"Loaded image: {name.familiar}")
            if not loaded.names:
                click.echo(f"Loaded image ID: {loaded.image.id}")


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Open a file that Docker's client would open, or standard input."""
    if not path:
        with open(0, "rb", buffering=0, closefd=False) as file:
            yield file
        return
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115
        if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
            raise IsADirectoryError(21, "is a directory", path)
    except OSError as error:
        raise ClientError(f"open {path}: {os.strerror(error.errno or 0).lower()}") from None
    with file:
        yield file


def _progress() -> Progress | None:
    """Return bars for a terminal; elsewhere Docker shows nothing."""
    if not os.isatty(1):
        return None
    from swapbox.cli.bars import Bars
    from swapbox.cli.progress import Loading

    return Loading(Bars(1))


@click.command("import", epilog="Example: swapbox import -c 'CMD [\"sh\"]' rootfs.tar.gz mine:1")
@click.option(
    "-c", "--change", "changes", multiple=True, help="Apply Dockerfile instruction to the created image."
)
@click.option("-m", "--message", default="", metavar="string", help="Set commit message for imported image.")
@platform_option("Say what the files are for, if not for this host.")
@driver_options("storage")
@click.argument("source", metavar="file|URL|-")
@click.argument("names", nargs=-1, metavar="[REPOSITORY[:TAG]]")
@click.pass_context
def import_(
    ctx: click.Context,
    source: str,
    names: tuple[str, ...],
    *,
    changes: tuple[str, ...],
    message: str,
    platform: str | None,
    storage: str | None,
) -> None:
    """Import the contents from a tarball to create a filesystem image."""
    from swapbox.images.imports import ImportOptions, import_archive, opened_url
    from swapbox.references import Reference

    is_url = source.startswith(("http://", "https://"))
    reference = names[0] if names else ""  # what follows Docker ignores
    try:
        if reference:
            Reference.parse_name(reference)
    except InvalidReference as error:
        raise ClientError(error.message, hint=error.hint) from None
    comment = message or f"Imported from {source if is_url else '-'}"
    options = ImportOptions(reference, changes, comment, platform, storage)
    with opened_url(source) if is_url else _opened("" if source == "-" else source) as file:
        if is_url:
            click.echo(f"Downloading from {source}")
        click.echo(import_archive(engine_of(ctx), file, options).id)
