"""The monitor: one small process per running container that creates it, keeps its stdio and tears it down.

::

    swapbox run ──fork──fork──▶ monitor (own session, child subreaper, own mount namespace)
         ▲                        │ mounts the root file system, writes the bundle, makes the cgroup,
         │ SOCK_SEQPACKET         │ isolation.create, network.connect, isolation.start
         └────── S, O, R, X ──────┤ Session: pipes ⇄ log and clients
                                  │ after a second: execve of lean.py, which goes on with the same session
                                  ▼ the init has ended: tear down, record, X

The command that started it may die at any moment: from the fork on the monitor owns the container.
"""

from __future__ import annotations

import _socket
import contextlib
import marshal
import os
import signal
from collections.abc import Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from swapbox.containers.client import Client
from swapbox.containers.runs import Run, stay
from swapbox.containers.spawn import WAKE, plain_error
from swapbox.drivers.common import Kind
from swapbox.engine import Engine
from swapbox.errors import NotFound, SwapboxError, Unavailable, describe
from swapbox.linux import syscalls

if TYPE_CHECKING:
    from swapbox.containers.records import Container

_START: tuple[Kind, ...] = ("isolation", "cgroup", "logging", "network", "storage")
_DRIVERS: Mapping[str, tuple[Kind, ...]] = {"run": _START, "start": _START, "exec": ("isolation", "cgroup")}
_SERVICE = ("containers.service", "containers.container_run", "containers.seccomp_profile")
_MODULES: Mapping[str, tuple[str, ...]] = {
    "run": (*_SERVICE, "containers.flags", "images.service"),
    "start": _SERVICE,
    "exec": ("containers.exec_run",),
}
_NETWORKED = ("networks.service", "networks.modes", "networks.resolving", "containers.network_files")
_DRIVER_FLAGS = (
    *("storage", "isolation", "runtime", "cgroup", "logging", "network_driver", "network", "volume_driver"),
)
_IGNORED = (WAKE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE)
_RESET = (
    signal.SIGCHLD,  # ignored, it would take the exit status away
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGCONT,
    signal.SIGTSTP,
    signal.SIGWINCH,
)


def serve(sock: _socket.socket, orders: int, verb: str) -> None:
    """Be a monitor: wait for orders, start one container, stay with it to its end.

    The database and the drivers are not closed at the end: the process ends, and closing the last connection to a
    SQLite file would wait for the disk twice.

    :param verb: the kind of order that will most likely come.
    """
    daemonize(keep=(sock.fileno(), orders))
    with open(orders, "rb") as file:
        run = _obey(sock, file, verb)
    if run is not None:
        stay(run)


def _obey(sock: _socket.socket, orders: BinaryIO, verb: str) -> Run | None:
    """Follow orders until a command runs; None when there are no more, or one has failed."""
    engine: Engine | None = None
    warnings = _Warnings(sock)
    client = Client(sock)
    try:
        while True:
            kind, details = marshal.load(orders)
            if kind == "engine":
                warnings.forget()
                engine = Engine.from_settings(details, warn=warnings)
                with engine.timed("discovery"):
                    _warm_up(engine, verb)
                if engine.timings is not None:
                    engine.timings.begin("waiting")
                continue
            assert engine is not None
            if engine.timings is not None:
                engine.timings.begin("other")
            flags = details.get("flags", {})
            warnings.release(keep=not any(flags.get(name) for name in _DRIVER_FLAGS))
            client.output = details["attach"]
            client.ends_input = details["ends_input"]
            if kind == "exec":
                from swapbox.containers.exec_run import ExecRun

                return ExecRun.start(engine, details, client)
            container = _container(engine, kind, details, sock)
            if container is not None:
                from swapbox.containers.container_run import ContainerRun

                if details["attach"]:
                    from swapbox.containers.events import happened

                    happened(engine, container, "attach")
                return ContainerRun.start(engine, container, client=client, console_size=details["console_size"])
            _tell(sock, b"P", b"")
    except EOFError:
        return None
    except SwapboxError as error:
        _tell(sock, b"E", marshal.dumps(plain_error(error)))
    except Exception as error:
        message = f"the monitor failed: {describe(error)}"
        hint = "this is a bug in swapbox or a plugin"
        failure = Unavailable(message, hint=f"{hint}; {_where(error)}")
        _tell(sock, b"E", marshal.dumps(plain_error(failure)))
    return None


def _container(engine: Engine, kind: str, details: Mapping[str, Any], sock: _socket.socket) -> Container | None:
    """Find or make the container that an order is about; None when its image is not here."""
    if kind == "start":
        return engine.containers.claim(details["container"])
    from swapbox.containers.flags import asked_config

    flags = details["flags"]
    try:
        with engine.timed("resolve"):
            asked = asked_config(flags, engine.environment, Path.cwd())
            image = engine.images.find(asked.image, platform=flags["platform"])
    except NotFound:
        from swapbox.references import Reference

        Reference.parse(flags["image"])  # a malformed one is not looked for anywhere
        return None
    with engine.timed("prepare"):
        container = engine.containers.create(asked, image=image, name=flags["name"], claimed=True)
    _tell(sock, b"C", container.id.encode())
    return container


class _Warnings:
    """Passes warnings on; those of the time before the order wait, since they are about the default drivers."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._waiting: list[str] | None = []

    def __call__(self, message: str) -> None:
        if self._waiting is not None:
            self._waiting.append(message)
        else:
            _tell(self._sock, b"M", message.encode())

    def forget(self) -> None:
        """Drop what has waited: it was about another engine."""
        if self._waiting is not None:
            self._waiting.clear()

    def release(self, *, keep: bool) -> None:
        """Pass on what has waited, if the default drivers are in use; from now on wait no more."""
        waiting, self._waiting = self._waiting or [], None
        for message in waiting if keep else ():
            self(message)


def _tell(sock: _socket.socket, kind: bytes, data: bytes) -> None:
    with contextlib.suppress(OSError):  # whoever gave the order is gone, the container is not
        sock.send(kind + data, _socket.MSG_NOSIGNAL)


def _where(error: BaseException) -> str:
    """Return the place in the code that an unforeseen error comes from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "place unknown"


def _warm_up(engine: Engine, verb: str) -> None:
    """Open the drivers and the database that will most likely be asked for, and import what only this verb needs.

    The order that comes later decides; what cannot be opened is then an error, and none now.
    """
    for module in _MODULES[verb]:
        import_module(f"swapbox.{module}")
    for kind in _DRIVERS[verb]:
        with contextlib.suppress(SwapboxError):
            driver: Any = engine.selector.open(kind)
            capabilities = engine.selector.choose(kind).offer.spec.capabilities
            if verb != "exec" and "warm" in capabilities:
                driver.warm_up()
            for module in _NETWORKED if "networks" in capabilities else ():
                import_module(f"swapbox.{module}")
    with contextlib.suppress(SwapboxError):
        if verb != "exec" and engine.paths.db.exists():
            engine.records.name_taken("")


def daemonize(*, keep: Collection[int]) -> None:
    """Leave the caller's terminal, descriptors, signals and mount namespace behind, but not its directory."""
    os.umask(0o022)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    _close_inherited(keep)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    syscalls.prctl_name("swapbox-monitor")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)


def _close_inherited(keep: Collection[int]) -> None:
    """Close what the command got from its caller; what Python opened itself closes at the execve."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            if fd > 2 and fd not in keep and os.get_inheritable(fd):
                os.close(fd)
