"""What a migration removes in the end: what was moved, and what nobody needs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from swapbox.containers.files import container_lock
from swapbox.errors import Conflict, NotFound
from swapbox.images.garbage import drop_leases_of_the_dead, has_snapshot, removal_lock, remove_snapshots
from swapbox.migration.plan import Plan, in_order, is_nobodys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from swapbox.drivers.storage import StorageDriver
    from swapbox.engine import Engine

_NEEDED = "SELECT chain AS item FROM image_chains UNION SELECT resource FROM leases"


class Emptying:
    """Empties one storage driver of what others have.

    :param source: its name.
    """

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._name = source
        self._source = self._driver(source)

    def _driver(self, name: str) -> StorageDriver:
        return self._engine.selector.open("storage", made_with=name)

    def run(self, plan: Plan, *, everything: bool) -> None:
        """Remove from the source what was moved, and with ``everything`` what nobody needs.

        :raises Conflict: something is in use.
        """
        self._remove_originals(container.id for container in plan.containers)
        with removal_lock(self._engine.paths.root, alone=True):
            if everything:
                drop_leases_of_the_dead(self._engine.database)
                self._remove_unneeded(set(plan.layers))
            self._source.cleanup()
        left = [info.key for info in self._source.walk()] if everything else []
        if left:
            raise Conflict(
                f"storage driver {self._name!r} still has {left[0]}"
                + f" and {len(left) - 1} more" * (len(left) > 1)
                + ": it is new, or in use",
                hint="the same command, once more, moves it",
            )

    def _remove_originals(self, containers: Iterable[str]) -> None:
        """Remove what the source has of containers that another driver has now, or that are gone.

        Whoever reads a container's files holds its lock.
        """
        for key in containers:
            with ExitStack() as stack:
                try:
                    stack.enter_context(container_lock(self._engine.paths.container(key)))
                    home = self._engine.records.find(key).config.storage
                except NotFound:
                    home = None
                if home is None or (home != self._name and has_snapshot(self._driver(home), key)):
                    remove_snapshots(self._source, (key,))

    def _remove_unneeded(self, moved: set[str]) -> None:
        infos = {info.key: info for info in self._source.walk()}
        database = self._engine.database
        needed = {row["item"] for row in database.rows(_NEEDED)} - moved
        needed |= {row["resource"] for row in database.rows("SELECT resource FROM leases")}
        free = [key for key in infos if infos[key].kind == "committed" and key not in needed]
        # Who has made an original may be alive; what a container does not use any more is nobody's all the same.
        moved_before = database.rows("SELECT id FROM containers WHERE storage != ?", (self._name,))
        elsewhere = {row["id"] for row in moved_before}
        active = [info for info in infos.values() if info.kind != "committed"]
        self._remove_originals(info.key for info in active if info.key in elsewhere or is_nobodys(info))
        remove_snapshots(self._source, reversed(list(in_order(infos, free, only=set(free)))))
