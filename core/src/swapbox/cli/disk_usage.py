"""``system df``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from swapbox.cli import container_list, image_list, volumes
from swapbox.cli.app import ClientError, engine_of
from swapbox.cli.formatting import Field, Listing, View
from swapbox.cli.units import human_size
from swapbox.errors import NotFound, SwapboxError

if TYPE_CHECKING:
    from swapbox.containers.listing import Listed
    from swapbox.engine import Engine
    from swapbox.images.names import ImageNames
    from swapbox.images.usage import ImageUsage
    from swapbox.volumes.records import Volume


class Sum(NamedTuple):
    """One line of ``system df``; sizes in bytes."""

    type: str
    total: int = 0
    active: int = 0
    size: int = 0
    reclaimable: int = 0

    @property
    def share(self) -> str:
        """What could be freed, with its share of all."""
        text = human_size(self.reclaimable)
        return f"{text} ({self.reclaimable * 100 // self.size}%)" if self.size else text


SUMS = Listing[Sum](
    name="diskUsageImagesContext",
    fields={
        "Type": Field("TYPE", lambda row, _view: row.type),
        "TotalCount": Field("TOTAL", lambda row, _view: str(row.total)),
        "Active": Field("ACTIVE", lambda row, _view: str(row.active)),
        "Size": Field("SIZE", lambda row, _view: human_size(row.size)),
        "Reclaimable": Field("RECLAIMABLE", lambda row, _view: row.share),
    },
    table=("Type", "TotalCount", "Active", "Size", "Reclaimable"),
    raw=(
        "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\n"
        "reclaimable: {{.Reclaimable}}\n"
    ),
)


class ContainerRow(container_list.Row):
    """A container with the size of its own files."""

    def __init__(self, container: Listed, engine: Engine, names: ImageNames) -> None:
        super().__init__(container, engine, names, container_list.Places(engine))
        from swapbox.containers.sizes import own_size

        what = f"container {container.name}"
        self.own = _measured(engine, what, lambda: own_size(engine, container.id, container.storage))


class VolumeRow(volumes.Row):
    """A volume with the size of its data, and how many containers use it."""

    def __init__(self, volume: Volume, engine: Engine, links: int) -> None:
        super().__init__(volume, engine)
        self.links = links
        what = f"volume {volume.name}"
        self.size = _measured(engine, what, lambda: engine.volumes.driver(volume).usage(volume.name).size)


def _measured(engine: Engine, what: str, measure: Callable[[], int]) -> int:
    """Return a size; 0, and a warning, where a driver cannot tell it: the others are shown all the same."""
    try:
        return measure()
    except NotFound:  # removed meanwhile
        return 0
    except SwapboxError as error:
        engine.warn(f"{what} is not measured: {error.message}")
        return 0


class ImageRow(NamedTuple):
    """An image under the first of its names; the fields of :class:`~swapbox.cli.image_list.Row`, and usage."""

    usage: ImageUsage
    id: str
    repository: str
    tag: str
    digest: str
    created: int | None
    size: int


IMAGES = image_list.IMAGES._replace(
    fields={
        **image_list.IMAGES.fields,
        "Containers": Field("CONTAINERS", lambda row, _view: str(row.usage.containers)),
        "SharedSize": Field("SHARED SIZE", lambda row, _view: human_size(row.usage.shared)),
        "UniqueSize": Field("UNIQUE SIZE", lambda row, _view: human_size(row.usage.unique)),
    },
    table=("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"),
)
CONTAINERS = container_list.CONTAINERS._replace(
    fields={
        **container_list.CONTAINERS.fields,
        "Size": Field("SIZE", lambda row, _view: human_size(row.own, precision=3)),
    },
    table=("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"),
)
VOLUMES = volumes.VOLUMES._replace(
    fields={
        **volumes.VOLUMES.fields,
        "Links": Field("LINKS", lambda row, _view: str(row.links)),
        "Size": Field("SIZE", lambda row, _view: human_size(row.size)),
    },
    table=("Name", "Links", "Size"),
)
_NO_CACHE = "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n"


class Everything(NamedTuple):
    """All that takes space."""

    images: Sequence[ImageUsage]
    layers: int
    containers: Sequence[ContainerRow]
    volumes: Sequence[VolumeRow]


@click.command(epilog="Example: swapbox system df -v")
@click.option("--format", default="", metavar="string", help="A Go template, or table, json or raw.")
@click.option("-v", "--verbose", is_flag=True, help="Show detailed information on space usage.")
@click.pass_context
def df(ctx: click.Context, *, format: str, verbose: bool) -> None:
    """Show disk usage"""
    found = _look(engine_of(ctx))
    if not verbose:
        text = SUMS.render(_sums(found), View(format))
    elif format in ("", "table"):
        text = _tables(found)
    else:
        text = _formatted(format, found)
    click.echo(text, nl=False)


def _look(engine: Engine) -> Everything:
    """Measure; costs a walk over the files of every container and volume, and none over those of images."""
    from swapbox.containers.listing import listed
    from swapbox.images.names import ImageNames
    from swapbox.images.usage import image_usage

    images, layers = image_usage(engine)
    names = ImageNames(engine.database)
    used = engine.volumes.records.used()
    return Everything(
        images,
        layers,
        [ContainerRow(container, engine, names) for container in listed(engine, everything=True)],
        [VolumeRow(volume, engine, len(used.get(volume.name, ()))) for volume in engine.volumes.all()],
    )


def _sums(found: Everything) -> Iterator[Sum]:
    used = [usage for usage in found.images if usage.containers]
    unused = found.layers - sum(usage.unique for usage in used)
    yield Sum("Images", len(found.images), len(used), found.layers, unused)
    containers = [(row.own, row.container.running) for row in found.containers]
    yield _sum("Containers", containers)
    yield _sum("Local Volumes", [(row.size, bool(row.links)) for row in found.volumes])
    yield Sum("Build Cache")


def _sum(type: str, items: Sequence[tuple[int, bool]]) -> Sum:
    """Add up sizes of things that are in use or not."""
    idle = sum(size for size, active in items if not active)
    active = sum(active for _, active in items)
    return Sum(type, len(items), active, sum(size for size, _ in items), idle)


def _image_row(usage: ImageUsage) -> Any:
    from swapbox.cli.image_filters import created

    name = next((name for name in usage.image.references if name.tag), None)
    repository, tag = (name.familiar_name, name.tag or "") if name else ("<none>", "<none>")
    return ImageRow(usage, usage.image.id, repository, tag, "", created(usage.image), usage.size)


def _tables(found: Everything) -> str:
    images = map(_image_row, found.images)
    parts = {
        "Images space usage:": IMAGES.render(images, View(table=IMAGES.table)),
        "Containers space usage:": CONTAINERS.render(found.containers, View(table=CONTAINERS.table)),
        "Local Volumes space usage:": VOLUMES.render(found.volumes, View(table=VOLUMES.table)),
        "Build cache usage: 0B": _NO_CACHE,
    }
    return "\n".join(f"{title}\n\n{table}" for title, table in parts.items())


def _formatted(format: str, found: Everything) -> str:
    import time

    from swapbox.templates import Template, TemplateError
    from swapbox.templates.values import Slice, Struct

    view = View(truncate=False, now=time.time_ns(), table=CONTAINERS.table)
    images = [IMAGES.context(_image_row(usage), view) for usage in found.images]
    containers = [CONTAINERS.context(row, view) for row in found.containers]
    fields = {
        "Images": Slice(images, "[]*formatter.imageContext"),
        "Containers": Slice(containers, "[]*formatter.ContainerContext"),
        "Volumes": Slice([VOLUMES.context(row, view) for row in found.volumes], "[]*formatter.volumeContext"),
        "BuildCache": Slice([], "[]*formatter.buildCacheContext"),
    }
    text = "{{json .}}" if format == "json" else format.removeprefix("table").strip(" ")
    try:
        template = Template(text.replace("\\t", "\t").replace("\\n", "\n"))
        return template.render(Struct("formatter.diskUsageContext", fields))
    except TemplateError as error:
        raise ClientError(f"template parsing error: {error.message}") from None
