"""``image prune``: remove images that no container uses; after moby's ``image_prune.go``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from swapbox.errors import Conflict, NotFound, SwapboxError
from swapbox.images.garbage import storage_drivers
from swapbox.images.removal import Removed, remove_image
from swapbox.matching import Filters, check_names, labels_match, truth

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image

_KNOWN = frozenset({"dangling", "label", "label!", "until"})


def prune(
    engine: Engine, filters: Filters, *, created: Callable[[Image], int | None], until: int | None
) -> tuple[list[Removed], int]:
    """Remove images that no container uses; return what went, and the bytes of layers that did.

    As in Docker an image that is used loses its names, but for the last one. What a pull that runs needs is
    leased, and stays.

    :param filters: ``dangling=false`` means also images that have a name.
    :param created: when an image was made, nanoseconds since the epoch.
    :param until: only images made before.
    :raises InvalidInput: there is no such filter, or a value is wrong.
    """
    check_names(filters, _KNOWN)
    dangling = truth(filters, "dangling", default=True)
    sizes = layer_sizes(engine)
    removed: list[Removed] = []
    for image in engine.images.all():
        made = created(image)
        if until is not None and (made is None or made > until):
            continue
        if _fits(filters, image) and not (dangling and any(name.tag for name in image.references)):
            removed.extend(_remove(engine, image))
    reclaimed = sum(sizes.get(item, 0) for one in removed for item in one.deleted)
    engine.emit("image", "prune", "", {"reclaimed": str(reclaimed)})
    return removed, reclaimed


def layer_sizes(engine: Engine) -> dict[str, int]:
    """Return the bytes of each unpacked layer, by chainID; one look at each storage driver's records."""
    from swapbox.images.unpack import SIZE_LABEL

    drivers = storage_drivers(engine, warn=engine.warn)
    snapshots = (snapshot for driver in drivers for snapshot in driver.walk() if snapshot.kind == "committed")
    return {snapshot.key: int(snapshot.labels.get(SIZE_LABEL, 0)) for snapshot in snapshots}


def _fits(filters: Filters, image: Image) -> bool:
    config: Any = image.config.get("config") or {}
    labels: Mapping[str, str] = config.get("Labels") or {}
    unwanted = "label!" in filters and labels_match(filters["label!"], labels)
    return labels_match(filters.get("label", ()), labels) and not unwanted


def _remove(engine: Engine, image: Image) -> Iterator[Removed]:
    for name in image.names or (image.id,):
        try:
            yield remove_image(engine, name, force=False)
        except (Conflict, NotFound):  # a container uses it, or the name has gone with another one
            continue
        except SwapboxError as error:
            engine.warn(f"failed to prune image {name}: {error.message}")
