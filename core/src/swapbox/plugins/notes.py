"""What choosing drivers leaves on disk: which driver a store was made with, and which warnings were given."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from swapbox.drivers.common import Kind
from swapbox.errors import SwapboxError
from swapbox.paths import Paths


class Notes:
    """The notes of one root and run root."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def made_with(self, kind: Kind) -> tuple[str, str] | None:
        """Return the driver that the store was made with, and its distribution; only snapshots bind a store."""
        if kind != "storage":
            return None
        name, _, distribution = _read(self._store(kind)).partition(" ")
        return (name, distribution) if name else None

    def note_made_with(self, kind: Kind, name: str, distribution: str) -> None:
        """Write down the driver that a store is made with, so that a later default cannot hide what is in it."""
        record = self._store(kind)
        if kind == "storage" and not record.exists():
            self._write(record, name, distribution)

    def move_store(self, kind: Kind, old: str, name: str, distribution: str) -> None:
        """Write down that the store is another driver's now; one that was made with a third stays as it is."""
        made_with = self.made_with(kind)
        if made_with is None or made_with[0] == old:
            self._write(self._store(kind), name, distribution)

    def _write(self, record: Path, name: str, distribution: str) -> None:
        self._paths.make(record.parent)
        partial = record.with_suffix(f".{os.getpid()}")
        partial.write_text(f"{name} {distribution}")
        partial.replace(record)

    def is_news(self, kind: Kind, warning: str) -> bool:
        """Say whether the last warning about this kind, since the last reboot, was another one."""
        marker = self._paths.run_root / "warned" / kind
        with contextlib.suppress(OSError, SwapboxError):  # without a marker the warning comes again, no harm
            if _read(marker) == warning:
                return False
            self._paths.make(marker.parent)
            marker.write_text(warning)
        return True

    def _store(self, kind: Kind) -> Path:
        return self._paths.root / kind / ".made-with"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
