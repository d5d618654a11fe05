"""``container prune``: remove the containers that do not run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox.containers.listing import listed
from swapbox.containers.sizes import own_size
from swapbox.errors import Conflict, NotFound, SwapboxError
from swapbox.matching import Filters, check_names, labels_match

if TYPE_CHECKING:
    from swapbox.containers.listing import Listed
    from swapbox.engine import Engine

_KNOWN = frozenset({"label", "label!", "until"})


def prune(engine: Engine, filters: Filters, *, until: int | None) -> tuple[list[str], int]:
    """Remove containers that do not run and pass the filters; return their ids and the bytes that were theirs.

    Costs a walk over the files of each. One that cannot be removed is a warning.

    :param until: the moment of the filter ``until``, nanoseconds since the epoch; None without one.
    :raises InvalidInput: there is no such filter, or a value is wrong.
    """
    check_names(filters, _KNOWN)
    removed, reclaimed = [], 0
    for container in _fitting(engine, filters, until):
        size = own_size(engine, container.id, container.storage)
        if _remove(engine, container):
            removed.append(container.id)
            reclaimed += size
    engine.emit("container", "prune", "", {"reclaimed": str(reclaimed)})
    return removed, reclaimed


def _fitting(engine: Engine, filters: Filters, until: int | None) -> Iterator[Listed]:
    for container in list(listed(engine, everything=True)):
        labels = container.config.get("labels") or {}
        if container.running or (until is not None and container.created > until):
            continue
        if labels_match(filters.get("label", ()), labels) and not _unwanted(filters, labels):
            yield container


def _unwanted(filters: Filters, labels: dict[str, str]) -> bool:
    return "label!" in filters and labels_match(filters["label!"], labels)


def _remove(engine: Engine, container: Listed) -> bool:
    try:
        engine.containers.remove(engine.records.find(container.id))
    except (Conflict, NotFound):  # started, or removed, meanwhile
        return False
    except SwapboxError as error:
        engine.warn(f"failed to prune container {container.id}: {error.message}")
        return False
    return True
