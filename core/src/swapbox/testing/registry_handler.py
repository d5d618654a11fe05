"""The requests of :class:`swapbox.testing.registry_server.RegistryServer`."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swapbox.descriptors import digest_of

if TYPE_CHECKING:
    from swapbox.testing.registry_contents import Source
    from swapbox.testing.registry_server import Faults, RegistryServer

_ROUTE = re.compile(r"/v2/(?P<repository>.+)/(?P<what>manifests|blobs|tags)/(?P<name>[^/]+|uploads/[^/]*)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CODES = {400: "MANIFEST_INVALID", 401: "UNAUTHORIZED", 404: "MANIFEST_UNKNOWN", 405: "UNSUPPORTED"}
_CHUNK = 256 * 1024


class Request(NamedTuple):
    """One request that was received; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def registry(self) -> RegistryServer:
        """The registry this connection belongs to."""
        return self.server.registry  # type: ignore[attr-defined,no-any-return]

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.registry.faults

    def setup(self) -> None:
        """Note the connection, so that it can be broken."""
        super().setup()
        self.registry.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.registry.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        """Answer manifests, blobs, tags and tokens."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer as GET, without the body."""
        self._answer()

    def do_POST(self) -> None:
        """Start an upload, mount a blob, or sell a token for a refresh token."""
        self._answer()

    def do_PATCH(self) -> None:
        """Append to an upload."""
        self._answer()

    def do_PUT(self) -> None:
        """Finish an upload, or take a manifest."""
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; tests look at ``RegistryServer.requests``."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.registry.requests.append(Request(self.command, self.path, headers))
        self.body = self.rfile.read(int(headers.get("content-length", 0)))
        if self.registry.closing.wait(self.faults.delay) and self.faults.delay:
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/token":
            self._token()
        elif self._refused() or not self._authorized():
            return
        elif url.path == "/v2/":
            self._send(HTTPStatus.OK, b"{}")
        elif route := _ROUTE.fullmatch(url.path):
            self._route(route["repository"], route["what"], route["name"])
        else:
            self._error(HTTPStatus.NOT_FOUND, "page not found")

    def _route(self, repository: str, what: str, name: str) -> None:
        reading = self.command in ("GET", "HEAD")
        if what == "manifests" and reading:
            self._manifest(repository, name)
        elif what == "tags" and reading:
            self._tags(repository)
        elif what == "blobs" and reading:
            self._blob(name)
        elif not self.registry.writable:
            self._error(HTTPStatus.METHOD_NOT_ALLOWED, "this registry is read-only")
        elif what == "manifests":
            self._take_manifest(repository, name)
        else:
            self._upload(repository, name.removeprefix("uploads/"))

    def _refused(self) -> bool:
        if not self.faults.refuse:
            return False
        status = HTTPStatus(self.faults.refuse.pop(0))
        after = self.faults.retry_after
        headers = {} if after is None else {"Retry-After": str(after)}
        headers |= dict(
            zip(("RateLimit-Limit", "RateLimit-Remaining"), self.faults.rate_limit or (), strict=False)
        )
        code = _CODES.get(status, status.name.replace("_", ""))
        self._error(status, self.faults.say or status.phrase.lower(), code=code, **headers)
        return True

    def _authorized(self) -> bool:
        kind = self.faults.auth
        given = self.headers.get("Authorization", "")
        scheme, _, secret = given.partition(" ")
        if not kind or (kind == "basic" and scheme == "Basic" and self._knows(secret)):
            return True
        if kind == "bearer" and scheme == "Bearer" and secret in self.registry.tokens and self._used(secret):
            return True
        wanted = 'Basic realm="registry, for tests"'
        if kind == "bearer":
            route = _ROUTE.fullmatch(urllib.parse.urlsplit(self.path).path)
            scope = f"repository:{route['repository']}:pull,push" if route else ""
            realm = f"http://{self.registry.host}/token"
            wanted = f'Bearer realm="{realm}",service="registry, for tests",scope="{scope}"'
        self._error(HTTPStatus.UNAUTHORIZED, "authentication required", **{"WWW-Authenticate": wanted})
        return False

    def _used(self, token: str) -> bool:
        """Count a use of a token; say whether it is still good."""
        uses = self.registry.uses[token] = self.registry.uses.get(token, 0) + 1
        return self.faults.token_uses is None or uses <= self.faults.token_uses

    def _knows(self, secret: str) -> bool:
        try:
            name, _, password = base64.b64decode(secret).decode().partition(":")
        except ValueError:
            return False
        return self.faults.users.get(name) == password

    def _token(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.body.decode()))
        secret = self.headers.get("Authorization", "").removeprefix("Basic ")
        refresh = form.get("refresh_token") in self.faults.users.values()
        if self.faults.users and not (refresh or self._knows(secret)):
            self._error(HTTPStatus.UNAUTHORIZED, "incorrect username or password")
            return
        token = secrets.token_hex(16)
        self.registry.tokens.add(token)
        self._send(HTTPStatus.OK, json.dumps({"token": token, "expires_in": self.faults.token_life}).encode())

    def _manifest(self, repository: str, name: str) -> None:
        if self.command == "HEAD" and not self.faults.head:
            self._error(HTTPStatus.METHOD_NOT_ALLOWED, "no HEAD here")
            return
        manifest = self.registry.manifests.get((repository, name))
        if manifest is None or self.faults.missing:
            self._error(HTTPStatus.NOT_FOUND, "manifest unknown", code="MANIFEST_UNKNOWN")
            return
        headers = {"Content-Type": manifest.media_type, "Docker-Content-Digest": digest_of(manifest.data)}
        self._send(HTTPStatus.OK, manifest.data, headers)

    def _tags(self, repository: str) -> None:
        names = self.registry.tags_of(repository)
        if not names:
            self._error(HTTPStatus.NOT_FOUND, "repository name not known to registry", code="NAME_UNKNOWN")
            return
        names = [name for name in names if name > self.query.get("last", "")]
        count = min(int(self.query.get("n", 1000)), self.registry.page)
        headers = {}
        if len(names) > count:
            more = urllib.parse.urlencode({"n": count, "last": names[count - 1]})
            headers["Link"] = f'</v2/{repository}/tags/list?{more}>; rel="next"'
        self._send(HTTPStatus.OK, json.dumps({"name": repository, "tags": names[:count]}).encode(), headers)

    def _blob(self, digest: str) -> None:
        source = self.registry.blobs.get(digest)
        if source is None or self.faults.missing:
            self._error(HTTPStatus.NOT_FOUND, "blob unknown to registry", code="BLOB_UNKNOWN")
        elif self.faults.redirect_blobs:
            self._send(
                HTTPStatus.TEMPORARY_REDIRECT, b"", {"Location": f"{self.faults.redirect_blobs}{self.path}"}
            )
        else:
            self._send_blob(digest, source)

    def _send_blob(self, digest: str, source: Source) -> None:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
        }
        status, start = HTTPStatus.OK, 0
        asked = _RANGE.fullmatch(self.headers.get("Range", "")) if self.faults.ranges else None
        if asked and (self.faults.bad_ranges or int(asked[1]) >= size):
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{size}"})
            return
        if asked:
            status, start = HTTPStatus.PARTIAL_CONTENT, int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._head(status, size - start, headers)
        if self.command == "HEAD":
            return
        count = size - start
        if self._breaks():
            count = min(count, self.faults.truncate or 0)
            self.close_connection = True
        if self.faults.stall is not None:
            self._stream(source, start, min(count, self.faults.stall))
            self.registry.closing.wait()
            self.close_connection = True
            return
        self._stream(source, start, count)

    def _breaks(self) -> bool:
        if self.faults.truncate is None or self.faults.truncate_times == 0:
            return False
        if self.faults.truncate_times is not None:
            self.faults.truncate_times -= 1
        return True

    def _stream(self, source: Source, start: int, count: int) -> None:
        if isinstance(source, Path) and not self.faults.corrupt:
            with source.open("rb") as file:
                self.connection.sendfile(file, start, count)
            return
        data = source if isinstance(source, bytes) else source.read_bytes()
        part = bytearray(data[start : start + count])
        if self.faults.corrupt and part:
            part[-1] ^= 1
        with contextlib.suppress(ConnectionError):
            self.wfile.write(part)

    def _take_manifest(self, repository: str, name: str) -> None:
        added = self.registry.add_manifest(
            repository, None if ":" in name else name, self.headers.get("Content-Type", ""), self.body
        )
        headers = {"Location": f"/v2/{repository}/manifests/{added.digest}", "Docker-Content-Digest": added.digest}
        self._send(HTTPStatus.CREATED, b"", headers)

    def _upload(self, repository: str, name: str) -> None:
        uploads = self.registry.uploads
        mount = self.query.get("mount", "")
        if self.command == "POST" and mount in self.registry.blobs:
            self._uploaded(repository, mount)
            return
        if self.command == "POST":
            name = secrets.token_hex(8)
            uploads[name] = bytearray()
        if name not in uploads:
            self._error(HTTPStatus.NOT_FOUND, "blob upload unknown to registry", code="BLOB_UPLOAD_UNKNOWN")
            return
        uploads[name] += self.body
        digest = self.query.get("digest", "")
        if not digest:
            where = {"Location": f"/v2/{repository}/blobs/uploads/{name}", "Range": f"0-{len(uploads[name]) - 1}"}
            self._send(HTTPStatus.ACCEPTED, b"", where)
            return
        data = bytes(uploads.pop(name))
        if digest_of(data) != digest:
            self._error(
                HTTPStatus.BAD_REQUEST, "provided digest did not match uploaded content", code="DIGEST_INVALID"
            )
            return
        self.registry.add_blob(data)
        self._uploaded(repository, digest)

    def _uploaded(self, repository: str, digest: str) -> None:
        headers = {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
        self._send(HTTPStatus.CREATED, b"", headers)

    def _error(self, status: HTTPStatus, message: str, *, code: str = "", **headers: str) -> None:
        body = {"errors": [{"code": code or _CODES.get(status, status.name), "message": message}]}
        self._send(status, json.dumps(body).encode(), headers)

    def _send(self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(body), {"Content-Type": "application/json", **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
