"""Connecting to a running container's monitor, to attach to it, to resize its terminal or to wait for its end."""

from __future__ import annotations

import _socket
import os
from typing import TYPE_CHECKING

from swapbox.containers.session import ATTACH_SOCKET

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine

_PACKET = 65537


def connect(engine: Engine, container_id: str, *, name: str = ATTACH_SOCKET) -> _socket.socket:
    """Connect to the monitor of a container, or of an exec session in it.

    :param name: of the socket in the container's run directory.
    :raises OSError: there is no such monitor.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        # Through a directory descriptor, since a socket's path may have 107 bytes only.
        directory = os.open(engine.paths.container_run(container_id), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{name}")
        finally:
            os.close(directory)
    except OSError:
        sock.close()
        raise
    return sock


def send_packet(engine: Engine, container_id: str, packet: bytes, *, name: str = ATTACH_SOCKET) -> None:
    """Send one packet on a connection of its own; raises as :func:`connect`."""
    sock = connect(engine, container_id, name=name)
    try:
        sock.send(b"N", _socket.MSG_NOSIGNAL)
        sock.send(packet, _socket.MSG_NOSIGNAL)
    finally:
        sock.close()


def exit_code_of_run(engine: Engine, container: Container) -> int | None:
    """Wait until a run of a container has ended; return its exit code, None when its monitor does not say."""
    try:
        sock = connect(engine, container.id)
    except OSError:
        return None
    try:
        sock.send(b"N", _socket.MSG_NOSIGNAL)
        while packet := sock.recv(_PACKET):
            if packet[:1] == b"X":
                return int(packet[1:])
    except OSError:
        return None
    finally:
        sock.close()
    return None
