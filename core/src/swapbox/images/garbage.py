"""What crashes leave behind, and how it is told from what somebody is about to use.

Three kinds of things are on disk before a row in the database names them:

- active snapshots and views bear the label :data:`~swapbox.store.owners.OWNER_LABEL`: once that process is gone
  and no container has the snapshot's key, nobody will ever use it;
- blobs, partial blobs and unpacked layers of a pull are leased while the pull runs. The next pull can use them, so
  they are kept for a day;
- what a storage driver has on disk without a record is the driver's own business.

Taking a lease and removing things exclude each other (:func:`removal_lock`): either the lease is seen, or the
thing is gone before the pull looks for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.errors import Conflict, NotFound, PluginError, SwapboxError, Unsupported, from_os_error
from swapbox.linux.syscalls import syncfs
from swapbox.linux.trees import remove_tree
from swapbox.store.owners import OWNER_LABEL, is_gone

if TYPE_CHECKING:
    from swapbox.drivers.storage import SnapshotInfo, StorageDriver
    from swapbox.engine import Engine
    from swapbox.store.database import Database

KEPT = 24 * 3600.0
"""Seconds for which what the next pull can go on with is kept."""

_NEEDED_BLOBS = "SELECT digest AS item FROM image_blobs UNION SELECT resource FROM leases"
_NEEDED_CHAINS = "SELECT chain AS item FROM image_chains UNION SELECT resource FROM leases"


@contextlib.contextmanager
def removal_lock(root: Path, *, alone: bool) -> Iterator[None]:
    """Hold back removals while a lease is taken, or (``alone``) leases while things are removed.

    Never taken inside a database transaction: whoever holds it may need one.
    """
    path = root / "removal.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise from_os_error(error, f"open {path}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def drop_leases_of_the_dead(database: Database) -> None:
    """Drop the leases of processes that are gone."""
    owners = [row["owner"] for row in database.rows("SELECT DISTINCT owner FROM leases")]
    database.executemany("DELETE FROM leases WHERE owner = ?", ((one,) for one in owners if is_gone(one)))


def storage_drivers(engine: Engine, *, warn: Callable[[str], None]) -> Iterator[StorageDriver]:
    """Yield every driver that has snapshots in this root; one whose plugin is gone keeps them.

    :param warn: told of that.
    """
    yield from (driver for _, driver in named_storage_drivers(engine, warn=warn))


def named_storage_drivers(engine: Engine, *, warn: Callable[[str], None]) -> Iterator[tuple[str, StorageDriver]]:
    """Yield the same drivers with their names."""
    directory = engine.paths.root / "storage"
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name) if directory.is_dir() else ():
        if entry.is_dir():
            try:
                yield entry.name, engine.selector.open("storage", made_with=entry.name)
            except (PluginError, Unsupported) as error:
                warn(f"layers stay in {entry.path}: {error}")


def collect(engine: Engine, *, kept: float = KEPT) -> int:
    """Remove what crashes have left, and return the bytes of blobs that freed; what cannot go now goes next time.

    :param kept: see :data:`KEPT`.
    """
    before = time.time() - kept
    with removal_lock(engine.paths.root, alone=True):
        drop_leases_of_the_dead(engine.database)
        for name, driver in named_storage_drivers(engine, warn=lambda _: None):
            with contextlib.suppress(SwapboxError, OSError):
                _collect_snapshots(engine, name, driver, before=before)
                driver.cleanup()
        needed = _needed(engine, _NEEDED_BLOBS)
        freed = 0
        for digest in list(engine.content.walk()):
            if digest not in needed:
                freed += engine.content.remove(digest, before=before)
        return freed + engine.content.clean(before=before)


def _collect_snapshots(engine: Engine, name: str, driver: StorageDriver, *, before: float) -> None:
    snapshots = list(driver.walk())
    lost = [one for one in snapshots if OWNER_LABEL in one.labels and is_gone(one.labels[OWNER_LABEL])]
    # Looked up after the processes: one that is gone has recorded its container before.
    homes = {row["id"]: row["storage"] for row in engine.database.rows("SELECT id, storage FROM containers")}
    needed = _needed(engine, _NEEDED_CHAINS)
    for snapshot in lost:
        if snapshot.kind == "committed":
            continue
        if snapshot.key not in homes:
            _remove_lost(engine, driver, snapshot.key)
        elif homes[snapshot.key] != name:
            _remove_half_moved(engine, name, driver, snapshot.key)
    old = (one for one in snapshots if one.kind == "committed" and one.created < before)
    remove_snapshots(driver, (one.key for one in sorted(old, key=_created, reverse=True) if one.key not in needed))


def remove_snapshots(driver: StorageDriver, keys: Iterable[str]) -> set[str]:
    """Remove snapshots, children first; return those that were there and that nothing builds on."""
    removed = set()
    for key in keys:
        with contextlib.suppress(NotFound, Conflict):
            driver.remove(key)
            removed.add(key)
    return removed


def _remove_lost(engine: Engine, driver: StorageDriver, key: str) -> None:
    if key.isalnum():  # a container's, whose directory may be there too; a layer's key names the layer
        remove_tree(engine.paths.container(key))
    remove_snapshots(driver, (key,))


def _remove_half_moved(engine: Engine, name: str, driver: StorageDriver, key: str) -> None:
    """Remove what a driver has of a container that is on another one, if that one has it and this is nobody's.

    Both are looked up once more: what was listed may have been removed and made anew, or moved, meanwhile.
    """
    with contextlib.suppress(NotFound):
        label = driver.stat(key).labels.get(OWNER_LABEL)
        home = engine.records.find(key).config.storage
        if home == name or label is None or not is_gone(label):
            return
        if has_snapshot(engine.selector.open("storage", made_with=home), key):
            _make_durable(engine.paths.root)  # the record: what it named before goes now
            remove_snapshots(driver, (key,))


def _make_durable(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def has_snapshot(driver: StorageDriver, key: str) -> bool:
    """Say whether a driver has a snapshot, of any kind."""
    with contextlib.suppress(NotFound):
        driver.stat(key)
        return True
    return False


def _created(snapshot: SnapshotInfo) -> float:
    return snapshot.created


def _needed(engine: Engine, query: str) -> set[str]:
    return {row["item"] for row in engine.database.rows(query)}
