"""Move what one storage driver has to another, and prove that nothing has changed.

Only the storage Protocol is used, so any two drivers will do. A layer is shown by a view of the one driver, and
written through the mounts of an active snapshot of the other, which shows the layers below: the kernel, or whoever
shows that mount, finds its own way to record what was deleted. So is what a container has changed. Then the target
is mounted anew and the digests of both trees are compared (:mod:`swapbox.migration.trees`).

The order is: layers, from the lowest up; containers, each with its record changed as soon as its tree is proved;
then the store's own note of its driver; last of all the source is emptied. A command that was killed leaves layers
twice, which the next one compares and does not copy again, and of a container a snapshot that its record does not
name, which clean-ups remove (:mod:`swapbox.images.garbage`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from swapbox.containers.files import container_lock
from swapbox.containers.inside import mounted
from swapbox.drivers.storage import DirectWriter, Mount, SnapshotInfo
from swapbox.errors import Conflict, DataError, InvalidInput, NotFound, SwapboxError
from swapbox.images.garbage import collect, removal_lock, remove_snapshots
from swapbox.images.lease import Lease
from swapbox.images.rooted import RootedTree, clear
from swapbox.migration.emptying import Emptying
from swapbox.migration.mirror import mirror
from swapbox.migration.plan import Plan, Step, built_on, in_order, refuse_busy
from swapbox.migration.safety import AGAIN, alone, border, make_durable
from swapbox.migration.trees import tree_digest
from swapbox.store.owners import OWNER_LABEL, owner

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.drivers.storage import StorageDriver
    from swapbox.engine import Engine
    from swapbox.plugins.selection import Choice

_MARKS = {"remove": None, "overlay": "trusted.overlay.", "overlay-user": "user.overlay."}


class Migration:
    """Moves snapshots from one storage driver to another.

    :param source: name of the driver that has them; ``target`` of the one that is to have them.
    :param tell: told of every step.
    :raises NotFound: no plugin offers such a driver.
    :raises Unsupported: this host does not carry it.
    :raises InvalidInput: both are the same.
    """

    def __init__(self, engine: Engine, source: str, target: str, *, tell: Callable[[Step], None]) -> None:
        if source == target:
            raise InvalidInput(f"source and target are both storage driver {source!r}")
        self._engine = engine
        self._choices = tuple(engine.selector.choose("storage", name=name) for name in (source, target))
        self._tell = tell

    # Opened when needed: that makes a driver's directory, and who only looks makes none.

    @property
    def source(self) -> StorageDriver:
        """The driver that has what is to be moved."""
        return cast("StorageDriver", self._engine.selector.open_choice(self._choices[0]))

    @property
    def target(self) -> StorageDriver:
        """The driver that is to have it."""
        return cast("StorageDriver", self._engine.selector.open_choice(self._choices[1]))

    @property
    def _durable(self) -> tuple[Path, ...]:
        paths = self._engine.paths
        return (paths.root, paths.driver("storage", self.target_choice.name))

    @property
    def target_choice(self) -> Choice:
        """The driver that has everything in the end."""
        return self._choices[1]

    def plan(self, names: Sequence[str] = ()) -> Plan:
        """Return what is to be moved: all of the source, or the containers that are named.

        :raises NotFound: there is no such container.
        :raises Conflict: one of them runs, or another driver has it.
        """
        containers = self._named(names) if names else self._containers()
        there = self.target_choice.name
        for container in containers:
            if container.config.storage != there:
                refuse_busy(container)
        infos = self._infos(self._choices[0])
        wanted = [infos[one.id].parent for one in containers if one.id in infos]
        if not names:
            rows = self._engine.database.rows("SELECT DISTINCT chain FROM image_chains ORDER BY chain")
            wanted += [row["chain"] for row in rows]
        return Plan(tuple(in_order(infos, wanted)), tuple(containers))

    def missing(self, plan: Plan) -> Plan:
        """Return what of a plan the target does not have yet."""
        there, target = self._infos(self._choices[1]), self.target_choice.name
        return Plan(
            tuple(chain for chain in plan.layers if chain not in there),
            tuple(container for container in plan.containers if container.config.storage != target),
        )

    def run(self, names: Sequence[str] = ()) -> Plan:
        """Move all of the source, or the containers that are named; return what was moved.

        :raises Conflict: another migration is at work, a container runs, or the source is in use.
        :raises DataError: two trees that must be equal are not.
        :raises Unavailable: the disk is full or fails.
        """
        with alone(self._engine.paths.root):
            with Lease(self._engine) as lease:
                plan = self.plan(names)
                for chain in plan.layers:
                    lease.take(chain)
                    self._move_layer(chain, plan)
                for container in plan.containers:
                    self._move_container(container)
                if not names:
                    self._engine.selector.move_store(*self._choices)
                make_durable(self._durable)
            Emptying(self._engine, self._choices[0].name).run(plan, everything=not names)
        return plan

    # -- what there is --------------------------------------------------------------------------------------------

    def _infos(self, choice: Choice) -> dict[str, SnapshotInfo]:
        if not self._engine.paths.driver("storage", choice.name).is_dir():
            return {}
        driver = cast("StorageDriver", self._engine.selector.open_choice(choice))
        return {info.key: info for info in driver.walk()}

    def _containers(self) -> list[Container]:
        found = []
        for container in self._engine.records.on_storage(self._choices[0].name):
            with contextlib.suppress(NotFound):  # removed meanwhile
                found.append(self._engine.containers.refresh(container))
        return found

    def _named(self, names: Sequence[str]) -> list[Container]:
        found = {container.id: container for container in map(self._engine.containers.find, names)}
        for container in found.values():
            if container.config.storage not in {choice.name for choice in self._choices}:
                raise Conflict(
                    f"container {container.name} is on storage driver {container.config.storage!r},"
                    f" not on {self._choices[0].name!r}"
                )
        return list(found.values())

    # -- moving ---------------------------------------------------------------------------------------------------

    def _move_layer(self, chain: str, plan: Plan) -> None:
        info = self.source.stat(chain)
        with self._viewed(self.source, chain) as fd:
            with border(f"read layer {chain}"):
                digest = tree_digest(fd)
            there = _has(self.target, chain)
            if there and not self._is_same(chain, fd, digest):
                self._remove_damaged(chain, plan)
                there = False
            if not there:
                key = f"migrate-{os.urandom(8).hex()} {chain}"
                labels = {name: value for name, value in info.labels.items() if name != OWNER_LABEL}
                with self._discarded_on_failure(key):
                    self.target.prepare(key, info.parent, labels={OWNER_LABEL: owner()})
                    self._copy(fd, digest, key, f"layer {chain}")
                    self.target.commit(chain, key, labels=labels)
        self._tell(Step("layer", chain, digest, not there))

    def _is_same(self, chain: str, fd: int, digest: str) -> bool:
        """Say whether the target's layer is the same; two unpackings may differ in times of directories alone."""
        with self._viewed(self.target, chain) as other, border(f"read layer {chain}"):
            return tree_digest(other) == digest or (
                tree_digest(other, directory_times=False) == tree_digest(fd, directory_times=False)
            )

    def _remove_damaged(self, chain: str, plan: Plan) -> None:
        """Remove a layer that the target has otherwise, with those on it that are copied anew as well.

        A disk that lost its power may have one recorded and its files empty.

        :raises DataError: something else builds on it.
        """
        target = self.target_choice.name
        collect(self._engine)  # what a killed migration has left on it
        with removal_lock(self._engine.paths.root, alone=True):
            above = built_on({info.key: info for info in self.target.walk()}, chain)
            kept = [key for key in above if key not in plan.layers]
            if not kept:
                remove_snapshots(self.target, reversed(above))
        if _has(self.target, chain):
            raise DataError(
                f"layer {chain} is another tree on storage driver {target!r} than on {self._choices[0].name!r}",
                hint=f"{(kept or above)[-1]} builds on it there: remove that container, or that layer's image",
            )
        self._engine.warn(f"layer {chain} is another tree on storage driver {target!r}: it is copied anew")

    def _move_container(self, planned: Container) -> None:
        engine, key, name = self._engine, planned.id, planned.name
        if engine.records.find(key).config.storage == self.target_choice.name:
            self._tell(Step("container", name, "", done=False))
            return
        with ExitStack() as stack:
            with self._discarded_on_failure(key):
                self._prepare_anew(key)
                stack.enter_context(container_lock(engine.paths.container(key)))
                refuse_busy(engine.records.find(key))
                with mounted(engine, _read_only(self.source.mounts(key)), name) as fd:
                    with border(f"read container {name}"):
                        digest = tree_digest(fd)
                    self._copy(fd, digest, key, f"container {name}")
            self._switch(planned)
        self._tell(Step("container", name, digest, done=True))

    def _prepare_anew(self, key: str) -> None:
        """Make a container's snapshot on the target, and remove first what a killed migration has left there.

        A clean-up knows leftovers by their key, which the new snapshot has, too: it may not come between. The
        container is not locked for it, since who removes images takes both locks in this order; only a migration
        changes what driver it is on.
        """
        with removal_lock(self._engine.paths.root, alone=False):
            remove_snapshots(self.target, (key,))
            self.target.prepare(key, self.source.stat(key).parent, labels={OWNER_LABEL: owner()})

    def _switch(self, container: Container) -> None:
        """Let the record name the target; from now on what the source has is a copy that nobody needs.

        Whatever interrupts it, the record may name the target already: the copy is left to clean-ups, which look.
        """
        if not self._engine.records.set_storage(container.id, self.target_choice.name):
            self._discard(container.id)
            raise Conflict(f"container {container.name} was started or removed while it was moved", hint=AGAIN)

    def _copy(self, source: int, digest: str, key: str, what: str) -> None:
        """Give an active snapshot the tree that has this digest, on disk."""
        marks = self._marks(key)
        for thorough in (False, True):
            with mounted(self._engine, self.target.mounts(key), what) as fd, border(f"copy {what}"):
                mirror(source, fd, thorough=thorough, marks=marks)
            # Mounted anew: what is compared is what everybody will see.
            with mounted(self._engine, self.target.mounts(key), what) as fd, border(f"read {what}"):
                found = tree_digest(fd)
            if found == digest:
                make_durable(self._durable)
                return
        raise DataError(
            f"{what} is tree {digest} on storage driver {self._choices[0].name!r},"
            f" and {found} on {self.target_choice.name!r}: it stays where it is"
        )

    def _marks(self, key: str) -> str | None:
        """Return how names of attributes begin that overlay would take for marks, unless its mount sees to it."""
        if (
            "direct" not in self.target_choice.offer.spec.capabilities
            or self.target.mounts(key)[0].type == "overlay"
        ):
            return None
        return _MARKS[cast(DirectWriter, self.target).layer_target(key).whiteouts]

    @contextlib.contextmanager
    def _discarded_on_failure(self, key: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._discard(key)
            raise

    def _discard(self, key: str) -> None:
        """Remove a half-made snapshot, its files first: on a full disk, forgetting it needs the room they take."""
        if "direct" in self.target_choice.offer.spec.capabilities:
            with (
                contextlib.suppress(SwapboxError, OSError),
                RootedTree(cast(DirectWriter, self.target).layer_target(key).path) as tree,
            ):
                clear(tree.open(b"").fd, b".")
        with contextlib.suppress(SwapboxError):
            self.target.remove(key)

    @contextlib.contextmanager
    def _viewed(self, driver: StorageDriver, chain: str) -> Iterator[int]:
        key = f"look-{os.urandom(8).hex()}"
        made = driver.view(key, chain, labels={OWNER_LABEL: owner()})
        try:
            with mounted(self._engine, made, chain) as fd:
                yield fd
        finally:
            driver.remove(key)


def _has(driver: StorageDriver, chain: str) -> bool:
    with contextlib.suppress(NotFound):
        return driver.stat(chain).kind == "committed"
    return False


def _read_only(made: Sequence[Mount]) -> tuple[Mount, ...]:
    """Return mounts that cannot be written, of a snapshot that can."""
    return tuple(
        mount if "ro" in mount.options else mount._replace(options=(*mount.options, "ro")) for mount in made
    )
