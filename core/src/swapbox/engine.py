"""The Python API: one object that holds a root, its drivers, its images and its containers.

::

    with Engine(root=Path("/srv/boxes"), storage="vfs") as engine:
        image, _ = engine.images.pull("alpine")
        container = engine.containers.create(ContainerConfig("alpine", ("echo", "hello")), image=image)
        engine.containers.start(container)

Everything is opened when it is first used: making an Engine reads no file but the configuration.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox import paths as _paths
from swapbox.drivers.common import Kind

if TYPE_CHECKING:
    from swapbox.config import Config
    from swapbox.containers.records import Records
    from swapbox.containers.service import Containers
    from swapbox.images.service import Images
    from swapbox.networks.service import Networks
    from swapbox.plugins.manager import Plugins
    from swapbox.plugins.selection import Selector
    from swapbox.store.content import ContentStore
    from swapbox.store.database import Database
    from swapbox.store.events import EventLog
    from swapbox.timings import Timings
    from swapbox.volumes.service import Volumes


def _ignore(_message: str) -> None:
    """Drop a warning."""


def _timings() -> Timings:
    from swapbox.timings import Timings

    return Timings("other")


class Engine:
    """A swapbox root and the drivers chosen for it.

    :param root: where everything is kept; None for ``SWAPBOX_ROOT``, the configuration, or the default.
    :param run_root: the same for what ends with a reboot.
    :param config_file: read instead of the usual configuration files.
    :param registry: and the following: names of the drivers to use instead of the default ones.
    :param timings: is told where the time goes.
    :param third_party: False leaves out plugins that did not come with swapbox.
    :param environment: variables to look at instead of the process' own.
    :param warn: told of what the user should know, one line each.
    """

    def __init__(
        self,
        *,
        root: Path | None = None,
        run_root: Path | None = None,
        config_file: Path | None = None,
        registry: str | None = None,
        storage: str | None = None,
        isolation: str | None = None,
        cgroup: str | None = None,
        logging: str | None = None,
        network: str | None = None,
        volume: str | None = None,
        third_party: bool = True,
        timings: Timings | None = None,
        environment: Mapping[str, str] | None = None,
        warn: Callable[[str], None] = _ignore,
    ) -> None:
        names: dict[Kind, str | None] = {
            "registry": registry,
            "storage": storage,
            "isolation": isolation,
            "cgroup": cgroup,
            "logging": logging,
            "network": network,
            "volume": volume,
        }
        self.flags: Mapping[Kind, str] = {kind: name for kind, name in names.items() if name}
        self.environment = os.environ if environment is None else environment
        self.warn = warn
        self.third_party = third_party
        self.timings = timings
        self._given = (root, run_root, config_file)

    @cached_property
    def config(self) -> Config:
        """The configuration files' content."""
        from swapbox.config import load

        return load(environment=self.environment, path=self._given[2])

    @cached_property
    def paths(self) -> _paths.Paths:
        """Where things are kept."""
        root, run_root, _ = self._given
        return _paths.resolve(
            environment=self.environment,
            root=root,
            run_root=run_root,
            configured_root=self.config.root,
            configured_run_root=self.config.run_root,
        )

    @cached_property
    def unprivileged(self) -> bool:
        """Whether this process lacks root's powers over the host."""
        return _paths.is_unprivileged()

    @cached_property
    def plugins(self) -> Plugins:
        """The plugins found."""
        from swapbox.plugins.manager import Plugins

        with self.timed("discovery"):
            return Plugins.load(
                environment=self.environment,
                cache_dir=_paths.cache_dir(self.environment),
                third_party=self.third_party,
            )

    @cached_property
    def selector(self) -> Selector:
        """Chooses and opens drivers."""
        from swapbox.plugins.selection import Selector

        self.paths.check()
        # Made here and not by the first driver that needs a place below it, which would not make it private.
        self.paths.make(self.paths.run_root)
        return Selector(
            self.plugins,
            paths=self.paths,
            config=self.config,
            environment=self.environment,
            flags=self.flags,
            warn=self.warn,
        )

    @cached_property
    def database(self) -> Database:
        """The metadata."""
        from swapbox.store.database import Database

        self.paths.check()
        self.paths.make(self.paths.root)
        return Database(self.paths.db)

    @cached_property
    def content(self) -> ContentStore:
        """The blobs."""
        from swapbox.store.content import ContentStore

        return ContentStore(self.paths.content)

    @cached_property
    def records(self) -> Records:
        """The containers in the database."""
        from swapbox.containers.records import Records

        return Records(self.database)

    @cached_property
    def containers(self) -> Containers:
        """What can be done with containers."""
        from swapbox.containers.service import Containers

        return Containers(self)

    @cached_property
    def images(self) -> Images:
        """What can be done with images."""
        from swapbox.images.service import Images

        return Images(self)

    @cached_property
    def volumes(self) -> Volumes:
        """What can be done with volumes."""
        from swapbox.volumes.service import Volumes

        return Volumes(self)

    @cached_property
    def networks(self) -> Networks:
        """What can be done with networks."""
        from swapbox.networks.service import Networks

        return Networks(self)

    @cached_property
    def events(self) -> EventLog:
        """What has happened since the last reboot."""
        from swapbox.store.events import EventLog

        self.paths.check()
        return EventLog(self.paths.events)

    def timed(self, name: str) -> AbstractContextManager[None]:
        """Charge the time of a block to a name, where anybody wants to know."""
        return nullcontext() if self.timings is None else self.timings.span(name)

    def emit(self, type: str, action: str, id: str, attributes: Mapping[str, str]) -> None:
        """Write down what has happened, and tell observing plugins; see docs/events.md."""
        from swapbox.store.events import Event

        event = Event(type=type, action=action, id=id, time=time.time_ns(), attributes=attributes)
        try:
            self.events.append(event)
        except OSError as error:  # what has happened has happened
            self.warn(f"cannot write to {self.paths.events}: {error.strerror}")
        self.plugins.notify("swapbox_event", warn=self.warn, event=event)

    # -- other processes ------------------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """What another process needs to make the same engine, as plain values."""
        return {
            "root": os.fspath(self.paths.root),
            "run_root": os.fspath(self.paths.run_root),
            "config_file": os.fspath(self._given[2]) if self._given[2] else None,
            "third_party": self.third_party,
            "flags": dict(self.flags),
            "environment": dict(self.environment),
            "timings": self.timings is not None,
        }

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], *, warn: Callable[[str], None] = _ignore) -> Engine:
        """Make an engine from what another's :attr:`settings` returned."""
        file = settings["config_file"]
        return cls(
            root=Path(settings["root"]),
            run_root=Path(settings["run_root"]),
            config_file=Path(file) if file else None,
            third_party=settings["third_party"],
            environment=settings["environment"],
            timings=_timings() if settings["timings"] else None,
            warn=warn,
            **settings["flags"],
        )

    def reopened(self) -> Engine:
        """Return the same engine for a forked child, which must not touch its parent's connections."""
        child = Engine.from_settings(self.settings, warn=self.warn)
        for name in ("config", "plugins"):  # pure data: no need to read it again
            setattr(child, name, getattr(self, name))
        return child

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close drivers and the database; calling it twice is fine."""
        if "selector" in self.__dict__:
            self.selector.close()
        if "database" in self.__dict__:
            self.database.close()
        for name in ("selector", "database", "records", "containers", "images", "networks", "volumes"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
