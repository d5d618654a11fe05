"""Storage: snapshots of file system trees, built on one another.

Vocabulary (containerd's). A *snapshot* is the state of a tree under a *key*. An **active** one is writable. A
**view** is read-only. A **committed** one can never change again and is what others build on: its *parent*.

Three uses:

1. Unpack a layer: ``prepare("extract-1", parent)``, write the layer's files through the mounts (or
   ``layer_target``), ``commit(chain_id, "extract-1")``. The active key is gone then; the committed name lives.
2. Run a container: ``prepare(container_id, top_chain_id)``, mount what ``mounts(container_id)`` returns in the
   container's mount namespace, later ``remove(container_id)``.
3. Look inside an image: ``view("look-1", top_chain_id)``, mount, read, ``remove("look-1")``.

A driver *returns* mounts and never mounts anything: the caller mounts them in whatever namespace it needs
(``swapbox.linux.mounts.apply``), so a killed process leaves no mount behind. Methods may be called from several
processes at once, and any of them may be killed at any time; a driver keeps its own bookkeeping inside its root
(``swapbox.drivers.ledger.Ledger`` does that for it). A key is any text: never a part of a path.

Optional powers, named in ``StorageDriverSpec.capabilities``:

``direct``
    The driver also keeps :class:`DirectWriter`: a layer can be written without mounting anything.
``changes``
    The driver also keeps :class:`ChangeLister`: it knows what an active snapshot changed without walking both
    trees.
``rebase``
    ``commit(name, key, parent=...)`` may set the parent of a snapshot prepared without one, so that layers unpack
    in parallel. The root directory looks as in the parent then, unless a layer has described it: whoever does so
    removes all extended attributes that the directory had.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from swapbox.drivers.common import DriverSpec

SnapshotKind = Literal["active", "view", "committed"]
WhiteoutStyle = Literal["remove", "overlay", "overlay-user"]


class Mount(NamedTuple):
    """One mount the caller has to make; fields as in mount(2) and the OCI runtime spec.

    :param type: file system type, or ``bind``.
    :param source: what is mounted.
    :param options: as in fstab: ``ro``, ``rbind``, ``lowerdir=...``; one per item, never joined by the driver.
    """

    type: str
    source: str
    options: tuple[str, ...] = ()


class SnapshotInfo(NamedTuple):
    """What is known of one snapshot; ``created`` is seconds since the epoch."""

    key: str
    kind: SnapshotKind
    parent: str | None
    created: float
    labels: Mapping[str, str]


class Usage(NamedTuple):
    """Disk space of one snapshot without its parents: bytes allocated, and inodes."""

    size: int
    inodes: int


class LayerTarget(NamedTuple):
    """Where the files of a layer can be written directly.

    :param path: an existing directory.
    :param whiteouts: how a deletion is recorded there: ``remove`` deletes the file from a full tree;
        ``overlay`` makes a 0:0 character device, and ``trusted.overlay.opaque``; ``overlay-user`` the same with
        ``user.overlay.opaque``.
    """

    path: Path
    whiteouts: WhiteoutStyle


class Change(NamedTuple):
    """One path an active snapshot changed against its parent: added, changed or deleted.

    :param path: absolute inside the tree, as in ``docker diff``.
    """

    kind: Literal["A", "C", "D"]
    path: str


class StorageDriver(Protocol):
    """A snapshotter. Every method raises ``NotFound`` for an unknown key or parent."""

    def prepare(
        self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """Make an active snapshot of ``parent`` (None: an empty tree) and return its mounts.

        :raises AlreadyExists: the key is taken, by any kind of snapshot.
        :raises InvalidInput: the parent is not committed.
        """
        ...

    def view(self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None) -> tuple[Mount, ...]:
        """Make a read-only snapshot of ``parent``; raises as :meth:`prepare`."""
        ...

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return the mounts of an active snapshot or view: the same each time, on any call after a reboot too.

        :raises InvalidInput: the snapshot is committed.
        """
        ...

    def commit(
        self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        """Turn the active snapshot ``key`` into the committed snapshot ``name``; ``key`` is free afterwards.

        Nobody has it mounted any more.

        :param parent: only with capability ``rebase``: the parent of a snapshot that was prepared without one.
        :param labels: added to those it has.
        :raises AlreadyExists: ``name`` is taken; the active snapshot is untouched.
        :raises InvalidInput: ``key`` is not active.
        """
        ...

    def remove(self, key: str) -> None:
        """Remove a snapshot of any kind and free its space; nobody has it mounted any more.

        :raises Conflict: other snapshots build on it.
        """
        ...

    def stat(self, key: str) -> SnapshotInfo:
        """Return what is known of one snapshot."""
        ...

    def usage(self, key: str) -> Usage:
        """Return the space of one snapshot without its parents; costs a walk over its own files."""
        ...

    def walk(self) -> Iterator[SnapshotInfo]:
        """Yield every snapshot, in no promised order; ones removed meanwhile may or may not appear."""
        ...

    def cleanup(self) -> int:
        """Remove what a crash left on disk without a record; return how many things were removed."""
        ...

    def close(self) -> None:
        """Release what the driver holds open; calling it twice is fine."""
        ...


class DirectWriter(Protocol):
    """Capability ``direct``."""

    def layer_target(self, key: str) -> LayerTarget:
        """Return where the active snapshot ``key`` takes a layer's files without a mount."""
        ...


class ChangeLister(Protocol):
    """Capability ``changes``."""

    def changes(self, key: str) -> Iterator[Change]:
        """Yield what the active snapshot ``key`` changed, parents before children."""
        ...


class StorageDriverSpec(DriverSpec[StorageDriver]):
    """Offer a storage driver; see :class:`swapbox.drivers.common.DriverSpec`."""

    kind = "storage"
    __slots__ = ()
