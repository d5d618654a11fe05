"""``history``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from swapbox.cli.app import engine_of
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.platform_option import platform_option
from swapbox.cli.tables import shorten
from swapbox.cli.units import age, human_size, parse_time
from swapbox.durations import SECOND

if TYPE_CHECKING:
    from swapbox.images.history import Step

_COMMAND_WIDTH = 45
_FIRST_YEAR = 946_684_800 * SECOND  # 2000: what is older was set to make builds equal, and is no age
_NEVER = -62_135_596_800  # Go's time zero, in seconds


def _id(step: Step, view: View) -> str:
    return step.id.removeprefix("sha256:")[:12] if view.truncate else step.id


def _seconds(step: Step) -> int:
    return parse_time(step.created) // SECOND if step.created else _NEVER


def _created_at(step: Step, _view: View) -> str:
    seconds = _seconds(step)
    if seconds == _NEVER:
        return "0001-01-01T00:00:00Z"
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")


def _since(step: Step, view: View) -> str:
    moment = _seconds(step) * SECOND
    return age(view.now - moment) if moment > _FIRST_YEAR else "N/A"


def _command(step: Step, view: View) -> str:
    text = step.created_by.replace("\t", " ")
    return shorten(text, _COMMAND_WIDTH) if view.truncate else text


HISTORY = Listing["Step"](
    name="image.historyContext",
    fields={
        "ID": Field("IMAGE", _id),
        "CreatedSince": Field("CREATED", _since),
        "CreatedAt": Field("CREATED AT", _created_at),
        "CreatedBy": Field("CREATED BY", _command),
        "Size": Field("SIZE", lambda step, _view: human_size(step.size, precision=3)),
        "Comment": Field("COMMENT", lambda step, _view: step.comment),
    },
    table=("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
    quiet="ID",
)
PLAIN = HISTORY._replace(
    fields={
        **HISTORY.fields,
        "CreatedSince": Field("CREATED", _created_at),
        "Size": Field("SIZE", lambda step, _view: str(step.size)),
    },
    table=("ID", "CreatedAt", "CreatedBy", "Size", "Comment"),
)
"""The same with numbers and dates for programs."""


@click.command(epilog="Example: swapbox history --no-trunc alpine")
@click.option("--format", default="", metavar="string", help="A Go template, or table or json.")
@click.option("-H", "--human/--no-human", default=True, help="Print sizes and dates in human readable format.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten anything.")
@platform_option("Show it only if the image is for this platform.", words="invalid platform: ")
@click.option("-q", "--quiet", is_flag=True, help="Only show image IDs.")
@click.argument("image", metavar="IMAGE")
@click.pass_context
def history(ctx: click.Context, /, image: str, *, format: str, human: bool, **given: Any) -> None:
    """Show the history of an image"""
    from swapbox.images.history import history as steps

    engine = engine_of(ctx)
    view = View(
        format=format,
        quiet=given["quiet"] and format in ("", "table"),
        truncate=not given["no_trunc"],
        now=time.time_ns(),
    )
    found = steps(engine, engine.images.find(image, platform=given["platform"]))
    click.echo((HISTORY if human else PLAIN).render(found, view), nl=False)
