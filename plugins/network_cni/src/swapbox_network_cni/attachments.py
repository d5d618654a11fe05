"""What was connected, on disk: so that any process can undo it, whoever was killed meanwhile.

::

    <root>/attachments/<endpoint>/attachment.json   before the first plugin runs: what they are told
                                  0.json, 1.json... each plugin's result, written by the plugin itself

Who works on an attachment holds a lock on its directory, and each plugin holds it, too: one whose starter was
killed goes on, nobody undoes what it is doing before it has ended, and then its result is there.
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

from swapbox.errors import Unavailable
from swapbox_network_cni.lists import PluginList

_ATTACHMENT = "attachment.json"
_SECONDS, _STEP = 30.0, 0.01


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
        """Return the attachment; None when nothing was done yet."""
        try:
            fields = json.loads((self._path / _ATTACHMENT).read_bytes())
        except FileNotFoundError:
            return None
        return Attachment(**{**fields, "plugins": PluginList.from_json(fields["plugins"])})

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
            return sorted(os.listdir(self._root))
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
    def found(self, endpoint: str) -> Iterator[Place | None]:
        """Yield the place of an attachment when nobody else is at it; None when there is none."""
        path = self._root / endpoint
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            _wait_for(lock, endpoint)
            yield Place(path, lock) if _is(path, lock) else None
        finally:
            os.close(lock)

    def peek(self, endpoint: str) -> Attachment | None:
        """Return an attachment without waiting for who is at it; None when there is none."""
        return Place(self._root / endpoint, -1).read()


def _wait_for(lock: int, endpoint: str) -> None:
    """Take a lock.

    :raises Unavailable: a plugin that hangs has it: nobody shall hang with it.
    """
    end = time.monotonic() + _SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise Unavailable(
                    f"a CNI plugin is at work on endpoint {endpoint}",
                    hint=f"it has not ended within {_SECONDS:g} seconds; look for it with ps(1)",
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
