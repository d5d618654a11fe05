"""What was connected, on disk: so that any process can undo it, whoever was killed meanwhile.

::

    <root>/attachments/<endpoint>/attachment.json   before the first plugin runs: what they are told
                                  0.json, 1.json... each plugin's result, written by the plugin itself

Who works on an attachment holds a lock on its directory, and each plugin holds it, too: one whose starter was
killed goes on, nobody undoes what it is doing before it has ended, and then its result is there.
What a plugin leaves running has that descriptor, too: so the lock is given up, not only closed, once all
have ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from swapbox.errors import DataError, Unavailable
from swapbox_network_cni.lists import PluginList

_ATTACHMENT = "attachment.json"
PATIENCE = 30.0
"""Seconds to wait for a plugin that somebody else has started."""

_STEP = 0.01


class Busy(Unavailable):
    """A plugin is at work on an attachment."""


class Attachment(NamedTuple):
    """What plugins are told of an endpoint.

    :param endpoint: its id, which is the container's to the plugins: a container that starts again is another one.
    :param network: the id of the network.
    :param arguments: ``CNI_ARGS``.
    :param capabilities: what those get who have a capability.
    """

    endpoint: str
    network: str
    interface: str
    arguments: str
    capabilities: Mapping[str, Any]
    plugins: PluginList


class Place:
    """The directory of one attachment, locked by who has it.

    :param lock: a descriptor of it.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self.lock = lock

    def read(self) -> Attachment | None:
        """Return the attachment; None when nothing was done yet.

        :raises DataError: it is damaged.
        """
        path = self._path / _ATTACHMENT
        try:
            return _attachment(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"CNI attachment {path} is damaged: {error or type(error).__name__}",
                hint=f"undo by hand what its plugins have made, then remove {self._path}",
            ) from None

    def result(self) -> Any:
        """Return the result of the last plugin that had one, None when none did."""
        for path in sorted(self._path.glob("[0-9]*.json"), key=lambda path: int(path.stem), reverse=True):
            try:
                found = json.loads(path.read_bytes())
            except ValueError:  # it was killed, or ended without a word
                continue
            if isinstance(found, dict) and "msg" not in found:  # so it is no error
                return found
        return None

    @contextlib.contextmanager
    def output(self, number: int) -> Iterator[int]:
        """Yield a file for the result of a plugin."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(self._path / f"{number}.json", flags, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    def begin_undoing(self, number: int) -> bool:
        """Write down that a plugin is about to undo what it did; say whether one has been before."""
        try:
            os.close(os.open(self._path / f"{number}.undoing", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return True
        return False

    def write(self, attachment: Attachment) -> None:
        """Write what is going to be done.

        It must outlive a power failure: what plugins keep on disk, such as leases, does.
        """
        new = self._path / f"{_ATTACHMENT}.new"
        with new.open("w") as file:
            json.dump({**attachment._asdict(), "plugins": attachment.plugins.to_json()}, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self._path / _ATTACHMENT)
        for directory in (self._path, self._path.parent):
            _sync(directory)

    def remove(self) -> None:
        """Forget it."""
        for path in sorted(self._path.iterdir()):  # results first: what says what to undo goes last
            path.unlink()
        self._path.rmdir()


class Attachments:
    """All attachments below a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root / "attachments"

    def names(self) -> list[str]:
        """Return the endpoints that have one, perhaps half made."""
        try:
            with os.scandir(self._root) as found:
                return sorted(one.name for one in found if one.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def made(self, endpoint: str) -> Iterator[Place]:
        """Yield the place of an attachment, which is made when it is not there."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            (self._root / endpoint).mkdir(mode=0o700, exist_ok=True)
            with self.found(endpoint) as place:
                if place is not None:
                    yield place
                    return

    @contextlib.contextmanager
    def found(self, endpoint: str, *, seconds: float = PATIENCE) -> Iterator[Place | None]:
        """Yield the place of an attachment when nobody else is at it; None when there is none.

        :param seconds: how long to wait for who is at it.
        :raises Busy: that was not enough: nobody shall hang with a plugin that hangs.
        """
        path = self._root / endpoint
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            _wait_for(lock, endpoint, seconds)
            try:
                yield Place(path, lock) if _is(path, lock) else None
            except Exception:  # with any other, a plugin may be running yet: it keeps the lock
                fcntl.flock(lock, fcntl.LOCK_UN)
                raise
            fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            os.close(lock)

    def peek(self, endpoint: str) -> Attachment | None:
        """Return an attachment without waiting for who is at it; None when there is none."""
        return Place(self._root / endpoint, -1).read()


def _attachment(fields: Mapping[str, Any]) -> Attachment:
    """Return what :meth:`Place.write` has written, perhaps as another version: what it has more is left out."""
    known = {name: fields[name] for name in Attachment._fields}
    if not isinstance(known["capabilities"], dict):
        raise TypeError("capabilities are no object")
    return Attachment(**{**known, "plugins": PluginList.from_json(known["plugins"])})


def _wait_for(lock: int, endpoint: str, seconds: float) -> None:
    """Take a lock.

    :raises Busy: it takes longer.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise Busy(
                    f"a CNI plugin is at work on endpoint {endpoint}",
                    hint=f"it has not ended within {seconds:g} seconds; look for it with ps(1)",
                ) from None
            time.sleep(_STEP)
        else:
            return


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is(path: Path, fd: int) -> bool:
    """Say whether a directory is still where it was: who had the lock before may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
