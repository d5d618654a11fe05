"""A distribution registry on a socket, in threads.

with DirectoryStore(Path("images")) as store, Server(store, address=("127.0.0.1", 5000)) as server:
    server.wait()
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Self

from swapbox.distribution.api import Api
from swapbox.distribution.auth import Auth
from swapbox.distribution.faults import Faults
from swapbox.distribution.handler import Handler
from swapbox.distribution.messages import Request
from swapbox.distribution.store import Store
from swapbox.errors import from_os_error


class Server:
    """A context manager: the server runs inside it.

    :param address: host and port to listen on; port 0 for a free one.
    :param writable: takes pushes and deletions.
    :param observe: told each request twice: when it has come, with None, and with the status of its answer.
    :ivar host: ``host:port``.
    :ivar faults: what goes wrong on purpose.
    :ivar connections: those that are open.
    :ivar closing: set when the server ends.
    """

    def __init__(
        self,
        store: Store,
        *,
        address: tuple[str, int] = ("127.0.0.1", 0),
        writable: bool = True,
        observe: Callable[[Request, int | None], object] = lambda _request, _status: None,
    ) -> None:
        self.faults = Faults()
        self.api = Api(store, writable=writable)
        self.observe = observe
        self.connections: set[socket.socket] = set()
        self.closing = threading.Event()
        self._server = _listening(address)
        self._server.registry = self
        host, port = self._server.server_address[:2]
        self.host = f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
        self.auth = Auth(self.faults, self.host)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Break every connection and refuse new ones. Calling it twice is fine."""
        if not self.closing.is_set():
            self.closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self.disconnect()
            self.api.close()

    def disconnect(self) -> None:
        """Close the connections that clients keep open; new ones are welcome."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()


class HttpServer(ThreadingHTTPServer):
    """Listens; each connection gets a thread."""

    daemon_threads = True
    registry: Server

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _HttpServer6(HttpServer):
    address_family = socket.AF_INET6


def _listening(address: tuple[str, int]) -> HttpServer:
    """Listen.

    :raises SwapboxError: the address is taken, or not this machine's.
    """
    try:
        return (_HttpServer6 if ":" in address[0] else HttpServer)(address, Handler)
    except OSError as error:
        raise from_os_error(error, f"listen on {address[0]}:{address[1]}") from error
