"""A storage driver's own bookkeeping: which snapshots there are, of what kind, and what each builds on.

One SQLite file inside the driver's root. The core never opens it; a third-party driver is free to use it. Each
snapshot gets a number that is never used again once it was committed to the file, so that a driver can name
directories after it.

A driver that has to change the disk together with the record does both inside :meth:`Ledger.transaction`: other
writers wait, and nobody ever sees the one without the other::

    with ledger.transaction():
        number = ledger.add(key, "active", parent)
        os.mkdir(root / str(number))

Several processes and threads may use one file at once, and a process that uses it may fork.
"""

from __future__ import annotations

import _sqlite3 as sqlite3
import json
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from swapbox.drivers.storage import SnapshotInfo, SnapshotKind
from swapbox.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from swapbox.linux.wal import WalFile

_SCHEMA = """
CREATE TABLE snapshots (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    parent INTEGER REFERENCES snapshots (number),
    created REAL NOT NULL,
    labels TEXT NOT NULL
) STRICT;
CREATE INDEX snapshots_by_parent ON snapshots (parent);
"""
_CHAIN = """
WITH RECURSIVE chain (depth, number, key, kind, parent) AS (
    SELECT 0, number, key, kind, parent FROM snapshots WHERE key = ?
    UNION ALL
    SELECT depth + 1, s.number, s.key, s.kind, s.parent FROM chain JOIN snapshots AS s ON s.number = chain.parent
)
SELECT number, key, kind FROM chain ORDER BY depth
"""
_COMMIT = "UPDATE snapshots SET key = ?, kind = 'committed', parent = ?, labels = ? WHERE key = ?"
_FORGET = """
WITH RECURSIVE lost (number) AS (
    VALUES (?)
    UNION
    SELECT s.number FROM lost JOIN snapshots AS s ON s.parent = lost.number
)
DELETE FROM snapshots WHERE number IN lost
"""
_INFO = """
SELECT s.key, s.kind, p.key, s.created, s.labels
FROM snapshots AS s LEFT JOIN snapshots AS p ON p.number = s.parent
"""


class Entry(NamedTuple):
    """One snapshot of a chain."""

    number: int
    key: str
    kind: SnapshotKind


class Ledger:
    """The snapshots of one driver.

    Any method raises ``Unavailable`` when another process keeps the file locked for too long, and ``DataError``
    when the file is damaged.

    :param path: the file; made with its tables when missing, in a directory that exists.
    :param timeout: seconds to wait for other processes' transactions.
    """

    def __init__(self, path: Path, *, timeout: float = 60.0) -> None:
        self._file = WalFile(path, schema=(_SCHEMA,), timeout=timeout)

    def transaction(self) -> AbstractContextManager[sqlite3.Connection]:
        """Do what the block does in one write transaction; an error undoes it. Blocks may be nested."""
        return self._file.transaction()

    def add(
        self, key: str, kind: SnapshotKind, parent: str | None, labels: Mapping[str, str] | None = None
    ) -> int:
        """Record a new snapshot and return its number.

        :raises NotFound: there is no such parent.
        :raises InvalidInput: the parent is not committed.
        :raises AlreadyExists: the key is taken.
        """
        with self.transaction() as db:
            above = None if parent is None else _committed(db, parent)
            row = (key, kind, above, time.time(), json.dumps(dict(labels or {})))
            try:
                cursor = db.execute(
                    "INSERT INTO snapshots (key, kind, parent, created, labels) VALUES (?, ?, ?, ?, ?)", row
                )
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"snapshot {key} already exists") from None
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def get(self, key: str) -> SnapshotInfo:
        """Return what is known of one snapshot.

        :raises NotFound: there is none of this key.
        """
        with self._file.connection() as db:
            row = db.execute(_INFO + "WHERE s.key = ?", (key,)).fetchone()
        if row is None:
            raise NotFound(f"snapshot {key} does not exist")
        return _info(row)

    def chain(self, key: str) -> list[Entry]:
        """Return the snapshot, its parent, its parent's parent and so on, by one query.

        :raises NotFound: there is none of this key.
        """
        with self._file.connection() as db:
            rows = db.execute(_CHAIN, (key,)).fetchall()
        if not rows:
            raise NotFound(f"snapshot {key} does not exist")
        return [Entry(*row) for row in rows]

    def commit(
        self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        """Turn the active snapshot ``key`` into the committed ``name``; its number stays.

        :param parent: becomes the parent of a snapshot that has none.
        :param labels: added to the labels it has.
        :raises NotFound: there is no such key or parent.
        :raises InvalidInput: the snapshot is not active, has another parent, or the parent is not committed.
        :raises AlreadyExists: ``name`` is taken by another snapshot.
        """
        with self.transaction() as db:
            info = self.get(key)
            if info.kind != "active":
                raise InvalidInput(f"snapshot {key} is {info.kind}, only an active one can be committed")
            if parent is not None and info.parent not in (None, parent):
                raise InvalidInput(f"snapshot {key} builds on {info.parent}, not on {parent}")
            above = parent or info.parent
            row = (
                name,
                None if above is None else _committed(db, above),
                json.dumps({**info.labels, **(labels or {})}),
                key,
            )
            try:
                db.execute(_COMMIT, row)
            except sqlite3.IntegrityError:
                raise AlreadyExists(f"snapshot {name} already exists") from None

    def remove(self, key: str) -> int:
        """Drop the record of a snapshot and return its number.

        :raises NotFound: there is none of this key.
        :raises Conflict: others build on it.
        """
        with self.transaction() as db:
            number = self.chain(key)[0].number
            child = db.execute("SELECT key FROM snapshots WHERE parent = ? LIMIT 1", (number,)).fetchone()
            if child is not None:
                raise Conflict(f"cannot remove snapshot {key}: snapshot {child[0]} builds on it")
            db.execute("DELETE FROM snapshots WHERE number = ?", (number,))
            return number

    def walk(self) -> Iterator[SnapshotInfo]:
        """Yield every snapshot, parents before their children, as of the moment of the call."""
        with self._file.connection() as db:
            rows = db.execute(_INFO + "ORDER BY s.number").fetchall()
        return map(_info, rows)

    def numbers(self) -> set[int]:
        """Return the numbers of all snapshots."""
        with self._file.connection() as db:
            return {row[0] for row in db.execute("SELECT number FROM snapshots")}

    def forget(self, numbers: Collection[int]) -> None:
        """Drop the records of snapshots whose files are lost, and of all that build on them."""
        with self.transaction() as db:
            db.executemany(_FORGET, [(number,) for number in numbers])

    def close(self) -> None:
        """Close the file; calling it twice is fine, and any other method opens it again."""
        self._file.close()


def _committed(db: sqlite3.Connection, parent: str) -> int:
    row = db.execute("SELECT number, kind FROM snapshots WHERE key = ?", (parent,)).fetchone()
    if row is None:
        raise NotFound(f"parent snapshot {parent} does not exist")
    if row[1] != "committed":
        raise InvalidInput(f"parent snapshot {parent} is {row[1]}, not committed")
    number: int = row[0]
    return number


def _info(row: tuple[str, SnapshotKind, str | None, float, str]) -> SnapshotInfo:
    key, kind, parent, created, labels = row
    return SnapshotInfo(key, kind, parent, created, json.loads(labels))
