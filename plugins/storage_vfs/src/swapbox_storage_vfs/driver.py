"""The vfs driver: every snapshot is a whole tree of its own, ``<root>/snapshots/<number>/fs``.

A copy takes its time and can be killed. It is made under the name ``partial`` while the snapshot's directory is
locked, and renamed when it is whole: ``cleanup`` takes what is neither whole nor locked.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from swapbox.drivers.ledger import Entry, Ledger
from swapbox.drivers.storage import LayerTarget, Mount, SnapshotInfo, SnapshotKind, Usage
from swapbox.errors import InvalidInput, Unsupported, from_os_error
from swapbox.linux.trees import disk_usage, remove_tree
from swapbox_storage_vfs.copying import copy_tree


class Driver:
    """Snapshots as plain copies; see :class:`swapbox.drivers.storage.StorageDriver`."""

    def __init__(self, root: Path) -> None:
        self._snapshots = root / "snapshots"
        with _border(f"open {root}"):
            self._snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ledger = Ledger(root / "ledger.sqlite")

    def prepare(
        self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """Copy the parent."""
        return self._create("active", key, parent, labels)

    def view(self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None) -> tuple[Mount, ...]:
        """Show the parent itself, which cannot be removed meanwhile."""
        return self._create("view", key, parent, labels)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return a bind mount of the tree."""
        chain = self._ledger.chain(key)
        kind = chain[0].kind
        if kind == "committed":
            raise InvalidInput(f"snapshot {key} is committed and has no mounts; make a view of it")
        tree = chain[1] if kind == "view" and len(chain) > 1 else chain[0]
        return (Mount("bind", str(self._fs(tree)), ("bind", "ro") if kind == "view" else ("bind",)),)

    def commit(
        self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        """Turn an active snapshot into a committed one; nothing changes on disk."""
        if parent is not None and parent != self._ledger.get(key).parent:
            raise Unsupported(f"vfs cannot put snapshot {key} on top of {parent} afterwards")
        self._ledger.commit(name, key, labels=labels)

    def remove(self, key: str) -> None:
        """Remove a snapshot: first the record, which decides it, then the files."""
        number = self._ledger.remove(key)
        with _border(f"delete the files of snapshot {key}"):
            remove_tree(self._home(number))

    def stat(self, key: str) -> SnapshotInfo:
        """Return what is known of one snapshot."""
        return self._ledger.get(key)

    def usage(self, key: str) -> Usage:
        """Return the space of the snapshot's own tree, which includes what it copied."""
        return Usage(*disk_usage(self._fs(self._ledger.chain(key)[0])))

    def walk(self) -> Iterator[SnapshotInfo]:
        """Yield every snapshot."""
        return self._ledger.walk()

    def cleanup(self) -> int:
        """Remove directories without a record, and records without a whole tree with all that build on them."""
        with _border("clean up"):
            with self._ledger.transaction():
                lost = {number for number in self._ledger.numbers() if self._is_lost(number)}
                self._ledger.forget(lost)
                orphans = set(os.listdir(self._snapshots)) - set(map(str, self._ledger.numbers()))
            for name in orphans:
                remove_tree(self._snapshots / name)
        return len(orphans | set(map(str, lost)))

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def layer_target(self, key: str) -> LayerTarget:
        """Return the tree itself: a deletion in a layer deletes."""
        snapshot = self._ledger.chain(key)[0]
        if snapshot.kind != "active":
            raise InvalidInput(f"snapshot {key} is {snapshot.kind}, not active")
        return LayerTarget(self._fs(snapshot), "remove")

    def _create(
        self, kind: SnapshotKind, key: str, parent: str | None, labels: Mapping[str, str] | None
    ) -> tuple[Mount, ...]:
        with _border(f"create snapshot {key}"):
            with self._ledger.transaction():
                number = self._ledger.add(key, kind, parent, labels)
                chain = self._ledger.chain(key)
                lock = _make_locked(self._home(number))
            try:
                self._fill(self._home(number), chain)
            except BaseException:
                self.remove(key)
                raise
            finally:
                os.close(lock)
        return self.mounts(key)

    def _fill(self, home: Path, chain: list[Entry]) -> None:
        partial = home / "partial"
        if chain[0].kind == "active" and len(chain) > 1:
            copy_tree(self._fs(chain[1]), partial)
        else:
            partial.mkdir()
            partial.chmod(0o755)
        partial.rename(home / "fs")

    def _is_lost(self, number: int) -> bool:
        home = self._home(number)
        return not (home / "fs").exists() and not _is_locked(home)

    def _home(self, number: int) -> Path:
        return self._snapshots / str(number)

    def _fs(self, entry: Entry) -> Path:
        return self._home(entry.number) / "fs"


def _make_locked(home: Path) -> int:
    """Make a directory and return a descriptor that holds its lock until it is closed, by death too."""
    remove_tree(home)  # left by a crash before its record was committed
    home.mkdir(mode=0o700)
    lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _is_locked(home: Path) -> bool:
    try:
        lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


@contextmanager
def _border(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error(error, doing) from error
