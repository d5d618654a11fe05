"""The volumes of an engine: create, find, remove.

The row of a volume is written before its driver makes it and deleted after its driver has removed it, so a volume
never outlives its row. What a killed process left half done, its ``state`` tells whoever looks at it next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swapbox.drivers.volume import Volume as DriverVolume
from swapbox.errors import Conflict, InvalidInput, NotFound, SwapboxError
from swapbox.volumes.locks import name_lock
from swapbox.volumes.records import State, Volume, VolumeRecords

if TYPE_CHECKING:
    from swapbox.drivers.volume import VolumeDriver
    from swapbox.engine import Engine

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
"""The label that Docker gives volumes without a name."""


class Volumes:
    """The volumes of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.records = VolumeRecords(engine.database)

    # -- looking ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> Volume:
        """Return a volume by its name.

        :raises NotFound: there is none.
        """
        volume = self.records.get(name)
        if volume is None or not _is_there(volume):
            raise NotFound(f"get {name}: no such volume")
        return volume

    def all(self) -> list[Volume]:
        """Return every volume, by name."""
        return [volume for volume in self.records.all() if _is_there(volume)]

    def driver(self, volume: Volume) -> VolumeDriver:
        """Return what keeps a volume's data.

        :raises PluginError: its plugin is gone.
        """
        return self._engine.selector.open("volume", made_with=volume.driver)

    # -- making -----------------------------------------------------------------------------------------------

    def create(
        self,
        name: str = "",
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        user: str = "",
    ) -> Volume:
        """Make a volume and return it; one of this name that is there already is taken as it is.

        :param name: empty for a new anonymous one.
        :param driver: empty for the default one.
        :param user: id of a container, or of one to be, that uses it from now on.
        :raises InvalidInput: the name or an option is wrong.
        :raises Conflict: there is one of this name with another driver.
        """
        asked = Volume(
            name=name or os.urandom(32).hex(),
            driver=driver,
            created=time.time_ns(),
            options=options or {},
            labels=(labels or {}) if name else {**(labels or {}), ANONYMOUS_LABEL: ""},
            anonymous=not name,
            state="new",
        )
        try:
            check_name(asked.name)
            with self.locked(asked.name):
                return self._ensured(asked, user)
        except SwapboxError as error:
            error.message = f"create {asked.name}: {error.message}"
            raise

    def take(self, name: str, *, user: str) -> Volume:
        """Return a volume that is there; ``user``, as for :meth:`create`, uses it from now on.

        :raises NotFound: there is none, or not any more.
        """
        with self.locked(name):
            volume = self.find(name)
            self.records.use(name, user)
        return volume

    def _ensured(self, asked: Volume, user: str) -> Volume:
        """Make a volume that is not there, or finish what a killed process left half done."""
        found = self.records.get(asked.name)
        if found is not None and found.state == "removing":
            self._finish_removal(found)
            found = None
        if found is not None and asked.driver and found.driver != asked.driver:
            raise Conflict(f"driver '{found.driver}' already has volume '{asked.name}'")
        if found is None:
            found = asked._replace(driver=self._engine.selector.choose("volume", name=asked.driver or None).name)
            self.records.add(found)
        if found.state == "new":
            self._make(found)
            found = found._replace(state="ready")
        if user:
            self.records.use(found.name, user)
        return found

    def _make(self, volume: Volume) -> None:
        try:
            self.driver(volume).create(DriverVolume(volume.name, volume.options))
        except BaseException:
            self.records.remove(volume.name)
            raise
        self.records.set_state(volume.name, "ready")
        self._engine.emit("volume", "create", volume.name, {"driver": volume.driver})

    # -- removing ---------------------------------------------------------------------------------------------

    def remove(self, name: str) -> None:
        """Remove a volume and its data.

        :raises NotFound: there is none.
        :raises Conflict: a container uses it.
        """
        with self.locked(name):
            volume = self.records.get(name)
            if volume is None or volume.state == "new":
                raise NotFound(f"get {name}: no such volume")
            driver = self.driver(volume)
            with self._engine.database.transaction():
                if users := self.records.users(name):
                    raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
                self.records.set_state(name, "removing")
            try:
                driver.remove(name)
            except BaseException:  # somebody has to see it, to try again
                self.records.set_state(name, "ready")
                raise
            self.records.remove(name)
        self._engine.emit("volume", "destroy", name, {"driver": volume.driver})

    def _finish_removal(self, volume: Volume) -> None:
        self.driver(volume).remove(volume.name)
        self.records.remove(volume.name)

    def tidy(self) -> None:
        """Finish what killed processes have left half done, and free what drivers keep of it."""
        for volume in self.records.all():
            try:
                self._tidy_one(volume)
            except SwapboxError as error:  # of one volume's driver
                self._engine.warn(f"volume {volume.name} stays: {error.message}")
        directory = self._engine.paths.root / "volume"
        for entry in os.scandir(directory) if directory.is_dir() else ():
            try:
                self._engine.selector.open("volume", made_with=entry.name).cleanup()
            except SwapboxError as error:
                self._engine.warn(f"volumes stay in {entry.path}: {error}")

    def _tidy_one(self, volume: Volume) -> None:
        if volume.state not in ("new", "removing"):
            return
        with self.locked(volume.name, wait=False) as got:
            now = self.records.get(volume.name) if got else None
            if now is not None and now.state in ("new", "removing") and not self.records.users(now.name):
                self._finish_removal(now)

    # -- locks ------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Keep others from making, filling or removing a volume; see :func:`swapbox.volumes.locks.name_lock`."""
        with name_lock(self._engine.paths.root / "volumes.lock", name, wait=wait) as got:
            yield got

    def set_state(self, volume: Volume, state: State) -> None:
        """Write down what is being done to a locked volume."""
        self.records.set_state(volume.name, state)


def check_name(name: str) -> None:
    """Check the name of a volume; 255 bytes is what a directory's name can have.

    :raises InvalidInput: with Docker's words.
    """
    from swapbox.containers.options import NAME_CHARACTERS

    if len(name) == 1:
        raise InvalidInput("volume name is too short, names should be at least two alphanumeric characters")
    bare = name.translate({ord(character): None for character in "_.-"})
    if not (name.isascii() and name[:1].isalnum() and bare.isalnum()):
        raise InvalidInput(
            f'"{name}" includes invalid characters for a local volume name, only "{NAME_CHARACTERS}" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > 255:
        raise InvalidInput("volume name is too long, names should be at most 255 characters")


def _is_there(volume: Volume) -> bool:
    return volume.state in ("ready", "filling")
