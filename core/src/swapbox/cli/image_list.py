"""``images``: the images as Docker lists them, their fields and formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from swapbox.cli.app import engine_of
from swapbox.cli.filters import Filters, filter_option
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.tables import zoned_time
from swapbox.cli.units import age, human_size, parse_time
from swapbox.durations import SECOND

if TYPE_CHECKING:
    from swapbox.images.service import Image
    from swapbox.references import Reference

_NONE = "<none>"


class Row(NamedTuple):
    """One line of ``images``: an image under one of its names.

    :param created: nanoseconds since the epoch; None when the image does not say.
    """

    id: str
    repository: str
    tag: str
    digest: str
    created: int | None
    size: int


def _id(row: Row, view: View) -> str:
    return row.id.removeprefix("sha256:")[:12] if view.truncate else row.id


def _since(row: Row, view: View) -> str:
    return "N/A" if row.created is None else age(view.now - row.created)


def _unknown(_row: Row, _view: View) -> str:
    return "N/A"


IMAGES = Listing[Row](
    name="imageContext",
    fields={
        "ID": Field("IMAGE ID", _id),
        "Repository": Field("REPOSITORY", lambda row, _view: row.repository),
        "Tag": Field("TAG", lambda row, _view: row.tag),
        "Digest": Field("DIGEST", lambda row, _view: row.digest),
        "CreatedSince": Field("CREATED", _since),
        "CreatedAt": Field("CREATED AT", lambda row, _view: zoned_time((row.created or 0) // SECOND)),
        "Size": Field("SIZE", lambda row, _view: human_size(row.size, precision=3)),
        "Containers": Field("CONTAINERS", _unknown),
        "VirtualSize": Field("SIZE", lambda row, _view: human_size(row.size)),
        "SharedSize": Field("SHARED SIZE", _unknown),
        "UniqueSize": Field("UNIQUE SIZE", _unknown),
    },
    table=("Repository", "Tag", "ID", "CreatedSince", "Size"),
    quiet="ID",
    config="imagesFormat",
    raw=(
        "repository: {{.Repository}}\n{{if .Tag}}tag: {{.Tag}}\n{{end}}image_id: {{.ID}}\n"
        "created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
    ),
    raw_quiet="image_id: {{.ID}}",
)
_TABLE_WITH_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
_RAW_WITH_DIGESTS = IMAGES.raw.replace("image_id", "digest: {{.Digest}}\nimage_id")


@click.command(epilog="Example: swapbox images --filter dangling=true --format '{{.ID}} {{.Size}}'")
@click.option("-a", "--all", "everything", is_flag=True, help="Show all; there are no hidden ones here.")
@click.option("--digests", is_flag=True, help="Show digests.")
@filter_option("Show only those that fit, such as dangling=true, label=KEY or reference=alpine:*.")
@click.option("--format", default="", metavar="TEMPLATE", help="A Go template, or table, json or raw.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option("-q", "--quiet", is_flag=True, help="Show ids only.")
@click.argument("repository", required=False, metavar="[REPOSITORY[:TAG]]")
@click.pass_context
def images(ctx: click.Context, /, repository: str | None, *, filters: Filters, **given: Any) -> None:
    """List images."""
    engine, format = engine_of(ctx), given["format"]
    view = View(
        format=format,
        quiet=given["quiet"] and format in ("", "table", "raw"),
        truncate=not given["no_trunc"],
        table=_TABLE_WITH_DIGESTS if given["digests"] else (),
        raw=_RAW_WITH_DIGESTS if given["digests"] else "",
    )
    if repository:
        filters = {**filters, "reference": [*filters.get("reference", ()), repository]}
    found: Iterable[tuple[Image, list[Reference]]]
    if filters:
        from swapbox.cli.image_filters import query

        found = query(engine, filters)
    else:
        found = ((image, image.references) for image in engine.images.all())
    wanted = given["digests"] or "{{.Digest}}" in (format or IMAGES.configured())
    rows = (row for image, names in found for row in _rows(image, names, digests=wanted, only=given["digests"]))
    click.echo(IMAGES.render(rows, view), nl=False)


def _rows(image: Image, names: list[Reference], *, digests: bool, only: bool) -> Iterator[Row]:
    """Yield the lines of an image: one for each tag, or for each digest of a tag, then the digests without a tag.

    :param digests: the digests of tags are shown; ``only`` is for those without.
    """
    text = image.config.get("created")
    row = Row(image.id, _NONE, _NONE, _NONE, parse_time(text) if text else None, image.size)
    by_name: dict[str, list[str]] = {}
    for name in names:
        by_name.setdefault(name.familiar_name, []).extend([name.digest] if name.digest else [])
    tagged = {name.familiar_name for name in names if name.tag}
    for name in names:
        if name.tag:
            for digest in (by_name[name.familiar_name] if digests else None) or [_NONE]:
                yield row._replace(repository=name.familiar_name, tag=name.tag, digest=digest)
    for repository, found in by_name.items():
        if repository not in tagged:
            for digest in found if only else [""]:
                yield row._replace(repository=repository, digest=digest)
    if not image.names:
        yield row
