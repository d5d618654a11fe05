"""Where a container is kept: one directory below the run root, everything of the runtime's included.

::

    <run root>/<id>/record.json   the caller's bundle, and the process that runs the runtime's ``create``
                    config.json   the bundle that the runtime is given
                    state/        the runtime's own ``--root``
                    create/       files of a call: log, pid, console socket; ``exec-*`` likewise

The runtime is asked with this directory as its root, so an id that others use with the same program is no concern.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.errors import AlreadyExists, InvalidInput, NotFound
from swapbox.linux.process import Process

_RECORD = "record.json"


class Record(NamedTuple):
    """What is remembered: the caller's bundle, and who runs the runtime's ``create``."""

    bundle: Path
    creator: Process


class Place:
    """One container's directory.

    :raises InvalidInput: the id cannot be the name of a directory.
    """

    def __init__(self, run_root: Path, id: str) -> None:
        if not id or id in (".", "..") or "/" in id or "\0" in id:
            raise InvalidInput(f"invalid container id {id!r}")
        self.id = id
        self.path = run_root / id
        self.state = self.path / "state"

    def make(self) -> None:
        """Make the directory.

        :raises AlreadyExists: the id is taken.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            raise AlreadyExists(f"container {self.id} already exists in {self.path.parent}") from None

    def check(self) -> Place:
        """Return the place itself.

        :raises NotFound: there is no such container.
        """
        if not self.path.is_dir():
            raise NotFound(f"no such container: {self.id}")
        return self

    def remember(self, bundle: Path, creator: Process) -> None:
        """Write the record; the rename keeps readers from half a file, a reboot takes all of it."""
        new = self.path / f".{_RECORD}"
        new.write_text(json.dumps([os.fspath(bundle), *creator]))
        new.rename(self.path / _RECORD)

    def record(self) -> Record | None:
        """Return what is remembered; None when the creation has not come so far."""
        try:
            bundle, pid, start = json.loads((self.path / _RECORD).read_bytes())
        except FileNotFoundError:
            return None
        return Record(Path(bundle), Process(pid, start))

    def write_bundle(self, spec: Mapping[str, Any]) -> None:
        """Write the ``config.json`` for the runtime."""
        (self.path / "config.json").write_text(json.dumps(spec))

    def read_bundle(self) -> dict[str, Any]:
        """Return the ``config.json`` that the runtime was given."""
        bundle: dict[str, Any] = json.loads((self.path / "config.json").read_bytes())
        return bundle

    @contextmanager
    def call(self, name: str) -> Iterator[Path]:
        """Make a directory for the files of one call, and remove it."""
        directory = self.path / f"{name}-{os.getpid()}-{time.monotonic_ns()}"
        try:
            directory.mkdir(mode=0o700)
        except FileNotFoundError:
            raise NotFound(f"no such container: {self.id}") from None
        try:
            yield directory
        finally:
            remove_tree(directory)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who deletes; the lock ends with its holder.

        :raises NotFound: somebody else did it meanwhile.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"no such container: {self.id}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self.check()
            yield
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Forget the container; what is gone already is fine."""
        remove_tree(self.path)


def remove_tree(directory: Path) -> None:
    """Remove a directory of files that only root, or the calling user, could write."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(Path(entry.path))
            else:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
        os.rmdir(directory)
