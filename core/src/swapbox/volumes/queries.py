"""Docker's filters for volumes, of ``volume ls`` and ``volume prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.matching import Filters, check_names, labels_match, matches, truth
from swapbox.volumes.records import Volume

if TYPE_CHECKING:
    from swapbox.engine import Engine

_LIST_FILTERS = ("dangling", "driver", "label", "name")
_PRUNE_FILTERS = ("all", "label", "label!")


def query(engine: Engine, filters: Filters) -> list[Volume]:
    """Return the volumes that pass all filters, by name.

    :raises InvalidInput: there is no such filter, or a value is wrong.
    """
    check_names(filters, _LIST_FILTERS)
    unused = truth(filters, "dangling", default=False)
    volumes = engine.volumes.all()
    if "dangling" in filters:
        used = engine.volumes.records.used()
        volumes = [volume for volume in volumes if (volume.name not in used) == unused]
    return [
        volume
        for volume in volumes
        if matches(filters.get("name", ()), volume.name)
        and volume.driver in filters.get("driver", (volume.driver,))
        and labels_match(filters.get("label", ()), volume.labels)
    ]


class Pruned:
    """What was removed, and how many bytes that freed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.reclaimed = 0


def prune(engine: Engine, filters: Filters) -> Pruned:
    """Remove the volumes that nobody uses: anonymous ones, or with the filter ``all`` every one.

    :raises InvalidInput: there is no such filter, or a value is wrong.
    """
    from swapbox.errors import Conflict, NotFound, SwapboxError

    check_names(filters, _PRUNE_FILTERS)
    named_too = truth(filters, "all", default=False)
    volumes, used, pruned = engine.volumes, engine.volumes.records.used(), Pruned()
    volumes.tidy()
    for volume in volumes.all():
        if volume.name in used or not (volume.anonymous or named_too) or not _labels_fit(filters, volume):
            continue
        try:
            size = volumes.driver(volume).usage(volume.name).size
            volumes.remove(volume.name)
        except (Conflict, NotFound):  # it is used since, or gone
            continue
        except SwapboxError as error:  # of one volume's driver: the others are pruned all the same
            engine.warn(f"failed to prune volume {volume.name}: {error.message}")
            continue
        pruned.names.append(volume.name)
        pruned.reclaimed += size
    engine.emit("volume", "prune", "", {"reclaimed": str(pruned.reclaimed)})
    return pruned


def _labels_fit(filters: Filters, volume: Volume) -> bool:
    unwanted = filters.get("label!", ())
    return labels_match(filters.get("label", ()), volume.labels) and not any(
        labels_match([text], volume.labels) for text in unwanted
    )
