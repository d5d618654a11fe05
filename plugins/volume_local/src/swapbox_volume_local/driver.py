"""The local driver: ``<root>/<name>/_data``, and the options of a volume that is mounted in ``options.json``.

Processes at work hold a shared lock on the root. Whoever gets it alone knows that nobody is, and that what has a
name with a dot in front was left by a process that was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from swapbox.drivers.storage import Mount, Usage
from swapbox.drivers.volume import Volume, VolumeInfo
from swapbox.errors import DataError, InvalidInput, NotFound, from_os_error
from swapbox.linux.trees import disk_usage, remove_tree
from swapbox_volume_local.options import check, mount_of

_DATA = "_data"
_OPTIONS = "options.json"


class Driver:
    """Volumes as directories; see :class:`swapbox.drivers.volume.VolumeDriver`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with _border(f"open {root}"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, volume: Volume) -> None:
        """Make the directory of a volume under another name, and rename it when it is whole."""
        check(volume.options)
        home = self._home(volume.name)
        with _border(f"create volume {volume.name}"), self._at_work():
            if home.exists():
                return
            new = self._root / f".new-{os.urandom(8).hex()}"
            try:
                _fill(new, volume.options)
                with suppress(FileExistsError):
                    _rename_new(new, home)
            finally:
                remove_tree(new)

    def remove(self, name: str) -> None:
        """Take the volume away under its name, which decides it, and delete it then."""
        old = self._root / f".old-{os.urandom(8).hex()}"
        with _border(f"remove volume {name}"), self._at_work():
            with suppress(FileNotFoundError):
                self._home(name).rename(old)
                remove_tree(old)

    def mounts(self, name: str) -> tuple[Mount, ...]:
        """Return a bind mount of the directory, or what the options say."""
        info = self.inspect(name)
        if info.options:
            return (mount_of(info.options),)
        return (Mount("bind", str(info.mountpoint), ("bind",)),)

    def inspect(self, name: str) -> VolumeInfo:
        """Return options and directory of a volume."""
        home = self._home(name)
        with _border(f"read volume {name}"):
            try:
                with open(home / _OPTIONS, encoding="utf-8") as file:
                    options = json.load(file)
            except FileNotFoundError:
                raise NotFound(f"no such volume: {name}") from None
            except ValueError as error:
                raise DataError(f"the options of volume {name} are damaged: {home / _OPTIONS}: {error}") from None
        return VolumeInfo(name, options, home / _DATA)

    def usage(self, name: str) -> Usage:
        """Return the space of the directory, without what is mounted there."""
        return Usage(*disk_usage(self.inspect(name).mountpoint))

    def walk(self) -> Iterator[VolumeInfo]:
        """Yield every volume."""
        with _border("list volumes"):
            names = sorted(os.listdir(self._root))
        for name in names:
            if not name.startswith("."):
                with suppress(NotFound):  # removed meanwhile
                    yield self.inspect(name)

    def cleanup(self) -> int:
        """Delete what is neither a volume nor anybody's work."""
        with _border("clean up volumes"), self._lock() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            left = [name for name in os.listdir(self._root) if name.startswith(".")]
            for name in left:
                remove_tree(self._root / name)
        return len(left)

    def close(self) -> None:
        """Close nothing: nothing is kept open."""

    def _home(self, name: str) -> Path:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise InvalidInput(f"invalid volume name: {name!r}")
        return self._root / name

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        with self._lock() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @contextmanager
    def _lock(self) -> Iterator[int]:
        lock = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield lock
        finally:
            os.close(lock)


def _fill(new: Path, options: Mapping[str, str]) -> None:
    new.mkdir(mode=0o700)
    data = new / _DATA
    data.mkdir()
    data.chmod(0o755)
    with open(new / _OPTIONS, "w", encoding="utf-8") as file:
        json.dump(dict(options), file)
        file.flush()
        os.fsync(file.fileno())


def _rename_new(new: Path, home: Path) -> None:
    """Rename a directory unless there is one already: rename(2) refuses a target that is not empty."""
    try:
        new.rename(home)
    except OSError:
        if home.exists():
            return
        raise
    directory = os.open(home.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _border(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error(error, doing) from error
