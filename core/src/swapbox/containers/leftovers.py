"""What killed commands and monitors have left of containers that have no record, of volumes and pulls.

A container's directory is made after its snapshot, which names the process that makes it, and before its row; its
row goes last. So an id that is on disk, that no living process is about to record and that has no row is garbage,
when looked at in this order.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.containers.teardown import remove_run_directory
from swapbox.drivers.common import Kind
from swapbox.errors import SwapboxError
from swapbox.images import garbage
from swapbox.linux.trees import disk_usage, remove_tree
from swapbox.paths import cgroup_path
from swapbox.store.owners import OWNER_LABEL, is_gone

if TYPE_CHECKING:
    from swapbox.engine import Engine


YOUNG = 2.0
"""Seconds: a file on its way into the content store that is younger may not be locked yet by who writes it."""


class Found(NamedTuple):
    """The ids of containers of which something was left, and the bytes that were freed."""

    ids: list[str]
    reclaimed: int


def collect(engine: Engine) -> Found:
    """Remove what crashes have left, also what the next pull could go on with; what a running one needs stays."""
    engine.volumes.tidy()
    engine.networks.tidy()
    reclaimed = garbage.collect(engine, kept=YOUNG)
    ids = sorted(_lost(engine))
    for container_id in ids:
        reclaimed += _remove(engine, container_id)
    return Found(ids, reclaimed)


def _lost(engine: Engine) -> set[str]:
    paths, unknown = engine.paths, list[str]()
    present = {*_names(paths.containers), *_names(paths.run_root / "containers")}
    claimed = {
        snapshot.key
        for driver in garbage.storage_drivers(engine, warn=unknown.append)
        for snapshot in driver.walk()
        if OWNER_LABEL in snapshot.labels and not is_gone(snapshot.labels[OWNER_LABEL])
    }
    recorded = {row["id"] for row in engine.database.rows("SELECT id FROM containers")}
    # Without every driver nobody knows which containers are being made.
    return set() if unknown else present - claimed - recorded


def _names(directory: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from (name for name in os.listdir(directory) if name.isalnum())


def _drivers(engine: Engine, kind: Kind) -> Iterator[Any]:
    for offer in engine.plugins.offers(kind):
        with contextlib.suppress(SwapboxError):  # this host does not carry it
            yield engine.selector.open(kind, made_with=offer.spec.name)


def _remove(engine: Engine, container_id: str) -> int:
    """Free what is left of a container; return the bytes on disk that were its own."""
    # No record says which drivers it was made with, so each is asked.
    for isolation in _drivers(engine, "isolation"):
        with contextlib.suppress(SwapboxError, OSError):
            isolation.delete(container_id, force=True)
    for controller in _drivers(engine, "cgroup"):
        with contextlib.suppress(SwapboxError, OSError):
            group = controller.open(cgroup_path(container_id))
            group.kill()
            group.delete()
            group.close()
    directory, size = engine.paths.container(container_id), 0
    with contextlib.suppress(FileNotFoundError):
        size = disk_usage(directory)[0]
    with contextlib.suppress(OSError):
        remove_tree(directory)
        remove_run_directory(engine.paths.container_run(container_id))
    return size
