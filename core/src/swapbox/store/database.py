"""The metadata of images and containers: one SQLite file in WAL mode, short transactions, many processes.

Readers never wait for a writer. A writer waits up to a minute for another, and no transaction spans a download, a
copy or a wait. Rows are written after the blobs and snapshots they name.
"""

from __future__ import annotations

import _sqlite3 as sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from swapbox.linux.wal import WalFile

_FIRST = """
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
    state TEXT NOT NULL               -- RunState, JSON
);
CREATE INDEX containers_image ON containers(image);
CREATE INDEX containers_created ON containers(created);
CREATE TABLE leases (
    owner TEXT NOT NULL,              -- pid and start time of the process that needs the resource
    resource TEXT NOT NULL,           -- blob digest or chainID
    PRIMARY KEY (owner, resource)
) WITHOUT ROWID;
CREATE INDEX leases_resource ON leases(resource);
"""
_HEALTH = """
ALTER TABLE containers ADD COLUMN
    health TEXT NOT NULL DEFAULT '';  -- Health, JSON; empty without a health check
"""
_VOLUMES = """
CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    driver TEXT NOT NULL,             -- name of the volume driver that keeps its data
    created INTEGER NOT NULL,         -- nanoseconds since the epoch
    options TEXT NOT NULL,            -- the driver's, JSON
    labels TEXT NOT NULL,             -- JSON
    anonymous INTEGER NOT NULL,       -- 1: nobody has given it a name
    state TEXT NOT NULL               -- ready, or what is being done to it: new, filling, removing
) WITHOUT ROWID;
CREATE TABLE volume_uses (
    volume TEXT NOT NULL REFERENCES volumes(name),
    container TEXT NOT NULL,          -- id; it has a row, or its maker is at work
    owner TEXT NOT NULL,              -- pid and start time of its maker
    PRIMARY KEY (volume, container)
) WITHOUT ROWID;
CREATE INDEX volume_uses_container ON volume_uses(container);
"""
_NETWORKS = """
CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    driver TEXT NOT NULL,             -- name of the network driver
    created INTEGER NOT NULL,         -- nanoseconds since the epoch
    subnets TEXT NOT NULL,            -- list of Subnet, JSON
    options TEXT NOT NULL,            -- the driver's, JSON
    labels TEXT NOT NULL,             -- JSON
    internal INTEGER NOT NULL,        -- 1: no way out
    ipv6 INTEGER NOT NULL,            -- 1: containers have IPv6 addresses, too
    state TEXT NOT NULL               -- ready, or what is being done to it: new, removing
) WITHOUT ROWID;
CREATE TABLE endpoints (
    container TEXT NOT NULL,          -- id; it has a row, or its maker is at work
    network TEXT NOT NULL REFERENCES networks(id),
    position INTEGER NOT NULL,        -- the number of its interface
    owner TEXT NOT NULL,              -- pid and start time of its maker
    asked TEXT NOT NULL,              -- Attachment, JSON
    id TEXT NOT NULL,                 -- of this start's endpoint; empty when it is not connected
    ipv4 TEXT,                        -- leases, with prefix length; null when it is not connected
    ipv6 TEXT,
    mac TEXT NOT NULL,
    PRIMARY KEY (container, network)
) WITHOUT ROWID;
CREATE UNIQUE INDEX endpoints_ipv4 ON endpoints(network, ipv4);
CREATE UNIQUE INDEX endpoints_ipv6 ON endpoints(network, ipv6);
CREATE TABLE published_ports (
    protocol TEXT NOT NULL,
    public INTEGER NOT NULL,          -- number on the host
    address TEXT NOT NULL,            -- of the host
    private INTEGER NOT NULL,         -- number in the container
    container TEXT NOT NULL,          -- id
    PRIMARY KEY (protocol, public, address)
) WITHOUT ROWID;
CREATE INDEX published_ports_container ON published_ports(container);
"""
_GATEWAYS = """
ALTER TABLE endpoints ADD COLUMN gateways TEXT NOT NULL DEFAULT '';  -- that its driver has chosen, between spaces
"""
_NETWORK_DETAILS = """
ALTER TABLE networks ADD COLUMN attachable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE networks ADD COLUMN ipam_options TEXT NOT NULL DEFAULT '{}';  -- JSON
"""
_WAYS = """
ALTER TABLE endpoints ADD COLUMN leads_out INTEGER NOT NULL DEFAULT 0;  -- the container's way out goes through it
ALTER TABLE endpoints ADD COLUMN nameservers TEXT NOT NULL DEFAULT '';  -- with addresses of its driver
CREATE TABLE identity AS SELECT lower(hex(randomblob(16))) AS id;       -- of this database, always the same
"""
_LOST_NETWORKS = """
CREATE TABLE lost_networks (
    container TEXT NOT NULL,          -- id, of one that did not run when the network was removed
    name TEXT NOT NULL,               -- the network's
    asked TEXT NOT NULL,              -- Attachment, JSON
    PRIMARY KEY (container, name)
) WITHOUT ROWID;
"""
_SCHEMA = (_FIRST, _HEALTH, _VOLUMES, _NETWORKS, _GATEWAYS, _NETWORK_DETAILS, _WAYS, _LOST_NETWORKS)
"""What each version adds; a released one is never changed."""


class Database:
    """The metadata; safe across a fork (see :mod:`swapbox.linux.wal`).

    Every method raises ``Unavailable`` when the file cannot be opened, stays locked for a minute or its disk is
    full, and ``DataError`` when it is damaged or from another version of swapbox.
    """

    def __init__(self, path: Path) -> None:
        self._file = WalFile(path, schema=_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the writes inside one atomic step; the write lock is taken at the start, so none can deadlock."""
        with self._file.transaction():
            yield

    def execute(self, sql: str, parameters: Iterable[Any] = ()) -> int:
        """Run one statement; return how many rows it changed."""
        with self._file.connection() as connection:
            return connection.execute(sql, tuple(parameters)).rowcount

    def insert(self, sql: str, parameters: Iterable[Any]) -> bool:
        """Run one statement; False when a row with its unique value is there already."""
        with self._file.connection() as connection:
            try:
                connection.execute(sql, tuple(parameters))
            except sqlite3.IntegrityError:
                return False
        return True

    def executemany(self, sql: str, rows: Iterable[Iterable[Any]]) -> None:
        """Run one statement for every row."""
        with self._file.connection() as connection:
            connection.executemany(sql, [tuple(row) for row in rows])

    def rows(self, sql: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._file.connection() as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, tuple(parameters)).fetchall()

    def row(self, sql: str, parameters: Iterable[Any] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None."""
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    def close(self) -> None:
        """Close the connection; calling it twice is fine."""
        self._file.close()
