"""The driver: ``<root>/<number>/fs`` is a snapshot's tree, and ``<root>/ledger.sqlite`` knows the snapshots."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from swapbox.drivers.ledger import Ledger
from swapbox.drivers.storage import Mount, SnapshotInfo, SnapshotKind, Usage
from swapbox.errors import InvalidInput, Unavailable, Unsupported
from swapbox.linux.trees import disk_usage, remove_tree


class Driver:
    """Snapshots as copies; see :class:`swapbox.drivers.storage.StorageDriver`."""

    def __init__(self, root: Path, *, reflink: str) -> None:
        if reflink not in ("auto", "always", "never"):
            raise InvalidInput(f"invalid value {reflink!r} for reflink", hint="use auto, always or never")
        self._root = root
        self._cp = ("cp", "--archive", "--no-target-directory", f"--reflink={reflink}")
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ledger = Ledger(root / "ledger.sqlite")

    def prepare(
        self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """Copy the parent."""
        return self._create("active", key, parent, labels)

    def view(self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None) -> tuple[Mount, ...]:
        """Copy the parent, to be mounted read-only."""
        return self._create("view", key, parent, labels)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return a bind mount of the snapshot's tree."""
        snapshot = self._ledger.chain(key)[0]
        if snapshot.kind == "committed":
            raise InvalidInput(f"snapshot {key} is committed and has no mounts; make a view of it")
        options = ("bind", "ro") if snapshot.kind == "view" else ("bind",)
        return (Mount("bind", str(self._tree(snapshot.number)), options),)

    def commit(
        self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        """Turn an active snapshot into a committed one."""
        if parent is not None and parent != self._ledger.get(key).parent:
            raise Unsupported(f"cp cannot put snapshot {key} on top of {parent} afterwards")
        self._ledger.commit(name, key, labels=labels)

    def remove(self, key: str) -> None:
        """Remove the record, then the files."""
        remove_tree(self._root / str(self._ledger.remove(key)))

    def stat(self, key: str) -> SnapshotInfo:
        """Return what is known of one snapshot."""
        return self._ledger.get(key)

    def usage(self, key: str) -> Usage:
        """Return the space of the snapshot's tree."""
        return Usage(*disk_usage(self._tree(self._ledger.chain(key)[0].number)))

    def walk(self) -> Iterator[SnapshotInfo]:
        """Yield every snapshot."""
        return self._ledger.walk()

    def cleanup(self) -> int:
        """Remove directories that the ledger does not know."""
        with self._ledger.transaction():
            known = set(map(str, self._ledger.numbers()))
            orphans = [name for name in os.listdir(self._root) if name.isdigit() and name not in known]
        for name in orphans:
            remove_tree(self._root / name)
        return len(orphans)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _create(
        self, kind: SnapshotKind, key: str, parent: str | None, labels: Mapping[str, str] | None
    ) -> tuple[Mount, ...]:
        with self._ledger.transaction():
            number = self._ledger.add(key, kind, parent, labels)
            remove_tree(self._root / str(number))  # left by a crash before its record was committed
            (self._root / str(number)).mkdir(mode=0o700)
        try:
            self._fill(self._tree(number), parent)
        except BaseException:
            self.remove(key)
            raise
        return self.mounts(key)

    def _fill(self, tree: Path, parent: str | None) -> None:
        if parent is None:
            tree.mkdir()
            tree.chmod(0o755)
            return
        source = self._tree(self._ledger.chain(parent)[0].number)
        done = subprocess.run([*self._cp, source, tree], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Unavailable(f"cannot copy snapshot {parent}: {done.stderr.strip()}")

    def _tree(self, number: int) -> Path:
        return self._root / str(number) / "fs"
