"""What is remembered of a container: its configuration, its state, and how both lie in the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from swapbox.containers.config import ContainerConfig
from swapbox.errors import Conflict, InvalidInput, NotFound
from swapbox.linux.process import Process
from swapbox.store.database import Database

Status = Literal["created", "running", "exited", "removing", "dead"]


class RunState(NamedTuple):
    """How a container fares; times in nanoseconds since the epoch, 0 for never.

    :param monitor: the process that starts the container, stays with it and tears it down; None when there is
        nothing to tear down. Once that process is gone, whoever looks at the container does it.
    :param boot: the boot its processes belong to; after a reboot a pid means nothing.
    :param error: why it could not be started.
    """

    status: Status = "created"
    init: Process | None = None
    monitor: Process | None = None
    boot: str = ""
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started: int = 0
    finished: int = 0

    def to_json(self) -> str:
        """Return the state as JSON."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> RunState:
        """Read what :meth:`to_json` returned."""
        fields: dict[str, Any] = json.loads(text)
        for name in ("init", "monitor"):
            fields[name] = Process(*fields[name]) if fields[name] else None
        return cls(**fields)


class Container(NamedTuple):
    """A container as the database has it; ``created`` in nanoseconds since the epoch."""

    id: str
    name: str
    created: int
    config: ContainerConfig
    state: RunState

    @property
    def short_id(self) -> str:
        """The first 12 digits of the id."""
        return self.id[:12]


class Records:
    """The containers in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, container: Container) -> None:
        """Write a new container.

        :raises Conflict: the name is taken.
        """
        config = container.config
        added = self._database.insert(
            "INSERT INTO containers (id, name, image, storage, created, config, state) VALUES (?,?,?,?,?,?,?)",
            (
                container.id,
                container.name,
                config.image_id,
                config.storage,
                container.created,
                json.dumps(config.to_json()),
                container.state.to_json(),
            ),
        )
        if not added:
            taken = self._database.row("SELECT id FROM containers WHERE name = ?", (container.name,))
            raise Conflict(
                f'Conflict. The container name "/{container.name}" is already in use by container '
                f'"{taken["id"] if taken else "?"}". You have to remove (or rename) that container to be able to '
                "reuse that name."
            )

    def find(self, text: str) -> Container:
        """Return the container with this id, name or unique beginning of its id.

        :raises NotFound: there is none.
        :raises InvalidInput: the beginning fits several.
        """
        name = text.removeprefix("/")
        row = self._database.row(
            "SELECT * FROM containers WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC", (name,)
        )
        if row is None:
            rows = self._by_prefix(name)
            if len(rows) > 1:
                raise InvalidInput(f"Multiple IDs found with provided prefix: {name}")
            row = rows[0] if rows else None
        if row is None:
            raise NotFound(f"No such container: {text}")
        return _container(row)

    def _by_prefix(self, prefix: str) -> list[sqlite3.Row]:
        if not prefix or prefix.strip("0123456789abcdef"):
            return []
        return self._database.rows(
            "SELECT * FROM containers WHERE id >= ? AND id < ? LIMIT 2", (prefix, prefix + "g")
        )

    def all(self) -> list[Container]:
        """Return every container, the newest first."""
        return [_container(row) for row in self._database.rows("SELECT * FROM containers ORDER BY created DESC")]

    def of_image(self, image_id: str) -> list[Container]:
        """Return the containers made from an image."""
        return [
            _container(row) for row in self._database.rows("SELECT * FROM containers WHERE image = ?", (image_id,))
        ]

    def name_taken(self, name: str) -> bool:
        """Say whether a container has this name."""
        return self._database.row("SELECT 1 FROM containers WHERE name = ?", (name,)) is not None

    def set_state(self, container_id: str, state: RunState, *, unless: Sequence[Status] = ()) -> bool:
        """Write a state; False when the container is gone, or is in one of the states ``unless``."""
        marks = ",".join("?" * len(unless))
        return bool(
            self._database.execute(
                "UPDATE containers SET state = ? WHERE id = ?"
                f" AND json_extract(state, '$.status') NOT IN ({marks})",
                (state.to_json(), container_id, *unless),
            )
        )

    def remove(self, container_id: str) -> bool:
        """Forget a container; False when it is gone already."""
        return bool(self._database.execute("DELETE FROM containers WHERE id = ?", (container_id,)))


def _container(row: sqlite3.Row) -> Container:
    return Container(
        id=row["id"],
        name=row["name"],
        created=row["created"],
        config=ContainerConfig.from_json(json.loads(row["config"])),
        state=RunState.from_json(row["state"]),
    )
