"""What is moved from one storage driver to another, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from swapbox.drivers.storage import SnapshotInfo
from swapbox.errors import Conflict
from swapbox.store.owners import OWNER_LABEL, is_gone

if TYPE_CHECKING:
    from swapbox.containers.records import Container


class Plan(NamedTuple):
    """What is to be moved.

    :param layers: chainIDs, the lowest first.
    """

    layers: tuple[str, ...]
    containers: tuple[Container, ...]


class Step(NamedTuple):
    """One thing that was moved.

    :param name: a chainID, or a container's name.
    :param digest: of its tree in both places; empty for a container that the target had already.
    :param done: False when the target had it already.
    """

    kind: Literal["layer", "container"]
    name: str
    digest: str
    done: bool


def refuse_busy(container: Container) -> None:
    """Refuse a container that runs, or is about to.

    :raises Conflict: that is so.
    """
    if container.state.running:
        raise Conflict(
            f"container {container.name} is {container.state.status}: a running container cannot be moved",
            hint=f"stop it first: swapbox stop {container.name}",
        )
    if container.state.monitor is not None or container.state.status == "removing":
        raise Conflict(f"container {container.name} is being started or removed", hint="try again in a moment")


def is_nobodys(info: SnapshotInfo) -> bool:
    """Say whether a snapshot was made by a process that is gone."""
    return OWNER_LABEL in info.labels and is_gone(info.labels[OWNER_LABEL])


def built_on(infos: Mapping[str, SnapshotInfo], base: str) -> list[str]:
    """Return a snapshot and all that build on it, parents before children."""
    above = [key for key in infos if base in in_order(infos, [key])]
    return list(in_order(infos, above, only=set(above)))


def in_order(
    infos: Mapping[str, SnapshotInfo], wanted: Iterable[str | None], *, only: set[str] | None = None
) -> dict[str, None]:
    """Return committed snapshots and all they build on, parents before children.

    :param only: leave out others than these.
    """
    ordered: dict[str, None] = {}
    for key in wanted:
        chain = []
        while key is not None and key in infos and key not in ordered:
            chain.append(key)
            key = infos[key].parent
        ordered.update(dict.fromkeys(reversed(chain)))
    return ordered if only is None else {key: None for key in ordered if key in only}
