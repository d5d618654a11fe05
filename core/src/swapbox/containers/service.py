"""The containers of an engine: what :mod:`~swapbox.containers.lifecycle` does, create, remove, list, logs."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers import names
from swapbox.containers.config import ContainerConfig, merge
from swapbox.containers.connect import send_packet
from swapbox.containers.events import happened
from swapbox.containers.lifecycle import KILL_SECONDS, Lifecycle
from swapbox.containers.lifecycle import claimed as claimed_state
from swapbox.containers.records import Container, RunState
from swapbox.containers.spawn import WAKE
from swapbox.errors import Conflict, NotFound, Unavailable, Unsupported
from swapbox.store.owners import OWNER_LABEL, owner

if TYPE_CHECKING:
    from swapbox.drivers.isolation import Spec
    from swapbox.drivers.logging import LogQuery, LogRecord
    from swapbox.engine import Engine
    from swapbox.images.service import Image


class Containers(Lifecycle):
    """The containers of one engine."""

    # -- making -----------------------------------------------------------------------------------------------

    def create(self, asked: ContainerConfig, *, image: Image, name: str = "", claimed: bool = False) -> Container:
        """Make a container that can be started.

        The order is snapshot, directory, row: what a crash leaves is a snapshot without a row, which the next
        clean-up finds.

        :param name: empty for a generated one.
        :param claimed: the calling process is its monitor, and starts it at once.
        :raises InvalidInput: an option is wrong.
        :raises Conflict: the name is taken.
        """
        engine = self._engine
        if name:
            from swapbox.containers.options import check_name

            check_name(name)
        config = self.configure(asked, image)
        container_id = names.new_id()
        if name and engine.records.name_taken(name.removeprefix("/")):
            raise engine.records.name_conflict(name.removeprefix("/"))
        name = name.removeprefix("/") or self._new_name()
        _make_sources(config)
        has_volumes = config.volumes or config.volumes_from or config.volume_mounts
        make = self._create_with_volumes if has_volumes else self._create
        with self._network_places(container_id, config):
            container = make(container_id, name, config, claimed=claimed)
        happened(engine, container, "create")
        return container

    @contextlib.contextmanager
    def _network_places(self, container_id: str, config: ContainerConfig) -> Iterator[None]:
        """Write down to which networks the container belongs that is made meanwhile."""
        if not config.has_endpoints:
            yield
            return
        from swapbox.networks.endpoints import settle

        try:
            settle(self._engine, container_id, config)
            yield
        except BaseException:
            self._engine.networks.records.forget(container_id)
            raise

    def _create_with_volumes(
        self, container_id: str, name: str, config: ContainerConfig, *, claimed: bool
    ) -> Container:
        from swapbox.containers import volume_mounts

        config = volume_mounts.settle(self._engine, container_id, config)
        try:
            return self._create(container_id, name, config, claimed=claimed, fill=volume_mounts.fill)
        except BaseException:
            volume_mounts.release(self._engine, container_id, config.mounts)
            raise

    def _create(
        self,
        container_id: str,
        name: str,
        config: ContainerConfig,
        *,
        claimed: bool,
        fill: Callable[[Engine, Container], None] | None = None,
    ) -> Container:
        engine = self._engine
        storage = engine.selector.open("storage", made_with=config.storage)
        with ExitStack() as undo:
            storage.prepare(container_id, config.top_chain, labels={OWNER_LABEL: owner()})
            undo.callback(storage.remove, container_id)
            directory = engine.paths.make(engine.paths.container(container_id))
            undo.callback(_remove_directory, directory)
            state = claimed_state(RunState()) if claimed else RunState()
            container = Container(container_id, name, time.time_ns(), config, state)
            if fill is not None:
                fill(engine, container)
            engine.records.add(container)
            undo.pop_all()
        return container

    def configure(self, asked: ContainerConfig, image: Image) -> ContainerConfig:
        """Return the configuration of a container-to-be: options, image and chosen drivers, all checked."""
        config = merge(asked, image.config, image_id=image.id, top_chain=image.top_chain)
        config = self._with_drivers(config)
        driver = self._engine.selector.open("logging", made_with=config.logging)
        driver.validate(config.log_opts)
        self._engine.images.ensure_unpacked(image, storage=config.storage)
        return config

    def _with_drivers(self, config: ContainerConfig) -> ContainerConfig:
        selector = self._engine.selector
        logging = selector.choose("logging", name=config.logging or None).name
        return self._with_network(config)._replace(
            storage=selector.choose("storage", name=config.storage or None).name,
            isolation=selector.choose("isolation", name=config.isolation or None).name,
            cgroup=selector.choose("cgroup", name=config.cgroup or None).name,
            logging=logging,
            log_opts={**self._engine.config.options.get(("logging", logging), {}), **config.log_opts},
        )

    def _with_network(self, config: ContainerConfig) -> ContainerConfig:
        """Return the configuration with its network's driver, and what it says of networks in one form."""
        offers = {offer.spec.name: offer.spec for offer in self._engine.plugins.offers("network")}
        plain = config.network_driver or ("" if config.network == "default" else config.network)
        if len(config.networks) < 2 and (not plain or plain in offers):
            name = self._engine.selector.choose("network", name=plain or None).name
            network = config.network if config.network != "default" else ""
            found = config._replace(network=network, network_driver=name)
            if "networks" not in offers[name].capabilities:
                if config.networks:
                    from swapbox.networks.modes import check_fixed

                    check_fixed(name, config.networks[0])
                if config.ports and name == "host":
                    self._engine.warn("Published ports are discarded when using host network mode")
                return found
        from swapbox.networks.modes import settled

        return settled(self._engine, config)

    def _new_name(self) -> str:
        attempt = 0
        while self._engine.records.name_taken(name := names.new_name(attempt)):
            attempt += 1
        return name

    def plan(self, asked: ContainerConfig, *, image: Image) -> Spec:
        """Return the OCI ``config.json`` that ``run`` with these options would use; nothing is left behind."""
        from swapbox.containers.dry_run import plan

        config = self.configure(asked, image)
        if config.volumes or config.volumes_from or config.volume_mounts:
            from swapbox.containers.volume_mounts import planned

            config = planned(self._engine, config)
        return plan(self._engine, config)

    # -- removing ---------------------------------------------------------------------------------------------

    def remove(self, container: Container, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container; ``force`` kills it first.

        :param volumes: remove its anonymous volumes, too, unless another container uses them.
        :raises Conflict: it runs, or is about to.
        """
        from swapbox.containers.teardown import remove

        container = self.refresh(container)
        while not self._engine.records.begin_removal(container.id):
            container = self._engine.records.find(container.id)
            if container.state.monitor is None:  # just now it had one
                continue
            if not force:
                raise Conflict(f'cannot remove container "{container.name}": {_why_not(container.state.status)}')
            self._end(container)
            break
        remove(self._engine, container, volumes=volumes)

    def _end(self, container: Container) -> None:
        """End a container and its monitor, whatever they are doing, and tear down."""
        from swapbox.containers.teardown import tear_down

        # First of all, so that a monitor that has not started it yet never will, nor another one claim it.
        self._engine.records.change(container.id, status="removing")
        container = self._engine.records.find(container.id)
        self._kill_with_monitor(container)
        killed = RunState(status="exited", exit_code=128 + signal.SIGKILL, finished=time.time_ns())
        tear_down(self._engine, container, killed)

    def _kill_with_monitor(self, container: Container) -> None:
        monitor = container.state.monitor
        with contextlib.suppress(OSError):  # it has just gone, or has not listened yet
            send_packet(self._engine, container.id, b"D")
        self._signal_and_thaw(container, signal.SIGKILL)
        if monitor is None:
            return
        monitor.send(WAKE)
        if not monitor.wait(KILL_SECONDS):
            monitor.send(signal.SIGKILL)
            monitor.wait(KILL_SECONDS)

    # -- looking ----------------------------------------------------------------------------------------------

    def all(self) -> list[Container]:
        """Return every container, the newest first, each with its true state."""
        containers = []
        for container in self._engine.records.all():
            with contextlib.suppress(NotFound):  # removed meanwhile
                containers.append(self.refresh(container))
        return containers

    def logs(self, container: Container, query: LogQuery) -> Iterator[LogRecord]:
        """Yield a container's log.

        :raises Unsupported: its log driver cannot be read.
        """
        from swapbox.containers.launch import log_info

        name = container.config.logging
        choice = self._engine.selector.choose("logging", made_with=name)
        if "read" not in choice.offer.spec.capabilities:
            raise Unsupported(
                "configured logging driver does not support reading", hint=f"its log driver is {name!r}"
            )
        driver: Any = self._engine.selector.open("logging", made_with=name)
        query = query._replace(ended=lambda: not self._runs(container.id))
        records: Iterator[LogRecord] = driver.read(
            log_info(self._engine, container), container.config.log_opts, query
        )
        return records

    def _runs(self, container_id: str) -> bool:
        try:
            return self.find(container_id).state.running
        except NotFound:
            return False


def _why_not(status: str) -> str:
    """Return why a container in this status cannot be removed, in Docker's words."""
    if status == "paused":
        return "container is paused and must be unpaused first"
    state = "restarting" if status == "restarting" else "running"
    return f"container is {state}: stop the container before removing or force remove"


def _make_sources(config: ContainerConfig) -> None:
    """Make the host directories that ``-v`` names and that are not there, as Docker does."""
    for mount in config.mounts:
        if mount.create_source:
            try:
                Path(mount.source).mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise Unavailable(f"cannot create {mount.source}: {error.strerror}") from error


def _remove_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(directory)
