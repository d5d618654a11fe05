"""Storage drivers as small as can be, to unpack layers into, and a progress that remembers."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from swapbox.drivers.storage import LayerTarget, Mount, SnapshotInfo
from swapbox.errors import AlreadyExists, NotFound


class Trees:
    """A storage driver of plain copies, as small as can be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.snapshots: dict[str, SnapshotInfo] = {}

    def path(self, key: str) -> Path:
        return self.root / hashlib.sha256(key.encode()).hexdigest()

    def prepare(
        self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        if parent is None:
            self.path(key).mkdir()
        else:
            subprocess.run(["cp", "-a", self.path(parent), self.path(key)], check=True)
        self.snapshots[key] = SnapshotInfo(key, "active", parent, 0.0, labels or {})
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        return (Mount("bind", str(self.path(key)), ("bind",)),)

    def layer_target(self, key: str) -> LayerTarget:
        return LayerTarget(self.path(key), "remove")

    def commit(
        self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        if name in self.snapshots:
            raise AlreadyExists(f"snapshot {name} already exists")
        self.path(key).rename(self.path(name))
        self.snapshots[name] = self.snapshots.pop(key)._replace(key=name, kind="committed")

    def remove(self, key: str) -> None:
        self.stat(key)
        shutil.rmtree(self.path(key))
        del self.snapshots[key]

    def stat(self, key: str) -> SnapshotInfo:
        try:
            return self.snapshots[key]
        except KeyError:
            raise NotFound(f"no such snapshot: {key}") from None

    def view(self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None) -> tuple[Mount, ...]:
        raise NotImplementedError

    def usage(self, key: str) -> object:
        raise NotImplementedError

    def walk(self) -> Iterator[SnapshotInfo]:
        return iter(self.snapshots.values())

    def cleanup(self) -> int:
        return 0

    def close(self) -> None:
        pass


class Overlays(Trees):
    """The same as overlay directories, which hold one layer each."""

    def prepare(
        self, key: str, parent: str | None, *, labels: Mapping[str, str] | None = None
    ) -> tuple[Mount, ...]:
        super().prepare(key, None)
        self.snapshots[key] = self.snapshots[key]._replace(parent=parent)
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        lower, parent = [], self.stat(key).parent
        while parent is not None:
            lower.append(str(self.path(parent)))
            parent = self.stat(parent).parent
        if not lower:
            return super().mounts(key)
        work = self.root / "work" / self.path(key).name
        work.mkdir(parents=True, exist_ok=True)
        options = (f"lowerdir={':'.join(lower)}", f"upperdir={self.path(key)}", f"workdir={work}")
        return (Mount("overlay", "overlay", options),)

    def layer_target(self, key: str) -> LayerTarget:
        return LayerTarget(self.path(key), "overlay")


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, int, int]] = []

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        self.calls.append((digest, status, current, total))

    def message(self, text: str) -> None:
        raise AssertionError(text)


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what each path below a directory is."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        info = path.lstat()
        attributes = [key for key in os.listxattr(path, follow_symlinks=False) if "overlay" not in key]
        content = path.read_bytes() if path.is_file() else path.readlink() if path.is_symlink() else b""
        found[str(path.relative_to(root))] = (info.st_mode, info.st_uid, attributes, content)
    return found
