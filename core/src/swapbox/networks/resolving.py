"""Starting and ending the name server of a network."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from swapbox.linux.process import Process

if TYPE_CHECKING:
    import _socket

    from swapbox.drivers.network import Network
    from swapbox.engine import Engine

_PROGRAM = "import sys; sys.path[:] = {path!r}; from swapbox.networks.resolver import main; main(*{arguments!r})"
_SECONDS, _STEP = 10.0, 0.01
_PID_WIDTH = 15


def has_names(engine: Engine, network: Network, driver: str) -> bool:
    """Say whether containers of a network find each other by name: not in those that come with a driver."""
    if network.name == driver:
        return False
    return engine.networks.can(driver, "names")


def servers(network: Network) -> list[str]:
    """Return the addresses at which the network's name server listens."""
    return [subnet.gateway for subnet in network.subnets if subnet.gateway and subnet.subnet]


def servers_of(engine: Engine, places: Iterable[tuple[str, Network]]) -> list[str]:
    """Return the name servers of a container.

    :param places: drivers and networks, in the order of its interfaces.
    """
    found: list[str] = []
    for driver, network in places:
        if has_names(engine, network, driver):
            found += servers(network)
    return found[:3]  # what resolvers read, see resolv.conf(5)


def ensure(engine: Engine, network: Network, upstream: Sequence[str] = ()) -> Sequence[str]:
    """Start the name server of a network to which somebody is connected, unless it runs.

    Its sockets are bound here, so that no question of the container which starts next comes too early.

    :param upstream: where it passes questions on, instead of to the host's name servers.
    :return: the addresses at which it listens; none when it could not be started.
    """
    lock = os.open(_lock_file(engine, network.id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + _SECONDS
        while _is_held(lock, keep=True):
            served = _served(lock)  # nothing while another process is just starting it, or fails to
            if served or time.monotonic() > end:
                return served
            time.sleep(_STEP)
        os.ftruncate(lock, 0)
        return _start(engine, network, lock, upstream)
    finally:
        os.close(lock)  # the server has it still


def note(lock: int, pid: str, addresses: Sequence[str]) -> None:
    """Write who the name server is, and where it listens, into the file of its lock."""
    os.pwrite(lock, "\n".join([pid.ljust(_PID_WIDTH), *addresses, ""]).encode(), 0)


def _served(lock: int) -> list[str]:
    return os.pread(lock, 4096, 0).decode().splitlines()[1:]


def _start(engine: Engine, network: Network, lock: int, upstream: Sequence[str]) -> Sequence[str]:
    sockets: list[_socket.socket] = []
    try:
        for address in servers(network):
            sockets += bound(address)
    except OSError as error:
        engine.warn(f"names in network {network.name} are not resolved: port 53: {(error.strerror or '').lower()}")
        return ()
    else:
        note(lock, "", servers(network))
        _spawn(engine, network, lock, [sock.fileno() for sock in sockets], upstream)
        return servers(network)
    finally:
        for sock in sockets:
            sock.close()


def bound(address: str) -> list[_socket.socket]:
    """Return sockets of UDP and TCP, bound to port 53 of an address of this host.

    :raises OSError: somebody else listens there.
    """
    import _socket

    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    sockets = []
    try:
        for kind in (_socket.SOCK_DGRAM, _socket.SOCK_STREAM):
            sock = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
            sockets.append(sock)
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, int(kind == _socket.SOCK_STREAM))
            sock.bind((address, 53))
        sockets[1].listen(64)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _spawn(engine: Engine, network: Network, lock: int, fds: list[int], upstream: Sequence[str]) -> None:
    paths = engine.paths
    arguments = (str(paths.db), network.id, str(paths.run_root), servers(network), lock, fds, list(upstream))
    program = _PROGRAM.format(path=sys.path, arguments=arguments)
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in range(3)]
    for fd in (lock, *fds):
        os.set_inheritable(fd, True)  # noqa: FBT003
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-c", program],
        {"PATH": os.environ.get("PATH", os.defpath)},
        file_actions=null,
        setsid=True,
        setsigmask=(),
    )


def stop(engine: Engine, network_id: str) -> None:
    """End the name server of a network that is removed; that there is none is fine."""
    path = _lock_file(engine, network_id)
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not _is_held(lock):
            return
        pid = os.pread(lock, _PID_WIDTH, 0).strip()
        if pid.isdigit():
            try:
                server = Process.of(int(pid))
            except ProcessLookupError:
                return
            if _is_held(lock):  # so it was not gone before its start time was read
                server.send(signal.SIGTERM)
                server.wait(_SECONDS)
    finally:
        os.close(lock)
        path.unlink(missing_ok=True)


def _is_held(lock: int, *, keep: bool = False) -> bool:
    """Say whether somebody else has a lock; if not, take it with ``keep``."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    if not keep:
        fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _lock_file(engine: Engine, network_id: str) -> Path:
    return engine.paths.make(engine.paths.run_root / "networks") / f"{network_id}.lock"
