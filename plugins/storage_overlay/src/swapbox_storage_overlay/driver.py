"""The overlay driver.

``<root>/snapshots/<number>/fs`` has what a snapshot changed against its parent, ``.../work`` is overlay's scratch
space. Committing changes the record and nothing on disk. Directories are made inside the ledger's transaction, so
one without a record is what a crash left behind.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from swapbox.drivers.ledger import Entry, Ledger
from swapbox.drivers.storage import Change, LayerTarget, Mount, SnapshotInfo, SnapshotKind, Usage
from swapbox.errors import InvalidInput, Unsupported, from_os_error
from swapbox.linux.overlayfs import escape_layer
from swapbox.linux.trees import disk_usage, remove_tree

_MOST_LAYERS = 500  # OVL_MAX_STACK of the kernel

# What is on disk has to be complete and to belong to no one mount, whatever the kernel's defaults: no inode index
# that ties an upper to its lowers, no upper files that hold only metadata, no directories that point elsewhere.
_PRIVILEGED = ("index=off", "metacopy=off", "redirect_dir=off")
_UNPRIVILEGED = ("index=off", "userxattr")


class Driver:
    """Snapshots as overlayfs layers; see :class:`swapbox.drivers.storage.StorageDriver`.

    :param unprivileged: mount for a user namespace: overlay's marks are ``user.overlay.*`` attributes.
    """

    def __init__(self, root: Path, *, unprivileged: bool = False) -> None:
        self._snapshots = root / "snapshots"
        with _border(f"open {root}"):
            self._snapshots.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ledger = Ledger(root / "ledger.sqlite")
        self._unprivileged = unprivileged
        self._fresh = "user.swapbox.fresh" if unprivileged else "trusted.swapbox.fresh"

    def prepare(
        self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        """Make an active snapshot."""
        return self._create("active", key, parent, labels)

    def view(self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None) -> tuple[Mount, ...]:
        """Make a read-only snapshot."""
        return self._create("view", key, parent, labels)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return the mount of an active snapshot or view."""
        return self._mounts(self._ledger.chain(key))

    def commit(
        self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        """Turn an active snapshot into a committed one."""
        with _border(f"commit snapshot {key}"), self._ledger.transaction():
            rebased = parent is not None and self._ledger.get(key).parent is None
            self._ledger.commit(name, key, parent=parent, labels=labels)
            snapshot, *below = self._ledger.chain(name)
            if self._took_mark(self._fs(snapshot)) and rebased:
                _adopt_root(self._fs(snapshot), self._fs(below[0]))

    def remove(self, key: str) -> None:
        """Remove a snapshot: first the record, which decides it, then the files."""
        number = self._ledger.remove(key)
        with _border(f"delete the files of snapshot {key}"):
            remove_tree(self._home(number))

    def stat(self, key: str) -> SnapshotInfo:
        """Return what is known of one snapshot."""
        return self._ledger.get(key)

    def usage(self, key: str) -> Usage:
        """Return the space of what the snapshot itself holds."""
        snapshot = self._ledger.chain(key)[0]
        return Usage(*disk_usage(self._fs(snapshot)))

    def walk(self) -> Iterator[SnapshotInfo]:
        """Yield every snapshot."""
        return self._ledger.walk()

    def cleanup(self) -> int:
        """Remove directories without a record, and records without a directory with all that build on them."""
        with _border("clean up"):
            with self._ledger.transaction():
                found = set(os.listdir(self._snapshots))
                recorded = self._ledger.numbers()
                lost = {number for number in recorded if str(number) not in found}
                self._ledger.forget(lost)
                orphans = found - set(map(str, self._ledger.numbers()))
            # Outside the transaction: a number is never used again, so nobody can want these.
            for name in orphans:
                remove_tree(self._snapshots / name)
        return len(orphans | set(map(str, lost)))

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def layer_target(self, key: str) -> LayerTarget:
        """Return the directory that takes a layer's files."""
        snapshot = self._ledger.chain(key)[0]
        _require_active(snapshot)
        return LayerTarget(self._fs(snapshot), "overlay-user" if self._unprivileged else "overlay")

    def changes(self, key: str) -> Iterator[Change]:
        """Yield what the active snapshot changed."""
        from swapbox_storage_overlay.changes import changes

        snapshot, *lowers = self._ledger.chain(key)
        _require_active(snapshot)
        prefix = "user.overlay." if self._unprivileged else "trusted.overlay."
        with _border(f"read snapshot {key}"):
            yield from changes(self._fs(snapshot), [self._fs(lower) for lower in lowers], prefix)

    def _create(
        self, kind: SnapshotKind, key: str, parent: str | None, labels: Mapping[str, str] | None
    ) -> tuple[Mount, ...]:
        with _border(f"create snapshot {key}"), self._ledger.transaction():
            number = self._ledger.add(key, kind, parent, labels)
            chain = self._ledger.chain(key)
            home = self._home(number)
            try:
                home.mkdir(mode=0o700)
            except FileExistsError:  # left by a crash before its record was committed
                remove_tree(home)
                home.mkdir(mode=0o700)
            (home / "work").mkdir(mode=0o700)
            (home / "fs").mkdir()
            (home / "fs").chmod(0o755)
            if parent is not None:
                _adopt_root(home / "fs", self._fs(chain[1]))
            elif kind == "active":
                self._mark_fresh(home / "fs")
            return self._mounts(chain)

    def _mounts(self, chain: list[Entry]) -> tuple[Mount, ...]:
        snapshot, *lowers = chain
        if snapshot.kind == "committed":
            raise InvalidInput(f"snapshot {snapshot.key} is committed and has no mounts; make a view of it")
        if len(lowers) > _MOST_LAYERS:
            raise Unsupported(
                f"max depth exceeded: overlay takes {_MOST_LAYERS} layers",
                hint="another driver may take more: --storage-driver vfs",
            )
        view = snapshot.kind == "view"
        if not lowers:
            return (Mount("bind", str(self._fs(snapshot)), ("bind", "ro") if view else ("bind",)),)
        if view and len(lowers) == 1:  # overlay needs two directories; without it, its own marks would be seen
            lowers = [*lowers, snapshot]
        at = escape_layer(str(self._snapshots))
        options = ["lowerdir=" + ":".join(f"{at}/{lower.number}/fs" for lower in lowers)]
        if view:
            options.append("ro")
        else:
            options += [f"upperdir={at}/{snapshot.number}/fs", f"workdir={at}/{snapshot.number}/work"]
        options += _UNPRIVILEGED if self._unprivileged else _PRIVILEGED
        return (Mount("overlay", "overlay", tuple(options)),)

    # Whether a layer that was written without its parent has said how the root directory looks: describing a
    # directory removes all attributes that it had, and with them this mark.

    def _mark_fresh(self, fs: Path) -> None:
        os.setxattr(fs, self._fresh, b"")

    def _took_mark(self, fs: Path) -> bool:
        try:
            os.removexattr(fs, self._fresh)
        except OSError:
            return False
        return True

    def _home(self, number: int) -> Path:
        return self._snapshots / str(number)

    def _fs(self, entry: Entry) -> Path:
        return self._home(entry.number) / "fs"


def _adopt_root(fs: Path, below: Path) -> None:
    """Let the root directory look as in the parent: overlay shows the uppermost, described or not."""
    own, wanted = fs.stat(), below.stat()
    if (own.st_uid, own.st_gid) != (wanted.st_uid, wanted.st_gid):
        os.chown(fs, wanted.st_uid, wanted.st_gid)
    fs.chmod(wanted.st_mode & 0o7777)
    os.utime(fs, ns=(wanted.st_atime_ns, wanted.st_mtime_ns))


def _require_active(snapshot: Entry) -> None:
    if snapshot.kind != "active":
        raise InvalidInput(f"snapshot {snapshot.key} is {snapshot.kind}, not active")


@contextlib.contextmanager
def _border(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error(error, doing) from error
