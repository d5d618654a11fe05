"""``pull``, ``tag``, ``rmi`` and ``image from-host``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from swapbox.cli.app import ClientError, driver_options, engine_of, for_each, print_error
from swapbox.cli.platform_option import platform_option
from swapbox.cli.progress import shown
from swapbox.errors import InvalidReference, NotFound
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.progress import Progress


@click.command(epilog="Example: swapbox pull --platform linux/arm64 alpine:3.20")
@click.option("-a", "--all-tags", is_flag=True, help="Download every tag of the repository.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's name only.")
@platform_option("Choose another platform than this host's.")
@driver_options("registry", "storage")
@click.argument("image", metavar="NAME[:TAG|@DIGEST]")
@click.pass_context
def pull(
    ctx: click.Context,
    image: str,
    *,
    all_tags: bool,
    quiet: bool,
    platform: str | None,
    registry: str | None,
    storage: str | None,
) -> None:
    """Download an image from a registry."""
    engine = engine_of(ctx)
    try:
        reference = Reference.parse(image)
    except InvalidReference as error:
        raise ClientError(error.message, hint=error.hint) from None
    if all_tags and (reference.tag or reference.digest):
        raise ClientError("tag can't be used with --all-tags/-a")
    if not quiet and not all_tags and not reference.tag and not reference.digest:
        click.echo("Using default tag: latest")
    wanted = reference if all_tags else reference.with_default_tag()
    report_pull(
        engine,
        wanted,
        tags=_tags(engine, image, registry=registry) if all_tags else (),
        progress=None if quiet else shown(),
        platform=platform,
        registry=registry,
        storage=storage,
    )
    click.echo(str(wanted))


def _tags(engine: Engine, image: str, *, registry: str | None) -> list[str]:
    from swapbox.images.remote import Remote

    return Remote(engine, image, registry=registry).tags()


def report_pull(
    engine: Engine,
    wanted: Reference,
    *,
    tags: Sequence[str] = (),
    progress: Progress | None,
    platform: str | None,
    registry: str | None,
    storage: str | None,
) -> None:
    """Pull and say so as Docker does.

    :param tags: those of the repository to pull, instead of the one that is wanted.
    """
    any_new = False
    for reference in [wanted._replace(tag=tag) for tag in tags] or [wanted]:
        image, new = engine.images.pull(
            str(reference), platform=platform, registry=registry, storage=storage, progress=progress
        )
        any_new = any_new or new
        if progress:
            progress.message(f"Digest: {image.target}")
    if progress:
        news = "Downloaded newer image for" if any_new else "Image is up to date for"
        progress.message(f"Status: {news} {wanted.familiar}")


@click.command(epilog="Example: swapbox tag alpine localhost:5000/mine/alpine:1")
@click.argument("source", metavar="SOURCE_IMAGE[:TAG]")
@click.argument("target", metavar="TARGET_IMAGE[:TAG]")
@click.pass_context
def tag(ctx: click.Context, source: str, target: str) -> None:
    """Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE."""
    try:
        Reference.parse_name(target)
    except InvalidReference as error:
        words = f'Error parsing reference: "{target}" is not a valid repository/tag'
        raise ClientError(f"{words}: {error.message}", hint=error.hint) from None
    if Reference.parse_name(target).digest:
        raise ClientError("refusing to create a tag with a digest reference")
    engine_of(ctx).images.tag(source, target)


@click.command(epilog="Example: swapbox rmi alpine:3.19")
@click.option("-f", "--force", is_flag=True, help="Also when stopped containers use it.")
@click.option("--no-prune", is_flag=True, help="Do not delete untagged parents, which no image has here.")
@platform_option("Remove only what is for this platform.", words="", multiple=True)
@click.argument("names", nargs=-1, required=True, metavar="IMAGE [IMAGE...]")
@click.pass_context
def rmi(
    ctx: click.Context, names: tuple[str, ...], *, force: bool, no_prune: bool, platforms: tuple[str, ...]
) -> int:
    """Remove one or more images."""

    def remove(name: str) -> None:
        try:
            removed = engine_of(ctx).images.remove(name, force=force, platforms=platforms)
        except NotFound as error:
            if not force:
                raise
            print_error(error)
            return
        for line in removed.untagged:
            click.echo(f"Untagged: {line}")
        for line in removed.deleted:
            click.echo(f"Deleted: {line}")

    return for_each(names, remove, echo=False)


@click.command("from-host", epilog="Example: swapbox image from-host demo sh ls cat")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write an OCI image layout directory, too.")
@driver_options("storage")
@click.argument("name")
@click.argument("programs", nargs=-1, required=True)
@click.pass_context
def from_host(
    ctx: click.Context, name: str, programs: tuple[str, ...], *, output: Path | None, storage: str | None
) -> None:
    """Build an image from the host's own programs and the shared libraries they need.

    A script brings the interpreter that its first line names; an interpreter's modules and data, such as Python's,
    do not come along.
    """
    click.echo(engine_of(ctx).images.from_host(name, programs, output=output, storage=storage).id)
