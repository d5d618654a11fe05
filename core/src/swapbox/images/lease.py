"""Leases: what a pull relies on stays on disk until its image is registered."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.descriptors import digest_of
from swapbox.errors import Conflict, NotFound, SwapboxError, Unavailable
from swapbox.images.garbage import drop_leases_of_the_dead, removal_lock
from swapbox.store.content import ContentStore
from swapbox.store.owners import owner

if TYPE_CHECKING:
    from swapbox.drivers.storage import StorageDriver
    from swapbox.engine import Engine


_OURS_ALONE = """
    SELECT resource FROM leases AS mine WHERE owner = ?
    AND NOT EXISTS (SELECT 1 FROM leases AS other WHERE other.resource = mine.resource AND other.owner != ?)
"""
# An image's lowest chainID may be the digest of a blob that the image does not have: its uncompressed layer.
_OUR_BLOBS = f"{_OURS_ALONE} AND NOT EXISTS (SELECT 1 FROM image_blobs WHERE digest = mine.resource)"
_OUR_CHAINS = f"{_OURS_ALONE} AND NOT EXISTS (SELECT 1 FROM image_chains WHERE chain = mine.resource)"


def _can_go_on(error: BaseException) -> bool:
    """Say whether the next pull can use what this one has: it was interrupted, and not for want of space."""
    if not isinstance(error, Exception):
        return True
    cause = error.__cause__
    full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, Unavailable) and not full


class Lease:
    """Keeps what one pull relies on, blobs and unpacked layers, from being removed meanwhile.

    A lease belongs to a process, and ends with it.
    """

    def __init__(self, engine: Engine) -> None:
        self._database = engine.database
        self._root = engine.paths.root
        self._owner = f"{owner()}.{time.monotonic_ns()}"
        self._unpacked: list[tuple[StorageDriver, str]] = []
        self.content = _LeasedContent(engine.paths.content, self.take)

    def take(self, resource: str) -> None:
        """Note that this pull needs a blob or chain; from now on nobody removes it."""
        with removal_lock(self._root, alone=False):
            self._database.execute("INSERT OR IGNORE INTO leases VALUES (?,?)", (self._owner, resource))

    def take_chains(self, storage: StorageDriver, chains: Sequence[str]) -> None:
        """Note that this pull needs unpacked layers, the lowest first, or is about to make them."""
        for chain in chains:
            self.take(chain)
            self._unpacked.append((storage, chain))

    def __enter__(self) -> Lease:
        drop_leases_of_the_dead(self._database)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._drop()
            return
        # A full disk may refuse this too; the lease ends with this process in any case.
        with contextlib.suppress(SwapboxError):
            if not _can_go_on(error):
                self.remove_unused()
            self._drop()

    def remove_unused(self) -> None:
        """Remove the layers and blobs that this pull has brought and that nothing else needs."""
        with removal_lock(self._root, alone=True):
            chains, blobs = self._ours(_OUR_CHAINS), self._ours(_OUR_BLOBS)
            for storage, chain in reversed(self._unpacked):
                if chain in chains:
                    with contextlib.suppress(NotFound, Conflict):
                        storage.remove(chain)
            self.content.clean(of=blobs)
            for digest in blobs:
                self.content.remove(digest)

    def _ours(self, query: str) -> set[str]:
        return {row["resource"] for row in self._database.rows(query, (self._owner, self._owner))}

    def _drop(self) -> None:
        self._database.execute("DELETE FROM leases WHERE owner = ?", (self._owner,))


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
