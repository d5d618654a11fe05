"""``inspect``: containers, images and whatever has a name, as Docker's JSON or through a template."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from swapbox.cli.app import ClientError, engine_of, print_error
from swapbox.cli.platform_option import platform_option
from swapbox.errors import InvalidInput, NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.engine import Engine

_DOCKERS_TYPES = (
    *("config", "container", "image", "network", "node", "plugin", "secret", "service", "task", "volume"),
)


class Kind(NamedTuple):
    """A kind of thing that ``inspect`` knows.

    :param type: Go's name of the document's type, see :mod:`swapbox.cli.api_types`.
    :param document: finds a thing by what the user typed; raises NotFound. ``size`` says whether to measure files.
    """

    type: str
    document: Callable[[Engine, str, bool], dict[str, Any]]


def _container(engine: Engine, name: str, size: bool) -> dict[str, Any]:
    from swapbox.cli.container_document import container_document

    if not name:
        raise ClientError("invalid container name or ID: value is empty")
    return container_document(engine, engine.containers.find(name), size=size)


def _image(engine: Engine, name: str, _size: bool) -> dict[str, Any]:
    from swapbox.cli.image_document import image_document

    return image_document(engine.images.find(name))


def _network(engine: Engine, name: str, _size: bool) -> dict[str, Any]:
    from swapbox.cli.network_document import network_document

    return network_document(engine, name)


def _volume(engine: Engine, name: str, _size: bool) -> dict[str, Any]:
    from swapbox.cli.volumes import volume_document

    return volume_document(engine, engine.volumes.find(name))


# In the order in which Docker looks, when no type is given.
_KINDS: Mapping[str, Kind] = {
    "container": Kind("container.InspectResponse", _container),
    "image": Kind("image.InspectResponse", _image),
    "network": Kind("network.Inspect", _network),
    "volume": Kind("volume.Volume", _volume),
}


_format_option = click.option("-f", "--format", default="", metavar="TEMPLATE", help="A Go template, or json.")


@click.command(epilog="Example: swapbox inspect --format '{{.State.Status}} {{.State.Pid}}' web")
@_format_option
@click.option("-s", "--size", is_flag=True, help="Say how much disk a container uses.")
@click.option(
    "--type", "kind", default="", metavar="TYPE", help="Look at this type only: container, image, network, volume."
)
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID [NAME|ID...]")
@click.pass_context
def inspect(ctx: click.Context, names: tuple[str, ...], *, format: str, size: bool, kind: str) -> int:
    """Return low-level information on containers, images, networks and volumes."""
    if kind and kind not in _DOCKERS_TYPES:
        known = ", ".join(f'"{name}"' for name in _DOCKERS_TYPES)
        raise ClientError(f'unknown type: "{kind}": must be one of {known}')
    return show(engine_of(ctx), names, (kind,) if kind else tuple(_KINDS), format, size=size)


@click.command("inspect", epilog="Example: swapbox container inspect --size web")
@_format_option
@click.option("-s", "--size", is_flag=True, help="Say how much disk it uses.")
@click.argument("containers", nargs=-1, required=True, metavar="CONTAINER [CONTAINER...]")
@click.pass_context
def container_inspect(ctx: click.Context, containers: tuple[str, ...], *, format: str, size: bool) -> int:
    """Display detailed information on one or more containers."""
    return show(engine_of(ctx), containers, ("container",), format, size=size)


@click.command("inspect", epilog="Example: swapbox image inspect --format '{{.Config.Env}}' alpine")
@_format_option
@platform_option("Inspect only images for this platform.", words="")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE [IMAGE...]")
@click.pass_context
def image_inspect(ctx: click.Context, images: tuple[str, ...], *, format: str, platform: str | None) -> int:
    """Display detailed information on one or more images."""
    return show(engine_of(ctx), images, ("image",), format, platform=platform)


def show(
    engine: Engine,
    names: Sequence[str],
    kinds: Sequence[str],
    format: str,
    *,
    size: bool = False,
    platform: str | None = None,
) -> int:
    """Print the documents of what is found, then what is wrong; return the exit code.

    :param kinds: where to look, the first that has a name wins: ``container``, ``image``, ``network``, ``volume``.
    :param format: a template, ``json``, or empty for JSON that is easy to read.
    :param platform: what images must be for.
    :raises ClientError: the template cannot be read.
    """
    errors: list[SwapboxError] = []
    documents = _documents(engine, names, kinds, errors, size=size, platform=platform)
    if format in ("", "json"):
        found = [document for _, document in documents]
        layout: dict[str, Any] = {"separators": (",", ":")} if format else {"indent": 4}
        click.echo(json.dumps(found, ensure_ascii=False, **layout).encode("utf-8", "replace"))
    else:
        click.echo("".join(_rendered(documents, format, errors)) or "\n", nl=False)
    for error in errors:
        print_error(error)
    return 1 if errors else 0


def _documents(
    engine: Engine,
    names: Sequence[str],
    kinds: Sequence[str],
    errors: list[SwapboxError],
    *,
    size: bool,
    platform: str | None,
) -> Iterator[tuple[Kind, dict[str, Any]]]:
    for name in names:
        try:
            which = name if platform is None else engine.images.find(name, platform=platform).id
            yield _look_up(engine, which, kinds, size=size)
        except (NotFound, InvalidInput, ClientError) as error:
            errors.append(error)


def _look_up(engine: Engine, name: str, kinds: Sequence[str], *, size: bool) -> tuple[Kind, dict[str, Any]]:
    """Return the first thing of this name.

    :raises NotFound: there is none.
    """
    for kind in kinds:
        try:
            if kind in _KINDS:
                return _KINDS[kind], _KINDS[kind].document(engine, name, size)
        except (NotFound, InvalidInput) as error:
            if len(kinds) == 1 or _is_ambiguous(kind, error):
                raise
    what = kinds[0] if len(kinds) == 1 else "object"
    if what == "network":
        raise NotFound(f"network {name} not found")
    raise NotFound(f"No such {what}: {name}")


def _is_ambiguous(kind: str, error: SwapboxError) -> bool:
    """Say whether several containers fit; what is no name for one may be a name for something else."""
    return kind == "container" and isinstance(error, InvalidInput)


def _rendered(
    documents: Iterator[tuple[Kind, dict[str, Any]]], format: str, errors: list[SwapboxError]
) -> Iterator[str]:
    from swapbox.cli.api_types import typed
    from swapbox.cli.objects import ObjectFormat

    template = ObjectFormat(format)
    for kind, document in documents:
        try:
            yield template.render(typed(document, kind.type), plain=document) + "\n"
        except ClientError as error:
            errors.append(error)
