"""What is remembered of a container: its configuration, its state, and how both lie in the database."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from swapbox.containers.config import ContainerConfig
from swapbox.errors import Conflict, InvalidInput, NotFound
from swapbox.linux.process import Process
from swapbox.store.database import Database

if TYPE_CHECKING:
    import sqlite3

Status = Literal["created", "running", "paused", "restarting", "exited", "removing", "dead"]
RUNNING: tuple[Status, ...] = ("running", "paused", "restarting")
"""What Docker counts as running: there is a command, or will be in a moment."""


class RunState(NamedTuple):
    """How a container fares; times in nanoseconds since the epoch, 0 for never.

    :param monitor: the process that starts the container, stays with it and tears it down; None when there is
        nothing to tear down. Once that process is gone, whoever looks at the container does it.
    :param boot: the boot its processes belong to; after a reboot a pid means nothing.
    :param error: why it could not be started.
    :param ended: its monitor has seen its end, with this exit code and at this time, and tears it down.
    :param stopped: the user has asked it to end: it is not restarted.
    :param kept: it is about to start again at the user's wish: ``--rm`` waits for the next end.
    :param restart_count: how often the restart policy has started it.
    :param delay: nanoseconds the last restart was put off for.
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
    stopped: bool = False
    kept: bool = False
    restart_count: int = 0
    delay: int = 0
    ended: bool = False

    @property
    def running(self) -> bool:
        """Whether Docker counts it as running, also when it is paused or about to restart."""
        return self.status in RUNNING

    def to_json(self) -> str:
        """Return the state as JSON."""
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: str) -> "RunState":
        """Read what :meth:`to_json` returned."""
        fields: dict[str, Any] = json.loads(text)
        for name in ("init", "monitor"):
            fields[name] = Process(*fields[name]) if fields[name] else None
        return cls(**fields)


class Probe(NamedTuple):
    """One health check that was made; times in nanoseconds since the epoch."""

    start: int
    end: int
    exit_code: int
    output: str


class Health(NamedTuple):
    """What health checks have found.

    :param status: ``starting``, ``healthy`` or ``unhealthy``.
    :param streak: failures in a row.
    :param log: the last five checks.
    """

    status: str = "starting"
    streak: int = 0
    log: tuple[Probe, ...] = ()

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, text: str) -> "Health":
        """Read what :meth:`to_json` returned."""
        status, streak, log = json.loads(text)
        return cls(status, streak, tuple(Probe(*probe) for probe in log))


class Container(NamedTuple):
    """A container as the database has it; ``created`` in nanoseconds since the epoch.

    :param health: of one with a health check (see :mod:`swapbox.containers.health`), else None.
    """

    id: str
    name: str
    created: int
    config: ContainerConfig
    state: RunState
    health: Health | None = None

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
            raise self.name_conflict(container.name)

    def name_conflict(self, name: str) -> Conflict:
        """Return the error for a name that is taken."""
        taken = self._database.row("SELECT id FROM containers WHERE name = ?", (name,))
        return Conflict(
            f'Conflict. The container name "/{name}" is already in use by container '
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

    def _by_prefix(self, prefix: str) -> "list[sqlite3.Row]":
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

    def change(self, container_id: str, *, where: Sequence[Status] = (), **fields: Any) -> bool:
        """Write single fields of a state, untouched by what others write; False when it is in another status.

        :param where: the statuses in which it may be; any, when empty.
        """
        changes = "".join(f", '$.{name}', json(?)" for name in fields)
        marks = f" AND json_extract(state, '$.status') IN ({','.join('?' * len(where))})" if where else ""
        return bool(
            self._database.execute(
                f"UPDATE containers SET state = json_set(state{changes}) WHERE id = ?{marks}",
                (*map(json.dumps, fields.values()), container_id, *where),
            )
        )

    def begin_removal(self, container_id: str) -> bool:
        """Record that a container without a monitor is being removed; False when it has one, or is gone."""
        return bool(
            self._database.execute(
                "UPDATE containers SET state = json_set(state, '$.status', 'removing')"
                " WHERE id = ? AND json_extract(state, '$.monitor') IS NULL",
                (container_id,),
            )
        )

    def set_health(self, container_id: str, health: Health | None) -> None:
        """Write what health checks have found; None before the first start."""
        self._database.execute(
            "UPDATE containers SET health = ? WHERE id = ?", (health.to_json() if health else "", container_id)
        )

    def set_config(self, container_id: str, config: ContainerConfig) -> None:
        """Write a changed configuration."""
        self._database.execute(
            "UPDATE containers SET config = ? WHERE id = ?", (json.dumps(config.to_json()), container_id)
        )

    def set_storage(self, container_id: str, storage: str) -> bool:
        """Record that another driver has a container's snapshot; False when it is gone, or about to run or go."""
        return bool(
            self._database.execute(
                "UPDATE containers SET storage = ?1, config = json_set(config, '$.storage', ?1)"
                " WHERE id = ?2 AND json_extract(state, '$.monitor') IS NULL"
                " AND json_extract(state, '$.status') != 'removing'",
                (storage, container_id),
            )
        )

    def rename(self, container_id: str, name: str) -> bool:
        """Give a container another name; False when it is taken."""
        return self._database.insert("UPDATE containers SET name = ? WHERE id = ?", (name, container_id))

    def on_storage(self, storage: str) -> list[Container]:
        """Return the containers whose snapshots a driver has, the oldest first."""
        rows = self._database.rows("SELECT * FROM containers WHERE storage = ? ORDER BY created", (storage,))
        return [_container(row) for row in rows]

    def remove(self, container_id: str) -> bool:
        """Forget a container; False when it is gone already."""
        return bool(self._database.execute("DELETE FROM containers WHERE id = ?", (container_id,)))


def _container(row: "sqlite3.Row") -> Container:
    return Container(
        id=row["id"],
        name=row["name"],
        created=row["created"],
        config=ContainerConfig.from_json(json.loads(row["config"])),
        state=RunState.from_json(row["state"]),
        health=Health.from_json(row["health"]) if row["health"] else None,
    )
