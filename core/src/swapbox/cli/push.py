"""``push``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from swapbox.cli.app import ClientError, driver_options, engine_of
from swapbox.cli.platform_option import platform_option
from swapbox.cli.progress import shown
from swapbox.errors import InvalidReference, SwapboxError
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.engine import Engine


@click.command(epilog="Example: swapbox push localhost:5000/mine/alpine:1")
@click.option("-a", "--all-tags", is_flag=True, help="Push all tags of an image to the repository.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's name only.")
@platform_option("Push the manifest for one platform of an index.", words="invalid platform: ")
@driver_options("registry")
@click.argument("image", metavar="NAME[:TAG]")
@click.pass_context
def push(
    ctx: click.Context, image: str, *, all_tags: bool, quiet: bool, platform: str | None, registry: str | None
) -> None:
    """Upload an image to a registry."""
    engine = engine_of(ctx)
    reference = _reference(image, all_tags=all_tags)
    if not quiet and not all_tags and not reference.tag:
        click.echo("Using default tag: latest")
    wanted = reference if all_tags else reference.with_default_tag()
    try:
        _push(engine, wanted, quiet=quiet, platform=platform, registry=registry)
    except SwapboxError as error:  # Docker's client passes on what the engine says as it is
        raise ClientError(error.message, hint=error.hint) from error
    if quiet:
        click.echo(wanted.familiar)


def _reference(text: str, *, all_tags: bool) -> Reference:
    try:
        reference = Reference.parse(text)
    except InvalidReference as error:
        raise ClientError(error.message, hint=error.hint) from None
    if reference.transport:
        raise ClientError(f"cannot push to a file: {text}", hint="swapbox save writes images into files")
    if all_tags and reference.tag:
        raise ClientError("tag can't be used with --all-tags/-a")
    if reference.digest:
        raise ClientError("cannot push a digest reference", hint="give it a name: swapbox tag")
    return reference


def _push(engine: Engine, wanted: Reference, *, quiet: bool, platform: str | None, registry: str | None) -> None:
    """Push one tag, or all of a repository.

    :param wanted: without a tag for all.
    """
    from swapbox.images.push import tagged

    if not quiet:
        click.echo(f"The push refers to repository [{wanted.name}]")
    tags = tagged(engine, wanted)
    if not tags:
        raise ClientError(f"An image does not exist locally with the tag: {wanted.familiar_name}")
    if wanted.tag and wanted not in tags:
        raise ClientError(f"tag does not exist: {wanted.familiar}")
    for reference in [wanted] if wanted.tag else tags:
        progress = None if quiet else shown()
        engine.images.push(str(reference), platform=platform, registry=registry, progress=progress)
