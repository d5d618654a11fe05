"""What can be done with containers: create, start, stop, kill, remove, list, logs."""

from __future__ import annotations

import _socket
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers import names
from swapbox.containers.config import ContainerConfig, merge
from swapbox.containers.events import happened
from swapbox.containers.options import check_name
from swapbox.containers.records import Container, RunState
from swapbox.errors import Conflict, NotFound, Unavailable, Unsupported
from swapbox.linux.process import Process, boot_id
from swapbox.store.owners import OWNER_LABEL, owner

if TYPE_CHECKING:
    from swapbox.drivers.isolation import Spec
    from swapbox.drivers.logging import LogQuery, LogRecord
    from swapbox.engine import Engine
    from swapbox.images.service import Image

_KILL_WAIT = 10.0


class Containers:
    """The containers of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
            check_name(name)
        config = self.configure(asked, image)
        container_id = names.new_id()
        if name and engine.records.name_taken(name.removeprefix("/")):
            self._refuse_name(name.removeprefix("/"))
        name = name.removeprefix("/") or self._new_name()
        _make_sources(config)
        storage = engine.selector.open("storage", made_with=config.storage)
        with ExitStack() as undo:
            storage.prepare(container_id, config.top_chain, labels={OWNER_LABEL: owner()})
            undo.callback(storage.remove, container_id)
            directory = engine.paths.make(engine.paths.container(container_id))
            undo.callback(_remove_directory, directory)
            state = _claim(RunState()) if claimed else RunState()
            container = Container(container_id, name, time.time_ns(), config, state)
            engine.records.add(container)
            undo.pop_all()
        happened(engine, container, "create")
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
        return config._replace(
            storage=selector.choose("storage", name=config.storage or None).name,
            isolation=selector.choose("isolation", name=config.isolation or None).name,
            cgroup=selector.choose("cgroup", name=config.cgroup or None).name,
            logging=logging,
            log_opts={**self._engine.config.options.get(("logging", logging), {}), **config.log_opts},
            network_driver=selector.choose("network", name=config.network_driver or config.network or None).name,
        )

    def _refuse_name(self, name: str) -> None:
        taken = self._engine.records.find(name)
        raise Conflict(
            f'Conflict. The container name "/{name}" is already in use by container "{taken.id}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )

    def _new_name(self) -> str:
        attempt = 0
        while self._engine.records.name_taken(name := names.new_name(attempt)):
            attempt += 1
        return name

    def plan(self, asked: ContainerConfig, *, image: Image) -> Spec:
        """Return the OCI ``config.json`` that ``run`` with these options would use; nothing is left behind."""
        from swapbox.containers.dry_run import plan

        return plan(self._engine, self.configure(asked, image))

    # -- running ----------------------------------------------------------------------------------------------

    def start(
        self, container: Container, *, attach: bool = False, console_size: tuple[int, int] | None = None
    ) -> _socket.socket:
        """Start a container; return the client's end of its monitor's socket (see ``containers.session``).

        :param attach: output comes over the socket.
        :param console_size: rows and columns of the container's terminal.
        :raises CommandNotExecutable: the command is not there or cannot be executed.
        :raises Conflict: it runs already.
        """
        from swapbox.containers.spawn import spawn

        monitor = spawn()
        try:
            monitor.prepare(self._engine)
            return monitor.start(self._engine, container.id, attach=attach, console_size=console_size).sock
        finally:
            monitor.cancel()

    def claim(self, container_id: str) -> Container:
        """Make the calling process a container's monitor, and return the container.

        :raises Conflict: it has one, or is being removed.
        """
        container = self.find(container_id)
        with self._engine.database.transaction():
            container = self._engine.records.find(container.id)
            if container.state.monitor is not None:
                raise Conflict(f"container {container.name} is already running")
            state = _claim(container.state)
            if not self._engine.records.set_state(container.id, state, unless=("removing",)):
                raise Conflict(f"container {container.name} is being removed")
        return container._replace(state=state)

    def stop(self, container: Container, *, timeout: float | None = None, signal_name: str = "") -> None:
        """Send the stop signal, then SIGKILL when ``timeout`` seconds (None: its own, or 10) did not suffice.

        A container that does not run is fine. A negative timeout waits for ever.
        """
        from swapbox.containers.options import parse_signal

        container = self.refresh(container)
        if container.state.status != "running":
            return
        seconds = timeout if timeout is not None else container.config.stop_timeout
        seconds = 10.0 if seconds is None else float(seconds)
        self.signal(container, parse_signal(signal_name or container.config.stop_signal or "SIGTERM"))
        if not self._wait_end(container, None if seconds < 0 else seconds):
            self.signal(container, signal.SIGKILL)
            if not self._wait_end(container, _KILL_WAIT):
                raise Unavailable(f"container {container.name} did not end after SIGKILL")
        happened(self._engine, container, "stop")

    def kill(self, container: Container, number: int = signal.SIGKILL) -> None:
        """Send a signal.

        :raises Conflict: it does not run.
        """
        container = self.refresh(container)
        if container.state.status != "running":
            raise Conflict(f"container {container.id} is not running")
        self.signal(container, number)
        if number == signal.SIGKILL:
            self._wait_end(container, _KILL_WAIT)

    def signal(self, container: Container, number: int) -> None:
        """Send a signal to a container that runs, or has just ended."""
        driver = self._engine.selector.open("isolation", made_with=container.config.isolation)
        happened(self._engine, container, "kill", signal=str(number))  # a quick end must not be told before
        # It may have ended this very moment; then there is nobody left to tell.
        with contextlib.suppress(Conflict, NotFound):
            driver.kill(container.id, number)

    def _wait_end(self, container: Container, timeout: float | None) -> bool:
        """Wait until the init has ended and its monitor has torn down."""
        state = container.state
        if state.init is not None and not state.init.wait(timeout):
            return False
        if state.monitor is not None:
            state.monitor.wait(_KILL_WAIT)
        return True

    def wait(self, container: Container) -> int:
        """Wait until a container has ended; return its exit code.

        :raises NotFound: it was removed at its end.
        """
        container = self.refresh(container)
        if container.state.status == "running":
            self._wait_end(container, None)
            container = self.refresh(container)
        return container.state.exit_code

    def remove(self, container: Container, *, force: bool = False) -> None:
        """Remove a container; ``force`` kills it first.

        :raises Conflict: it runs, or is about to.
        """
        from swapbox.containers.teardown import free, remove

        container = self.refresh(container)
        if container.state.monitor is not None:
            if not force:
                raise Conflict(
                    f"cannot remove container {container.name!r}: container is running",
                    hint="stop the container before removing it, or use rm -f",
                )
            self._end(container)
            free(self._engine, container)
        remove(self._engine, container)

    def _end(self, container: Container) -> None:
        """End a container and its monitor, whatever they are doing."""
        state, monitor = container.state, container.state.monitor
        # First of all, so that a monitor that has not started it yet never will.
        self._engine.records.set_state(container.id, state._replace(status="removing"))
        self.signal(container, signal.SIGKILL)
        if monitor is not None and not monitor.wait(_KILL_WAIT):
            monitor.send(signal.SIGKILL)
            monitor.wait(_KILL_WAIT)

    # -- looking ----------------------------------------------------------------------------------------------

    def find(self, text: str) -> Container:
        """Return a container by id, name or unique beginning of its id, with its true state."""
        return self.refresh(self._engine.records.find(text))

    def all(self) -> list[Container]:
        """Return every container, the newest first, each with its true state."""
        containers = []
        for container in self._engine.records.all():
            with contextlib.suppress(NotFound):  # removed meanwhile
                containers.append(self.refresh(container))
        return containers

    def refresh(self, container: Container) -> Container:
        """Return the container with its state checked against the kernel.

        :raises NotFound: it was removed at its end.
        """
        if container.state.monitor is None:
            return container
        from swapbox.containers.recovery import recover

        return recover(self._engine, container)

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
            return self.find(container_id).state.status == "running"
        except NotFound:
            return False


def _claim(state: RunState) -> RunState:
    return state._replace(monitor=Process.of(os.getpid()), boot=boot_id())


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
