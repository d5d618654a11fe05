"""A registry in a thread: pull and push as the distribution-spec has them, with faults to order.

    with RegistryServer() as server:
        server.add_image("demo/app", "latest", layers=[layer_tar_gz])
        server.faults.truncate = 1000
        ...                             # pull from f"{server.host}/demo/app:latest"

It is the server of ``swapbox registry serve`` over a store in memory that tests can look into and change.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from swapbox.distribution.messages import Request
from swapbox.distribution.server import Server
from swapbox.testing.registry_store import RegistryStore


class RegistryServer(RegistryStore):
    """A context manager: :class:`swapbox.distribution.server.Server` over a store in memory runs inside it.

    :ivar host: ``127.0.0.1:port``.
    :ivar requests: what was received so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._server = Server(self, observe=self._observe)
        self.faults = self._server.faults
        self.tokens = self._server.auth.tokens
        self.host = self._server.host

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
