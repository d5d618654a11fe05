"""One connection of a client: HTTP/1.1 around :class:`swapbox.distribution.api.Api`, with its faults."""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, TYPE_CHECKING

from swapbox import __version__
from swapbox.distribution import refusals
from swapbox.distribution.documents import read_small
from swapbox.distribution.faults import Faults
from swapbox.distribution.messages import Answer, Call, Request
from swapbox.distribution.received import Received
from swapbox.distribution.refusals import Refusal
from swapbox.distribution.store import Source
from swapbox.errors import SwapboxError

if TYPE_CHECKING:
    from swapbox.distribution.server import HttpServer, Server

_CHUNK = 256 * 1024
_FORM = 64 * 1024
_IDLE = 300
"""Seconds that a connection may be silent."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = f"swapbox/{__version__}"
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: HttpServer

    @property
    def registry(self) -> Server:
        """The registry this connection belongs to."""
        return self.server.registry

    def setup(self) -> None:
        """Note the connection, so that it can be broken."""
        super().setup()
        self.registry.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.registry.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; ``Server.observe`` is told."""

    def _respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        self.registry.observe(request, None)
        try:
            body = Received(self.rfile, self.headers)
            body.broken_after = self._broken_after()
            body.throttle = lambda count: self.registry.faults.carry(count, self.registry.closing)
            answer = self._answer_or_refuse(headers, body)
            for _ in body.chunks():  # what was not wanted: the next request begins behind it
                pass
            self.registry.observe(request, answer.status)
            self._send(answer)
        except ConnectionError:
            self.close_connection = True

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Give the method that answers a verb of HTTP: one for all."""
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)

    def _answer_or_refuse(self, headers: Mapping[str, str], body: Received) -> Answer:
        try:
            url = _parsed(self.path)
            query = dict(urllib.parse.parse_qsl(url.query))
            call = Call(self.command, query, headers, body, self.connection)
            return self._answer(urllib.parse.unquote(url.path), call)
        except Refusal as refusal:
            return _error(refusal)
        except (ConnectionError, TimeoutError):
            raise
        except (OSError, SwapboxError) as error:  # a full disk, say
            return _error(refusals.failing(error))

    def _answer(self, path: str, call: Call) -> Answer:
        registry, faults = self.registry, self.registry.faults
        if registry.closing.wait(faults.delay) and faults.delay:
            raise ConnectionAbortedError
        if path == "/token":
            if faults.refuse_tokens:
                raise _refused(HTTPStatus(faults.refuse_tokens.pop(0)), faults)
            if faults.redirect_tokens:
                location = f"{faults.redirect_tokens}{self.path}"
                return Answer(HTTPStatus.TEMPORARY_REDIRECT, {"Location": location})
            return registry.auth.token(call, read_small(call.body, _FORM))
        if (status := faults.refusal()) is not None:
            raise _refused(HTTPStatus(status), faults)
        registry.auth.check(path, call)
        reading = call.method in ("GET", "HEAD")
        if reading and "/manifests/" in path:
            if call.method == "HEAD" and not faults.head:
                raise refusals.unsupported("no HEAD here")
            if faults.missing:
                raise refusals.manifest_unknown()
        if reading and "/blobs/" in path and "/blobs/uploads/" not in path:
            return self._blob(path, call)
        return registry.api.answer(path, call)

    def _blob(self, path: str, call: Call) -> Answer:
        faults = self.registry.faults
        if faults.missing:
            raise refusals.blob_unknown()
        if not faults.ranges:
            call = call._replace(headers={**call.headers, "range": ""})
        if faults.bad_ranges and call.headers.get("range"):
            raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "no ranges today")
        answer = self.registry.api.answer(path, call)
        if faults.redirect_blobs:
            return Answer(HTTPStatus.TEMPORARY_REDIRECT, {"Location": f"{faults.redirect_blobs}{self.path}"})
        return answer

    def _broken_after(self) -> int | None:
        """Return after how many bytes of this request's body the connection is to break."""
        sends = self.command in ("PATCH", "PUT") and "/blobs/uploads/" in self.path
        return self.registry.faults.broken_upload() if sends else None

    # -- sending ------------------------------------------------------------------------------------------------

    def _send(self, answer: Answer) -> None:
        if isinstance(answer.blob, Path) and self.command != "HEAD":
            with answer.blob.open("rb") as file:  # before the headers, should it have been deleted
                self._head(answer)
                self._send_blob(answer, file)
            return
        self._head(answer)
        if self.command != "HEAD" and answer.blob is not None:
            self._send_blob(answer, None)
        elif self.command != "HEAD":
            self.wfile.write(answer.body)

    def _head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        length = answer.length if answer.blob is not None else len(answer.body)
        headers = {"Content-Type": "application/json", **answer.headers}
        if answer.status != HTTPStatus.NO_CONTENT:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_blob(self, answer: Answer, file: IO[bytes] | None) -> None:
        registry, faults = self.registry, self.registry.faults
        count, broken = answer.length, faults.truncation()
        if broken is not None:
            count = min(count, broken)
            self.close_connection = True
        stalls = faults.stall is not None and faults.stall < count
        if faults.stall is not None:
            count = min(count, faults.stall)
        with contextlib.suppress(ConnectionError):
            if file is not None and not faults.corrupt and faults.bandwidth is None:
                self.connection.sendfile(file, answer.start, count)
            else:
                self._send_slowly(answer, count)
        if stalls:
            registry.closing.wait()
            self.close_connection = True

    def _send_slowly(self, answer: Answer, count: int) -> None:
        """Send in pieces, as bandwidth allows; with the last bit changed when that is wanted."""
        faults = self.registry.faults
        assert answer.blob is not None
        for piece in _pieces(answer.blob, answer.start, count):
            count -= len(piece)
            faults.carry(len(piece), self.registry.closing)
            if faults.corrupt and not count:
                piece = bytes((*piece[:-1], piece[-1] ^ 1))
            self.wfile.write(piece)


def _parsed(target: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(target)
    except ValueError:  # http://[x
        raise refusals.target_invalid() from None


def _pieces(source: Source, start: int, count: int) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for offset in range(start, start + count, _CHUNK):
            yield source[offset : min(offset + _CHUNK, start + count)]
        return
    with source.open("rb") as file:
        file.seek(start)
        while count and (data := file.read(min(count, _CHUNK))):
            count -= len(data)
            yield data


def _error(refusal: Refusal) -> Answer:
    error = {"code": refusal.code, "message": refusal.message}
    headers = {**refusal.headers, "Content-Type": "application/json"}
    return Answer(refusal.status, headers, json.dumps({"errors": [error]}).encode())


def _refused(status: HTTPStatus, faults: Faults) -> Refusal:
    code = {400: "MANIFEST_INVALID", 401: "UNAUTHORIZED", 404: "MANIFEST_UNKNOWN", 405: "UNSUPPORTED"}
    headers = {} if faults.retry_after is None else {"Retry-After": str(faults.retry_after)}
    headers |= zip(("RateLimit-Limit", "RateLimit-Remaining"), faults.rate_limit or (), strict=False)
    return Refusal(
        status, code.get(status, status.name.replace("_", "")), faults.say or status.phrase.lower(), headers
    )
