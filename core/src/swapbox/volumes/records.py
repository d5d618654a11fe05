"""What the database has of volumes: a row for each, and one for each container that uses one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from swapbox.store.database import Database
from swapbox.store.owners import is_gone, owner

State = Literal["new", "ready", "filling", "removing"]
"""What is being done to a volume, or was when a process was killed, so that the next one can finish it.

``new``: its driver may not have it yet. ``filling``: the image's files are being copied into it. ``removing``: its
driver may still have it.
"""


class Volume(NamedTuple):
    """A volume as the database has it; ``created`` in nanoseconds since the epoch.

    :param driver: keeps the data.
    :param anonymous: nobody gave it a name: ``volume prune`` removes it when nobody uses it.
    """

    name: str
    driver: str
    created: int = 0
    options: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    anonymous: bool = False
    state: State = "ready"


class VolumeRecords:
    """The volumes in the database.

    A container uses a volume from before its own row is written: until then the use counts as long as the process
    that makes the container lives.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> Volume | None:
        """Return a volume, in whatever state; None when there is none."""
        row = self._database.row("SELECT * FROM volumes WHERE name = ?", (name,))
        return None if row is None else _volume(row)

    def all(self) -> list[Volume]:
        """Return every volume, in whatever state, by name."""
        return [_volume(row) for row in self._database.rows("SELECT * FROM volumes ORDER BY name")]

    def add(self, volume: Volume) -> None:
        """Write a new volume, whose name is not taken."""
        fields = volume._replace(options=json.dumps(volume.options), labels=json.dumps(volume.labels))  # type: ignore[arg-type]
        self._database.execute(f"INSERT INTO volumes ({', '.join(Volume._fields)}) VALUES (?,?,?,?,?,?,?)", fields)

    def set_state(self, name: str, state: State) -> None:
        """Write a volume's state."""
        self._database.execute("UPDATE volumes SET state = ? WHERE name = ?", (state, name))

    def remove(self, name: str) -> None:
        """Forget a volume that nobody uses."""
        with self._database.transaction():
            self._database.execute("DELETE FROM volume_uses WHERE volume = ?", (name,))
            self._database.execute("DELETE FROM volumes WHERE name = ?", (name,))

    # -- uses ---------------------------------------------------------------------------------------------------

    def use(self, name: str, container_id: str) -> None:
        """Write that a container, or one that the calling process is about to make, uses a volume."""
        self._database.insert("INSERT INTO volume_uses VALUES (?,?,?)", (name, container_id, owner()))

    def release(self, container_id: str) -> None:
        """Forget what a container used."""
        self._database.execute("DELETE FROM volume_uses WHERE container = ?", (container_id,))

    def users(self, name: str) -> list[str]:
        """Return the ids of the containers that use a volume, also of those being made."""
        return _users(self._database.rows(f"{_USES} WHERE volume = ?", (name,)))

    def used(self) -> Mapping[str, list[str]]:
        """Return the users of every volume that has any."""
        rows: dict[str, list[sqlite3.Row]] = {}
        for row in self._database.rows(_USES):
            rows.setdefault(row["volume"], []).append(row)
        return {name: users for name, uses in rows.items() if (users := _users(uses))}


_USES = "SELECT *, (SELECT 1 FROM containers WHERE id = container) AS recorded FROM volume_uses"


def _users(rows: Iterable[sqlite3.Row]) -> list[str]:
    return sorted(row["container"] for row in rows if row["recorded"] or not is_gone(row["owner"]))


def _volume(row: sqlite3.Row) -> Volume:
    return Volume(
        name=row["name"],
        driver=row["driver"],
        created=row["created"],
        options=json.loads(row["options"]),
        labels=json.loads(row["labels"]),
        anonymous=bool(row["anonymous"]),
        state=row["state"],
    )
