"""``container prune``, ``image prune`` and ``system prune``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from swapbox.cli.app import ClientError, engine_of
from swapbox.cli.asking import agreed
from swapbox.cli.filters import Filters, filter_option
from swapbox.cli.units import human_size, parse_moment
from swapbox.errors import InvalidInput

if TYPE_CHECKING:
    from swapbox.engine import Engine


class Pruned(NamedTuple):
    """What one kind of pruning did: lines to show, the first of them a title, and bytes."""

    lines: list[str]
    reclaimed: int


def _containers(engine: Engine, filters: Filters, *, everything: bool) -> Pruned:
    from swapbox.containers.prune import prune

    ids, reclaimed = prune(engine, filters, until=moment(filters))
    return Pruned(["Deleted Containers:", *ids] if ids else [], reclaimed)


def _images(engine: Engine, filters: Filters, *, everything: bool) -> Pruned:
    from swapbox.cli.image_filters import created
    from swapbox.images.prune import prune

    filters = {**filters, "dangling": [*filters.get("dangling", ()), "false" if everything else "true"]}
    removed, reclaimed = prune(engine, filters, created=created, until=moment(filters))
    lines = []
    for one in removed:
        lines += [f"untagged: {name}" for name in one.untagged]
        lines += [f"deleted: {item}" for item in one.deleted]
    return Pruned(["Deleted Images:", *lines] if lines else [], reclaimed)


def moment(filters: Filters) -> int | None:
    """Return the value of the filter ``until``, nanoseconds since the epoch; None without it."""
    values = filters.get("until", ())
    if len(values) > 1:
        raise InvalidInput("more than one until filter specified")
    return parse_moment(values[0], now=time.time_ns()) if values else None


def _volumes(engine: Engine, filters: Filters, *, everything: bool) -> Pruned:
    from swapbox.volumes.queries import prune

    pruned = prune(engine, filters)
    return Pruned(["Deleted Volumes:", *pruned.names] if pruned.names else [], pruned.reclaimed)


def _networks(engine: Engine, filters: Filters, *, everything: bool) -> Pruned:
    from swapbox.networks.queries import prune

    names = prune(engine, filters, until=moment(filters))
    return Pruned(["Deleted Networks:", *names] if names else [], 0)


_Part = Callable[..., Pruned]
_PARTS: dict[str, _Part] = {
    "containers": _containers,
    "networks": _networks,
    "volumes": _volumes,
    "images": _images,
}
"""What ``system prune`` does, in this order; volumes when asked for."""


def _show(*parts: Pruned) -> None:
    for part in parts:
        if part.lines:
            click.echo("\n".join(part.lines) + "\n")
    click.echo(f"Total reclaimed space: {human_size(sum(part.reclaimed for part in parts))}")


@click.command("prune", epilog="Example: swapbox container prune --filter until=24h")
@filter_option("Remove only those that fit, such as until=24h or label=KEY=VALUE.", short=False)
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation.")
@click.pass_context
def container_prune(ctx: click.Context, *, filters: Filters, force: bool) -> None:
    """Remove all stopped containers"""
    if force or agreed("WARNING! This will remove all stopped containers."):
        _show(_containers(engine_of(ctx), filters, everything=False))


@click.command("prune", epilog="Example: swapbox image prune -a --filter until=240h")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused images, not just dangling ones.")
@filter_option("Remove only those that fit, such as until=24h or label=KEY=VALUE.", short=False)
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation.")
@click.pass_context
def image_prune(ctx: click.Context, *, everything: bool, filters: Filters, force: bool) -> None:
    """Remove unused images"""
    from swapbox.images import garbage

    which = "images without at least one container associated to them" if everything else "dangling images"
    if force or agreed(f"WARNING! This will remove all {which}."):
        engine = engine_of(ctx)
        _show(_images(engine, filters, everything=everything))
        garbage.collect(engine)


@click.command("prune", epilog="Example: swapbox system prune -a --volumes")
@click.option("-a", "--all", "everything", is_flag=True, help="Remove all unused images not just dangling ones.")
@filter_option("Remove only those that fit, such as label=KEY=VALUE.", short=False)
@click.option("-f", "--force", is_flag=True, help="Do not prompt for confirmation.")
@click.option("--volumes", is_flag=True, help="Prune anonymous volumes.")
@click.pass_context
def system_prune(ctx: click.Context, /, *, filters: Filters, force: bool, **what: Any) -> None:
    """Remove unused data, and what crashes have left"""
    from swapbox.containers.leftovers import collect

    if what["volumes"] and "until" in filters:
        raise ClientError('ERROR: The "until" filter is not supported with "--volumes"')
    if not force and not agreed(_warning(filters, **what)):
        return
    engine = engine_of(ctx)
    parts = [part for name, part in _PARTS.items() if name != "volumes" or what["volumes"]]
    done = [part(engine, filters, everything=what["everything"]) for part in parts]
    if not filters:
        ids, reclaimed = collect(engine)
        done.append(Pruned(["Deleted Leftovers of Containers:", *ids] if ids else [], reclaimed))
    _show(*done)


def _warning(filters: Filters, *, everything: bool, volumes: bool) -> str:
    things = [
        "all stopped containers",
        "all networks not used by at least one container",
        *["all anonymous volumes not used by at least one container"] * volumes,
        "all images without at least one container associated to them" if everything else "all dangling images",
        "all build cache" if everything else "unused build cache",
    ]
    text = "WARNING! This will remove:\n" + "".join(f"  - {thing}\n" for thing in things)
    shown = [f"{name}={value}" for name in ("label", "label!", "until") for value in filters.get(name, ())]
    if shown:
        text += "\n  Items to be pruned will be filtered with:\n"
        text += "".join(f"  - {one}\n" for one in sorted(shown, key=_natural))
    return text


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key by which a9 comes before a10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", text)]
