"""``swapbox create``, and what it shares with ``run``: getting the image, and the file for the id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import FLAG_ERROR, ClientError, engine_of, print_error
from swapbox.cli.container_options import attached_streams, container_options
from swapbox.cli.groups import bad_value
from swapbox.errors import Conflict, InvalidFlag, InvalidInput, InvalidReference, NotFound, SwapboxError
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig
    from swapbox.engine import Engine
    from swapbox.images.service import Image


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="Example: swapbox create --name web -p 8080:80 nginx",
)
@container_options
@click.pass_context
def create(ctx: click.Context, /, **given: Any) -> int:
    """Create a new container."""
    engine = engine_of(ctx)
    try:
        check_pull(given)
        asked = _asked(engine, given)
    except InvalidFlag as error:
        raise bad_value(ctx, error) from None
    except SwapboxError as error:
        print_error(error, prefix="swapbox: ")
        click.echo("\nRun 'swapbox create --help' for more information", err=True)
        return FLAG_ERROR
    try:
        Reference.parse(asked.image)
        with cidfile(given["cidfile"]) as write_id:
            image = _image(engine, asked, given)
            container = engine.containers.create(asked, image=image, name=given["name"])
            write_id(container.id)
    except (InvalidReference, CidfileError) as error:
        raise ClientError(error.message, hint=error.hint) from None
    click.echo(container.id)
    return 0


def _asked(engine: Engine, given: dict[str, Any]) -> ContainerConfig:
    from swapbox.containers.flags import asked_config

    given["attach"] = attached_streams(given)
    return asked_config(given, engine.environment, Path.cwd())


def _image(engine: Engine, asked: ContainerConfig, given: dict[str, Any]) -> Image:
    if given["pull"] != "always":
        try:
            return engine.images.find(asked.image, platform=given["platform"])
        except NotFound:
            pass
    pull_image(engine, given)
    return engine.images.find(asked.image, platform=given["platform"])


def check_pull(given: dict[str, Any]) -> None:
    """Check ``--pull``.

    :raises InvalidInput: with Docker's words.
    """
    if given["pull"] not in {"always", "missing", "never"}:
        raise InvalidInput(
            f'invalid pull option: \'{given["pull"]}\': must be one of "always", "missing" or "never"'
        )


def pull_image(engine: Engine, given: dict[str, Any]) -> None:
    """Get the image; what the pull says goes to stderr."""
    from swapbox.cli.images import report_pull
    from swapbox.cli.progress import shown

    reference = Reference.parse(given["image"]).with_default_tag()
    if given["pull"] == "never":
        raise NotFound(f"No such image: {reference.familiar}", hint="leave out --pull never, or pull it")
    if given["pull"] != "always" and not given["quiet"]:
        click.echo(f"Unable to find image '{reference.familiar}' locally", err=True)
    report_pull(
        engine,
        reference,
        progress=None if given["quiet"] else shown(err=True),
        platform=given["platform"],
        registry=given["registry"],
        storage=given["storage"],
    )


class CidfileError(Conflict):
    """The file for the id is there already, or cannot be made."""


@contextmanager
def cidfile(path: str | None) -> Iterator[Any]:
    """Write an id to a new file; the file is gone again when the container could not be created."""
    if path is None:
        yield lambda _id: None
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise CidfileError(
            f"container ID file found, make sure the other container isn't running or delete {path}"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise CidfileError(f"failed to create the container ID file: open {path}: {reason}") from None
    try:
        yield lambda id: os.write(fd, id.encode())
    finally:
        if not os.fstat(fd).st_size:
            Path(path).unlink(missing_ok=True)
        os.close(fd)
