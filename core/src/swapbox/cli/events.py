"""``events``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from swapbox.cli.app import ClientError, engine_of
from swapbox.cli.filters import Filters, filter_option
from swapbox.cli.units import format_time, parse_moment
from swapbox.durations import SECOND
from swapbox.errors import InvalidInput

if TYPE_CHECKING:
    from swapbox.store.events import Event
    from swapbox.templates.values import Struct

_BAD_FORMAT = 64
"""The exit code of Docker's client for a template that it cannot use."""


@click.command(epilog="Example: swapbox events --since 10m --filter event=die")
@filter_option("Filter output based on conditions provided")
@click.option("--format", "template", default="", metavar="string", help="'json', or a Go template.")
@click.option("--since", default="", metavar="string", help="Show all events created since timestamp")
@click.option("--until", default="", metavar="string", help="Stream events until this timestamp")
@click.pass_context
def events(ctx: click.Context, *, filters: Filters, template: str, since: str, until: str) -> int:
    """Get real time events from the server."""
    from swapbox.store.event_filters import event_filter
    from swapbox.templates.errors import TemplateError

    try:
        show = _template(template) if template else _line
    except TemplateError as error:
        click.echo(f"Error parsing format: {error.message}", err=True)
        return _BAD_FORMAT
    now = time.time_ns()
    first, last = _moment(since, now), _moment(until, now)
    _check_order(first, last)
    log, wanted = engine_of(ctx).events, event_filter(filters)
    past = last is not None and last <= now
    for event in log.read(since=first, until=last) if past else log.follow(since=first, until=last):
        if wanted(event):
            click.echo(show(event))
    return 0


def _moment(text: str, now: int) -> int | None:
    try:
        return parse_moment(text, now=now) if text else None
    except InvalidInput as error:
        raise ClientError(error.message) from None


def _check_order(first: int | None, last: int | None) -> None:
    if first is not None and last is not None and last < first:
        raise InvalidInput(
            f"`since` time ({first // SECOND}) cannot be after `until` time ({last // SECOND})",
            hint="without a date they are durations: how long ago",
        )


def _line(event: Event) -> str:
    attributes = ", ".join(f"{name}={value}" for name, value in sorted(event.attributes.items()))
    moment = format_time(event.time, digits=9)
    return f"{moment} {event.type} {event.action} {event.id}" + (f" ({attributes})" if attributes else "")


def _template(text: str) -> Callable[[Event], str]:
    """Return what prints an event by a template.

    :raises TemplateError: it does not fit events.
    """
    from swapbox.store.events import Event
    from swapbox.templates import Template

    template = Template("{{json .}}" if text == "json" else text)
    template.render(_message(Event("", "", "", 0, {})))
    return lambda event: template.render(_message(event))


def _message(event: Event) -> Struct:
    """Return an event as the ``events.Message`` of Docker's API; an image or container is named twice."""
    from swapbox.store.event_filters import SCOPE
    from swapbox.templates.values import Map, Struct

    named = event.type in {"container", "image"}
    attributes = Map(event.attributes, "map[string]string", zero="")
    old = {
        "status": event.action if named else "",
        "id": event.id if named else "",
        "from": event.attributes.get("image", "") if event.type == "container" else "",
    }
    actor = Struct("events.Actor", {"ID": event.id, "Attributes": attributes}, pointer=False)
    kind = {"Type": event.type, "Action": event.action, "Actor": actor}
    when = {"scope": SCOPE, "time": event.time // SECOND, "timeNano": event.time}
    fields = {"Status": old["status"], "ID": old["id"], "From": old["from"], **kind}
    fields |= {"Scope": SCOPE, "Time": when["time"], "TimeNano": when["timeNano"]}
    shown = {name: value for name, value in old.items() if value}
    return Struct("events.Message", fields, json={**shown, **kind, **when})
