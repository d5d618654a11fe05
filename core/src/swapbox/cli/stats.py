"""``stats``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import ClientError, engine_of
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.units import binary_size, human_size
from swapbox.errors import NotFound

if TYPE_CHECKING:
    from swapbox.containers.stats import Sampler, Subject, Usage
    from swapbox.engine import Engine

_FIRST_LOOK = 0.5
_PERIOD = 1.0
_UNKNOWN = "--"


def _percent(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}%"


def _memory(usage: Usage, _view: View) -> str:
    if usage.memory is None or usage.memory_limit is None:
        return f"{_UNKNOWN} / {_UNKNOWN}"
    return f"{binary_size(usage.memory)} / {binary_size(usage.memory_limit)}"


def _pair(first: int | None, second: int | None) -> str:
    if first is None or second is None:
        return _UNKNOWN
    return f"{human_size(first, precision=3)} / {human_size(second, precision=3)}"


STATS: Listing[Usage] = Listing(
    name="container.statsContext",
    fields={
        "Container": Field("CONTAINER", lambda usage, _view: usage.subject.shown),
        "Name": Field("NAME", lambda usage, _view: usage.subject.name),
        "ID": Field("CONTAINER ID", lambda usage, view: usage.subject.id[: 12 if view.truncate else None]),
        "CPUPerc": Field("CPU %", lambda usage, _view: _percent(usage.cpu)),
        "MemUsage": Field("MEM USAGE / LIMIT", _memory),
        "MemPerc": Field("MEM %", lambda usage, _view: _percent(usage.memory_share)),
        "NetIO": Field("NET I/O", lambda usage, _view: _pair(usage.received, usage.sent)),
        "BlockIO": Field("BLOCK I/O", lambda usage, _view: _pair(usage.read, usage.written)),
        "PIDs": Field("PIDS", lambda usage, _view: _UNKNOWN if usage.pids is None else str(usage.pids)),
    },
    table=("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
    config="statsFormat",
)


@click.command(epilog="Example: swapbox stats --no-stream web db")
@click.option("-a", "--all", "everything", is_flag=True, help="Show containers that do not run, too.")
@click.option("--format", default="", metavar="string", help="A Go template, or table or json.")
@click.option("--no-stream", is_flag=True, help="Show usage once.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten anything.")
@click.argument("containers", nargs=-1)
@click.pass_context
def stats(
    ctx: click.Context, /, *, containers: tuple[str, ...], everything: bool, no_stream: bool, **shown: Any
) -> None:
    """Display a live stream of container(s) resource usage statistics"""
    from swapbox.containers.stats import Sampler

    engine = engine_of(ctx)
    view = View(format=shown["format"], truncate=not shown["no_trunc"])
    subjects = _chosen(engine, containers) if containers else _listed(engine, everything=everything)
    sampler = Sampler(engine)
    sampler.look(subjects())
    time.sleep(_FIRST_LOOK)
    if no_stream:
        click.echo(STATS.render(sampler.look(subjects()), view), nl=False)
    else:
        _stream(sampler, subjects, view)


def _stream(sampler: Sampler, subjects: Callable[[], Sequence[Subject]], view: View) -> None:
    """Draw the table again and again, over itself: home, each line to its end, and nothing below."""
    while True:
        lines = STATS.render(sampler.look(subjects()), view).splitlines()
        click.echo("\033[H" + "".join(f"{line}\033[K\n" for line in lines) + "\033[J", nl=False, color=True)
        time.sleep(_PERIOD)


def _chosen(engine: Engine, names: Sequence[str]) -> Callable[[], Sequence[Subject]]:
    """Return what finds these containers; one that is removed later stays, as one that does not run.

    :raises ClientError: names those that are not there.
    """
    from swapbox.containers.stats import Subject

    known: dict[str, Subject] = {}
    errors = []
    for name in names:
        try:
            known[name] = Subject.of(engine.containers.find(name), name)
        except NotFound as error:
            errors.append(f"Error: {error.message}")
    if errors:
        raise ClientError("\n".join(errors))

    def find() -> Sequence[Subject]:
        for name, subject in known.items():
            try:
                known[name] = Subject.of(engine.containers.find(subject.id), name)
            except NotFound:
                known[name] = subject._replace(init=None)
        return [*known.values()]

    return find


def _listed(engine: Engine, *, everything: bool) -> Callable[[], Sequence[Subject]]:
    """Return what finds all containers; new ones come last, as they do with Docker."""
    from swapbox.containers.listing import listed
    from swapbox.containers.stats import Subject

    order: dict[str, int] = {}

    def find() -> Sequence[Subject]:
        found = [Subject.of_list(container) for container in listed(engine, everything=everything)]
        for subject in found:
            order.setdefault(subject.id, len(order))
        return sorted(found, key=lambda subject: order[subject.id])

    return find
