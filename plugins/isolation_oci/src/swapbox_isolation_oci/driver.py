"""The driver: each operation is one call of the runtime's program."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from swapbox.drivers.common import DriverContext
from swapbox.drivers.isolation import ContainerState, CreateRequest, ExecRequest, Stdio
from swapbox.errors import Conflict, NotFound, SwapboxError, Unavailable
from swapbox.linux.process import Process
from swapbox_isolation_oci.bundle import Bundle, check_stdio, give_pipes, make_bundle
from swapbox_isolation_oci.console import NAME, listening, pass_on
from swapbox_isolation_oci.failures import error_of, read_log
from swapbox_isolation_oci.place import Place
from swapbox_isolation_oci.program import adopting, ask, required, run

_KILL_TIMEOUT = 30.0  # seconds; only a process stuck in the kernel takes longer


class Driver:
    """Runs bundles with an OCI runtime. All it knows is on disk, so any process can go on with any container.

    :param program: the runtime's name, to be found in ``$PATH``.
    """

    def __init__(self, context: DriverContext, program: str) -> None:
        self._context = context
        self._program = program

    def create(self, request: CreateRequest) -> int:
        """Let the runtime make the container; its init, then our child, waits for ``start``."""
        place = Place(self._context.run_root, request.id)
        bundle = make_bundle(request, keep=[place.path], unprivileged=self._context.unprivileged)
        place.make()
        try:
            place.write_bundle(bundle.spec)
            return self._create(place, request, bundle)
        except BaseException as error:
            with suppress(SwapboxError):
                self._forget(place)
            if isinstance(error, FileNotFoundError) and not place.path.exists():
                raise Conflict(f"container {request.id} was deleted while it was created") from None
            raise

    def _create(self, place: Place, request: CreateRequest, bundle: Bundle) -> int:
        return self._spawn(
            place,
            "create",
            ["--bundle", os.fspath(place.path)],
            request,
            command=_command(request.spec["process"]),
            begun=partial(place.remember, request.bundle),
            prepare=bundle.prepare if bundle.moved else None,
        )

    def start(self, id: str) -> None:
        """Let the init execute the command."""
        place = self._place(id)
        try:
            self._call(place, "start", place.id)
        except SwapboxError:
            if self._state(place).status != "created":
                raise Conflict(f"container {id} is not in the state created") from None
            raise

    def state(self, id: str) -> ContainerState:
        """Ask the runtime."""
        return self._state(self._place(id))

    def kill(self, id: str, signal: int) -> None:
        """Send a signal to the init, also before it is started."""
        place = self._place(id)
        try:
            self._call(place, "kill", place.id, str(int(signal)))
        except SwapboxError:
            if not self._state(place).pid:
                raise Conflict(f"container {id} is not running") from None
            raise

    def delete(self, id: str, *, force: bool = False) -> None:
        """Forget the container, and what a crash has left of its creation."""
        place = self._place(id)
        if not force and self._state(place).status != "stopped":
            raise Conflict(f"container {id} is not stopped", hint="stop it first, or force the removal")
        with place.locked():
            self._forget(place)

    def exec(self, request: ExecRequest) -> int:
        """Let the runtime run one more process, which then is our child."""
        check_stdio(request.process, request)
        place = self._place(request.id)
        if self._state(place).status != "running":
            raise Conflict(f"container {request.id} is not running")
        give_pipes(request.stdio, request.process, place.read_bundle())
        try:
            return self._spawn(place, "exec", ["--detach"], request, command=_command(request.process))
        except SwapboxError:
            if not place.path.exists() or self._state(place).status != "running":
                raise Conflict(f"container {request.id} is not running") from None
            raise

    def features(self) -> Mapping[str, Any]:
        """Return what the runtime says of itself."""
        from swapbox_isolation_oci.features import features

        return features(required(self._program))

    def close(self) -> None:
        """Do nothing: the driver holds nothing open."""

    # -- calls of the runtime -------------------------------------------------------------------------------------

    def _spawn(
        self,
        place: Place,
        verb: str,
        options: list[str],
        request: CreateRequest | ExecRequest,
        *,
        command: str,
        **hooks: Any,
    ) -> int:
        """Run ``create`` or ``exec``; return the pid of the process that it leaves behind, our child then."""
        with ExitStack() as stack:
            files = stack.enter_context(place.call(verb))
            pid_file, log = files / "pid", files / "log"
            options = [*options, "--pid-file", os.fspath(pid_file)]
            if isinstance(request, ExecRequest):
                (files / "process.json").write_text(json.dumps(dict(request.process)))
                options += ["--process", os.fspath(files / "process.json")]
            listener = None
            if request.console is not None:
                listener = stack.enter_context(listening(files))
                # Relative to the directory that the runtime works in: a socket's path may have 107 bytes only.
                options += ["--console-socket", f"{files.name}/{NAME}"]
            stdio = request.stdio or _null(stack)
            stack.enter_context(adopting())
            argv = [*self._argv(place, log), verb, *options, place.id]
            code = run(argv, stdio=stdio, directory=os.fspath(place.path), **hooks)
            if code != 0:
                raise error_of(self._program, verb, read_log(log), code, command=command)
            if listener is not None and request.console is not None:
                pass_on(listener, request.console)
            return int(pid_file.read_text())

    def _call(self, place: Place, verb: str, *arguments: str) -> None:
        """Run an operation to its end.

        :raises SwapboxError: it failed.
        """
        with ExitStack() as stack:
            log = stack.enter_context(place.call(verb)) / "log"
            code = run([*self._argv(place, log), verb, *arguments], stdio=_null(stack))
            if code != 0:
                raise error_of(self._program, verb, read_log(log), code)

    def _argv(self, place: Place, log: Path) -> list[str]:
        files = ["--root", os.fspath(place.state), "--log", os.fspath(log), "--log-format", "json"]
        return [required(self._program), *files]

    def _place(self, id: str) -> Place:
        return Place(self._context.run_root, id).check()

    def _state(self, place: Place) -> ContainerState:
        """Ask the runtime; what it does not know is not made yet, or never will be."""
        record = place.record()
        bundle = record.bundle if record else Path()
        said = ask([required(self._program), "--root", os.fspath(place.state), "state", place.id])
        if said.code != 0:
            place.check()
            return ContainerState(place.id, "creating", 0, bundle)
        value = json.loads(said.out)
        return ContainerState(place.id, value["status"], value.get("pid") or 0, bundle)

    def _forget(self, place: Place) -> None:
        """End what is left of the container, whatever state it is in, and remove its directory.

        :raises Unavailable: its init does not end.
        """
        if (record := place.record()) is not None:
            record.creator.send(signal.SIGKILL)
            record.creator.wait(_KILL_TIMEOUT)
        with suppress(NotFound):
            self._kill_init(place)
            self._call(place, "delete", "--force", place.id)
        place.remove()

    def _kill_init(self, place: Place) -> None:
        """Kill the init ourselves: a runtime looks every 100 ms only whether it has ended."""
        pid = self._state(place).pid
        if not pid:
            return
        with suppress(ProcessLookupError):
            init = Process.of(pid)
            if self._state(place).pid != pid:  # it ended before we looked, and the pid may be another's now
                return
            init.send(signal.SIGKILL)
            if not init.wait(_KILL_TIMEOUT):
                raise Unavailable(f"container {place.id} does not end: process {pid} is stuck")


def _null(stack: ExitStack) -> Stdio:
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return Stdio(fd, fd, fd)


def _command(process: Mapping[str, Any]) -> str:
    return next(iter(process.get("args") or ()), "")
