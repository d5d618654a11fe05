"""A daemon that has nothing but documents: what the real ``docker`` makes of them is then known."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from swapbox.testing.process import Engine
from swapbox.testing.servers import plain_environment, require

_API = "1.50"


@contextlib.contextmanager
def replayed(directory: Path, documents: Mapping[str, Any]) -> Iterator[Engine]:
    """Give the real ``docker`` over a daemon that answers with ``documents``.

    :param documents: what to answer by the request's path, without version and query: ``containers/json``. The
        mapping is looked at for each request, so a test may change it.
    :raises Unsupported: docker is not installed.
    """
    client, path = require("docker", "docker.io"), directory / "docker.sock"

    class Handler(_Handler):
        answers = documents

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Engine(client, "-H", f"unix://{path}", environment=plain_environment(directory))
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    answers: Mapping[str, Any]

    def address_string(self) -> str:
        return "docker"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        key = path.partition("/")[2] if path.startswith("v1.") else path
        if key == "_ping":
            self._answer(200, b"OK")
        elif key in self.answers:
            self._answer(200, json.dumps(self.answers[key]).encode())
        else:
            self._answer(404, json.dumps({"message": f"no such thing: {key}"}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        headers = {"Api-Version": _API, "Ostype": "linux", "Content-Type": "application/json"}
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
