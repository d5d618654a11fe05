"""Containers for lists: what lies in the database, read no further than it is shown.

``ps`` of hundreds of stopped containers has to be quick, so a configuration stays text until one of its fields is
looked at, and only containers with a monitor are compared with the kernel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from swapbox.containers.records import RunState
from swapbox.errors import NotFound

if TYPE_CHECKING:
    import sqlite3

    from swapbox.engine import Engine


class Listed:
    """A container in a list; ``created`` in nanoseconds since the epoch.

    :param state: checked against the kernel.
    :param health: ``none``, ``starting``, ``healthy`` or ``unhealthy``.
    """

    def __init__(self, row: sqlite3.Row, state: RunState, health: str) -> None:
        self.id: str = row["id"]
        self.name: str = row["name"]
        self.image_id: str = row["image"]
        self.storage: str = row["storage"]
        self.created: int = row["created"]
        self.state = state
        self.health = health
        self._config: str = row["config"]

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The fields of :class:`~swapbox.containers.config.ContainerConfig` as plain JSON; some may be missing."""
        found: dict[str, Any] = json.loads(self._config)
        return found

    @property
    def running(self) -> bool:
        """Whether Docker counts it as running."""
        return self.state.running


def listed(engine: Engine, *, everything: bool) -> Iterator[Listed]:
    """Yield containers, the newest first.

    :param everything: also those that do not run.
    """
    where = "" if everything else " WHERE json_extract(state, '$.monitor') IS NOT NULL"
    for row in engine.database.rows(f"SELECT * FROM containers{where} ORDER BY created DESC"):
        state = RunState.from_json(row["state"])
        health = _health(row["health"])
        if state.monitor is not None:
            try:
                now = engine.containers.refresh(engine.records.find(row["id"]))
            except NotFound:  # removed meanwhile
                continue
            state, health = now.state, now.health.status if now.health else "none"
        if everything or state.running:
            yield Listed(row, state, health)


def _health(text: str) -> str:
    """Read the status from what the database has of a health check: a list that it begins."""
    return str(json.loads(text)[0]) if text else "none"
