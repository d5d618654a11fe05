"""A registry in a thread: pull and push as the distribution-spec has them, with faults to order.

    with RegistryServer() as server:
        server.add_image("demo/app", "latest", layers=[layer_tar_gz])
        server.faults.truncate = 1000
        ...                             # pull from f"{server.host}/demo/app:latest"

``python -m swapbox.testing.registry_server --dir LAYOUT --port 5000`` serves an OCI image layout, read-only.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import threading
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from swapbox.testing.registry_contents import RegistryContents
from swapbox.testing.registry_handler import Handler, Request


class Faults:
    """What goes wrong, and how often; set the attributes before the request.

    :ivar delay: seconds before each answer.
    :ivar truncate: bytes of a blob after which the connection breaks; None for never.
    :ivar truncate_times: how many blob answers that befalls; None for all.
    :ivar stall: bytes of a blob after which nothing more comes; None for never.
    :ivar corrupt: blobs arrive with one bit changed.
    :ivar missing: every manifest and blob is 404.
    :ivar refuse: this status, so many times: ``[429, 429]`` or ``[500] * 3``; consumed from the left.
    :ivar retry_after: seconds, or a date, in the header of what ``refuse`` gives.
    :ivar rate_limit: ``RateLimit-Limit`` and ``RateLimit-Remaining`` in it; None for neither.
    :ivar say: the message of what ``refuse`` gives.
    :ivar auth: ``basic`` or ``bearer``: anonymous requests are 401.
    :ivar users: name to password; with ``bearer`` and no users, anybody gets a token.
    :ivar token_life: seconds; what the token service says.
    :ivar token_uses: how many requests a token is good for; None for any number.
    :ivar redirect_blobs: ``http://host:port`` that blobs are redirected to.
    :ivar ranges: answer ``Range`` requests; otherwise with the whole blob.
    :ivar bad_ranges: answer ``Range`` requests with 416.
    :ivar head: answer ``HEAD`` for manifests; otherwise 405.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.truncate: int | None = None
        self.truncate_times: int | None = None
        self.stall: int | None = None
        self.corrupt = False
        self.missing = False
        self.refuse: list[int] = []
        self.retry_after: int | str | None = None
        self.rate_limit: tuple[str, str] | None = None
        self.say = ""
        self.auth = ""
        self.users: dict[str, str] = {}
        self.token_life = 300
        self.token_uses: int | None = None
        self.redirect_blobs = ""
        self.ranges = True
        self.bad_ranges = False
        self.head = True


class RegistryServer(RegistryContents):
    """A context manager: the server runs inside it.

    :param layout: an OCI image layout to serve; None for an empty registry in memory.
    :param port: 0 for a free one.
    :param writable: takes pushes.
    :ivar host: ``127.0.0.1:port``.
    :ivar requests: what was received so far.
    :ivar page: tags per page at most.
    """

    def __init__(self, layout: Path | None = None, *, port: int = 0, writable: bool = True) -> None:
        self.faults = Faults()
        self.writable = writable
        self.requests: list[Request] = []
        self.uploads: dict[str, bytearray] = {}
        self.tokens: set[str] = set()
        self.uses: dict[str, int] = {}
        self.connections: set[socket.socket] = set()
        self.page = 1000
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), Handler)
        self._server.registry = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        super().__init__(f"127.0.0.1:{self._server.server_address[1]}")
        if layout is not None:
            self.serve_layout(layout)

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

    def disconnect(self) -> None:
        """Close the connections that clients keep open; new ones are welcome."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait(self) -> None:
        """Serve until interrupted."""
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: RegistryServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away; tests break connections on purpose."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a layout until interrupted."""
    parser = argparse.ArgumentParser(prog="swapbox.testing.registry_server", description=main.__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="OCI image layout")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 for a free one")
    options = parser.parse_args(arguments)
    with RegistryServer(options.dir, port=options.port, writable=False) as server:
        sys.stdout.write(f"serving {options.dir} on {server.host}\n")
        sys.stdout.flush()
        try:
            server.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
