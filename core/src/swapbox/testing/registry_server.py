"""A registry in a thread: pull and push as the distribution-spec has them, with faults to order.

    with RegistryServer() as server:
        server.add_image("demo/app", "latest", layers=[layer_tar_gz])
        server.faults.truncate = 1000
        ...                             # pull from f"{server.host}/demo/app:latest"

``python -m swapbox.testing.registry_server --dir LAYOUT --port 5000`` serves an OCI image layout, read-only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from swapbox.distribution.messages import Request
from swapbox.distribution.server import Server
from swapbox.testing.registry_store import RegistryStore


class RegistryServer(RegistryStore):
    """A context manager: :class:`swapbox.distribution.server.Server` over a store in memory runs inside it.

    :param layout: an OCI image layout to serve; None for an empty registry.
    :param port: 0 for a free one.
    :param writable: takes pushes.
    :ivar host: ``127.0.0.1:port``.
    :ivar requests: what was received so far.
    """

    def __init__(self, layout: Path | None = None, *, port: int = 0, writable: bool = True) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._server = Server(self, address=("127.0.0.1", port), writable=writable, observe=self._observe)
        self.faults = self._server.faults
        self.tokens = self._server.auth.tokens
        self.host = self._server.host
        if layout is not None:
            self.serve_layout(layout)

    def _observe(self, request: Request, status: int | None) -> None:
        if status is None:  # it has come, and is not answered yet
            self.requests.append(request)

    @property
    def page(self) -> int:
        """Entries of a list at most."""
        return self._server.api.page

    @page.setter
    def page(self, entries: int) -> None:
        self._server.api.page = entries

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """Break every connection and refuse new ones. Calling it twice is fine."""
        self._server.down()

    def disconnect(self) -> None:
        """Close the connections that clients keep open; new ones are welcome."""
        self._server.disconnect()

    def wait(self) -> None:
        """Serve until interrupted."""
        self._server.wait()


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
