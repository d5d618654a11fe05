"""What happens to a container that exists: start, stop, restart, kill, pause, wait, rename, update."""

from __future__ import annotations

import _socket
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swapbox.containers.events import happened
from swapbox.containers.records import RUNNING, Container, RunState
from swapbox.containers.spawn import WAKE
from swapbox.errors import AlreadyRunning, Conflict, InvalidInput, NotFound, Unavailable
from swapbox.linux.process import Process, boot_id

if TYPE_CHECKING:
    from swapbox.engine import Engine

KILL_SECONDS = 10.0
"""How long a killed process may take to end."""

_LOOK_SECONDS = 0.01


class Lifecycle:
    """The verbs that change how containers of one engine fare."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- looking ----------------------------------------------------------------------------------------------

    def find(self, text: str) -> Container:
        """Return a container by id, name or unique beginning of its id, with its true state."""
        return self.refresh(self._engine.records.find(text))

    def refresh(self, container: Container) -> Container:
        """Return the container with its state checked against the kernel.

        :raises NotFound: it was removed at its end.
        """
        if container.state.monitor is None:
            return container
        from swapbox.containers.recovery import recover

        return recover(self._engine, container)

    # -- starting ---------------------------------------------------------------------------------------------

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
            if container.state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if container.state.monitor is not None:
                raise AlreadyRunning(f"container {container.name} is already running")
            state = claimed(container.state)
            if not self._engine.records.set_state(container.id, state, unless=("removing",)):
                raise Conflict(f"container {container.name} is being removed")
        return container._replace(state=state)

    def restart(self, container: Container, *, timeout: float | None = None, signal_name: str = "") -> None:
        """Stop a container, if it runs, and start it; arguments as for :meth:`stop`."""
        self._engine.records.change(container.id, where=RUNNING, kept=True)
        self.stop(container, timeout=timeout, signal_name=signal_name)
        with contextlib.suppress(AlreadyRunning):  # another command was quicker
            self.start(container).close()
        happened(self._engine, container, "restart")

    # -- ending -----------------------------------------------------------------------------------------------

    def stop(self, container: Container, *, timeout: float | None = None, signal_name: str = "") -> None:
        """Send the stop signal, then SIGKILL when ``timeout`` seconds (None: its own, or 10) did not suffice.

        A container that does not run is fine. A negative timeout waits for ever.
        """
        from swapbox.containers.options import parse_signal

        number = parse_signal(signal_name or container.config.stop_signal or "SIGTERM")
        running = self._will_end(self._settled(container))
        if running is None:
            return
        seconds = timeout if timeout is not None else container.config.stop_timeout
        seconds = 10.0 if seconds is None else float(seconds)
        self._signal_and_thaw(running, number)
        if not self._wait_end(running, None if seconds < 0 else seconds):
            self._signal_and_thaw(running, signal.SIGKILL)
            if not self._wait_end(running, KILL_SECONDS):
                raise Unavailable(f"container {container.name} did not end after SIGKILL")
        happened(self._engine, container, "stop")

    def kill(self, container: Container, number: int = signal.SIGKILL) -> None:
        """Send a signal.

        :raises Conflict: it does not run.
        """
        from swapbox.containers.options import parse_signal

        container = self._settled(container)
        if not container.state.running:
            raise Conflict(f"container {container.id} is not running")
        stop_signal = container.config.stop_signal
        if number != signal.SIGKILL and stop_signal and parse_signal(stop_signal) != number:
            self.signal(container, number)
        elif (running := self._will_end(container)) is not None:
            self._signal_and_thaw(running, number)
            if number == signal.SIGKILL:
                self._wait_end(running, KILL_SECONDS)

    def signal(self, container: Container, number: int) -> None:
        """Send a signal to a container that runs, or has just ended."""
        driver = self._engine.selector.open("isolation", made_with=container.config.isolation)
        happened(self._engine, container, "kill", signal=str(number))  # a quick end must not be told before
        # It may have ended this very moment; then there is nobody left to tell.
        with contextlib.suppress(Conflict, NotFound):
            driver.kill(container.id, number)

    def _signal_and_thaw(self, container: Container, number: int) -> None:
        self.signal(container, number)
        if container.state.status == "paused" or number == signal.SIGKILL:  # somebody may just have paused it
            from swapbox.containers.freeze import thaw

            thaw(self._engine, container)

    def _will_end(self, container: Container) -> Container | None:
        """Record that the user wants it to end; return it as it runs, None when it has ended, also by that."""
        records = self._engine.records
        with self._engine.database.transaction():
            try:
                container = records.find(container.id)
            except NotFound:  # removed at its end
                return None
            if not container.state.running:
                return None
            records.change(container.id, stopped=True)
            if not records.change(container.id, where=("restarting",), status="exited"):
                return container
        # Its monitor stays in the record until it has let go: it may be starting the container this very moment.
        if container.state.monitor is not None:
            container.state.monitor.send(WAKE)
            container.state.monitor.wait(KILL_SECONDS)
        return None

    def _settled(self, container: Container) -> Container:
        """Return a container with its true state; one that is being started, when that has come to its end."""
        deadline = time.monotonic() + KILL_SECONDS
        while _starts(container := self.refresh(container)) and time.monotonic() < deadline:
            assert container.state.monitor is not None
            container.state.monitor.wait(_LOOK_SECONDS)
            container = self._engine.records.find(container.id)
        return container

    def _wait_end(self, container: Container, timeout: float | None) -> bool:
        """Wait until the init has ended, and what it held is freed."""
        if container.state.init is not None and not container.state.init.wait(timeout):
            return False
        with contextlib.suppress(NotFound):  # removed at its end
            self.refresh(container)
        return True

    def wait(self, container: Container) -> int:
        """Wait until a container has ended, though it may start again by its policy; return its exit code.

        :raises NotFound: it is not there any more, and its exit code is not known.
        """
        from swapbox.containers.connect import exit_code_of_run

        seen = False
        while (container := self._settled(container)).state.running:
            state = container.state
            if state.status != "restarting":
                if (code := exit_code_of_run(self._engine, container)) is not None:
                    return code
                seen = True  # its monitor was killed, or has just gone
                if state.init is not None:
                    state.init.wait()
            elif seen:
                break
            elif state.monitor is not None:  # Docker, too, waits for the end of the run that is to come
                state.monitor.wait(_LOOK_SECONDS)
                container = self._engine.records.find(container.id)
        return container.state.exit_code

    # -- pausing ----------------------------------------------------------------------------------------------

    def pause(self, container: Container) -> None:
        """Stop every process of a container where it is.

        :raises Conflict: it does not run, or is paused already.
        :raises Unsupported: its cgroup controller cannot do that.
        """
        from swapbox.containers.freeze import pause

        pause(self._engine, self._settled(container))

    def unpause(self, container: Container) -> None:
        """Let a paused container go on.

        :raises Conflict: it is not paused.
        """
        from swapbox.containers.freeze import unpause

        unpause(self._engine, self.refresh(container))

    # -- changing ---------------------------------------------------------------------------------------------

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name.

        :raises Conflict: another one has it.
        """
        from swapbox.containers.options import check_name

        new = name.removeprefix("/")
        try:
            check_name(f"/{new}")
        except InvalidInput as error:
            raise InvalidInput(f"Error when allocating new name: {error.message}") from None
        if new == container.name:
            raise InvalidInput("Renaming a container with the same name as its current name")
        if not self._engine.records.rename(container.id, new):
            taken = self._engine.records.name_conflict(new)
            raise Conflict(f"Error when allocating new name: {taken.message}")
        happened(self._engine, container._replace(name=new), "rename", oldName=f"/{container.name}")

    def update(self, container: Container, given: Mapping[str, Any]) -> None:
        """Change limits and restart policy, of a running container at once.

        :param given: the options of ``update``, see :func:`swapbox.containers.flags.with_resources`.
        :raises InvalidInput: an option is wrong, or does not fit what the container has.
        :raises Unsupported: the host cannot set the limit.
        """
        from swapbox.containers.freeze import alone
        from swapbox.containers.update import apply_limits, updated

        with alone(self._engine, self.refresh(container)) as container:
            config = updated(container, given)
            if container.state.status in {"running", "paused"}:
                apply_limits(self._engine, container, config)
            self._engine.records.set_config(container.id, config)
            happened(self._engine, container, "update")


def _starts(container: Container) -> bool:
    """Say whether a monitor is about to start a container at the user's wish."""
    state = container.state
    waiting = state.stopped or state.status in {"restarting", "removing"}
    return state.monitor is not None and state.init is None and not waiting


def claimed(state: RunState) -> RunState:
    """Return the state of a container whose monitor the calling process becomes; it starts with a clean sheet."""
    return RunState(
        status=state.status,
        monitor=Process.of(os.getpid()),
        boot=boot_id(),
        exit_code=state.exit_code,
        started=state.started,
        finished=state.finished,
    )
