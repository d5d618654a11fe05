"""Leases: what a pull relies on stays on disk until its image is registered."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.descriptors import digest_of
from swapbox.linux.process import Process
from swapbox.store.content import ContentStore

if TYPE_CHECKING:
    from swapbox.engine import Engine


class Lease:
    """Keeps what one pull relies on, blobs and unpacked layers, from being removed meanwhile.

    A lease belongs to a process; those of processes that are gone are dropped when the next one is taken.
    """

    def __init__(self, engine: Engine) -> None:
        self._database = engine.database
        process = Process.of(os.getpid())
        self._owner = f"{process.pid}.{process.start}.{time.monotonic_ns()}"
        self.content = _LeasedContent(engine.paths.content, self.take)

    def take(self, resource: str) -> None:
        """Note that this pull needs a blob or chain; from now on nobody removes it."""
        self._database.execute("INSERT OR IGNORE INTO leases VALUES (?,?)", (self._owner, resource))

    def __enter__(self) -> Lease:
        for row in self._database.rows("SELECT DISTINCT owner FROM leases"):
            pid, start, _ = row["owner"].split(".")
            if not Process(int(pid), int(start)).alive():
                self._drop(row["owner"])
        return self

    def __exit__(self, *_exc: object) -> None:
        self._drop(self._owner)

    def _drop(self, owner: str) -> None:
        self._database.execute("DELETE FROM leases WHERE owner = ?", (owner,))


class _LeasedContent(ContentStore):
    """A content store that takes a lease on every blob it is asked about, before it answers."""

    def __init__(self, root: Path, take: Callable[[str], None]) -> None:
        super().__init__(root)
        self._take = take

    def has(self, digest: str) -> bool:
        self._take(digest)
        return super().has(digest)

    def put(self, data: bytes) -> str:
        self._take(digest_of(data))
        return super().put(data)
