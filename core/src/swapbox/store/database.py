"""The metadata of images and containers: one SQLite file in WAL mode, short transactions, many processes.

Readers never wait for a writer. A writer waits up to a minute for another (`busy_timeout`), and no transaction
spans a download, a copy or a wait. Rows are written after the blobs and snapshots they name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swapbox.errors import Unavailable

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE images (
    id TEXT PRIMARY KEY,              -- digest of the config
    manifest TEXT NOT NULL,           -- digest of the image manifest
    target TEXT NOT NULL,             -- digest of the index or manifest the reference named
    top_chain TEXT NOT NULL,          -- chainID of the root file system
    config TEXT NOT NULL,             -- the config, JSON
    size INTEGER NOT NULL,            -- bytes of the files in all layers
    pulled REAL NOT NULL              -- seconds since the epoch
);
CREATE TABLE image_names (
    name TEXT PRIMARY KEY,            -- canonical reference, with a tag or a digest
    image TEXT NOT NULL REFERENCES images(id)
);
CREATE INDEX image_names_image ON image_names(image);
CREATE TABLE image_blobs (
    image TEXT NOT NULL REFERENCES images(id),
    digest TEXT NOT NULL,
    PRIMARY KEY (image, digest)
) WITHOUT ROWID;
CREATE INDEX image_blobs_digest ON image_blobs(digest);
CREATE TABLE image_chains (
    image TEXT NOT NULL REFERENCES images(id),
    chain TEXT NOT NULL,
    PRIMARY KEY (image, chain)
) WITHOUT ROWID;
CREATE INDEX image_chains_chain ON image_chains(chain);
CREATE TABLE containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image TEXT NOT NULL,
    storage TEXT NOT NULL,            -- name of the storage driver that holds its snapshot
    created INTEGER NOT NULL,         -- nanoseconds since the epoch
    config TEXT NOT NULL,             -- ContainerConfig, JSON
    state TEXT NOT NULL               -- ContainerState, JSON
);
CREATE INDEX containers_image ON containers(image);
CREATE INDEX containers_created ON containers(created);
CREATE TABLE leases (
    owner TEXT NOT NULL,              -- pid and start time of the process that needs the resource
    resource TEXT NOT NULL,           -- blob digest
    PRIMARY KEY (owner, resource)
) WITHOUT ROWID;
CREATE INDEX leases_resource ON leases(resource);
"""


class Database:
    """One connection to the metadata; not shared between threads or across a fork.

    :raises Unavailable: the file cannot be opened, is locked for a minute, or its disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _errors(path):
            self._connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            # A commit survives a killed process; a power cut may undo the last ones, never half of one.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            if self._version() != _SCHEMA_VERSION:
                self._create()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _create(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        with self.transaction():
            version = self._version()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
            elif version != _SCHEMA_VERSION:
                raise Unavailable(
                    f"{self.path} has schema version {version}, this swapbox knows {_SCHEMA_VERSION}",
                    hint="use the swapbox release that made it, or another --root",
                )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the writes inside one atomic step; the write lock is taken at the start, so none can deadlock."""
        with _errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> int:
        """Run one statement; return how many rows it changed."""
        with _errors(self.path):
            return self._connection.execute(sql, tuple(parameters)).rowcount

    def executemany(self, sql: str, rows: Iterable[Iterable[Any]]) -> None:
        """Run one statement for every row."""
        with _errors(self.path):
            self._connection.executemany(sql, [tuple(row) for row in rows])

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with _errors(self.path):
            return self._connection.execute(sql, tuple(parameters)).fetchall()

    def row(self, sql: str, parameters: Iterable[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        with _errors(self.path):
            row: sqlite3.Row | None = self._connection.execute(sql, tuple(parameters)).fetchone()
            return row

    def close(self) -> None:
        """Close the connection; calling it twice is fine."""
        self._connection.close()


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Translate sqlite's own errors; constraint violations pass, since callers tell them apart."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise Unavailable(
            f"cannot use the metadata in {path}: {error}", hint="is the disk full, or the directory not writable?"
        ) from error
