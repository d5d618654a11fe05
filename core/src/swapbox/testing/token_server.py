"""A token service for registries, as distribution's token specification has it; tokens are signed by ``openssl``.

with TokenServer(tmp_path) as tokens, docker_registry(directory, more=tokens.settings) as host:
    tokens.users["ann"] = "secret"
    ...
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

from swapbox.testing.servers import require

_SERVICE, _ISSUER = "registry of tests", "token service of tests"


class Bought(NamedTuple):
    """One request that the service has had.

    :param secret: ``password``, ``refresh`` or ``nothing``: what the client had to show.
    :param parameters: of the query or the form.
    """

    method: str
    secret: str
    parameters: Mapping[str, str]


class TokenServer:
    """A context manager: the service runs inside it.

    :param directory: for its key and certificate.
    :ivar users: name to password; they may do everything, anybody else may pull.
    :ivar refresh: refresh tokens that are good, to user names; each is good for one use.
    :ivar life: seconds until a token expires.
    :ivar bought: what was asked for so far.
    :raises Unsupported: openssl is not installed.
    """

    def __init__(self, directory: Path) -> None:
        self._openssl = require("openssl", "openssl")
        self._key, self._certificate = directory / "token.key", directory / "token.crt"
        command = [
            self._openssl,
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=tokens",
            "-newkey",
            "rsa:2048",
        ]
        subprocess.run(
            [*command, "-keyout", self._key, "-out", self._certificate], check=True, capture_output=True
        )
        self.users: dict[str, str] = {}
        self.refresh: dict[str, str] = {}
        self.life = 300
        self.bought: list[Bought] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.tokens = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.realm = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    @property
    def settings(self) -> str:
        """What Debian's registry needs in its configuration to ask for these tokens."""
        return (
            f"auth: {{token: {{realm: '{self.realm}', service: '{_SERVICE}', issuer: '{_ISSUER}', "
            f"rootcertbundle: {self._certificate}}}}}\n"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def signed(self, user: str, scope: str) -> str:
        """Return a token for what a user may do of a scope."""
        now = int(time.time())
        claims = {
            "iss": _ISSUER,
            "sub": user,
            "aud": _SERVICE,
            "exp": now + self.life,
            "nbf": now - 10,
            "iat": now - 10,
            "jti": secrets.token_hex(8),
            "access": [_access(user, one) for one in scope.split()],
        }
        der = "".join(self._certificate.read_text().splitlines()[1:-1])
        head = _part({"typ": "JWT", "alg": "RS256", "x5c": [der]})
        text = f"{head}.{_part(claims)}"
        signing: list[str | Path] = [self._openssl, "dgst", "-sha256", "-sign", self._key]
        signature = subprocess.run(signing, input=text.encode(), check=True, capture_output=True).stdout
        return f"{text}.{_base64(signature)}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tokens: TokenServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        pairs = urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query)
        query = dict(pairs)
        if scopes := [value for name, value in pairs if name == "scope"]:
            query["scope"] = " ".join(scopes)
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        user, _, password = base64.b64decode(given).decode().partition(":")
        self._tokens.bought.append(Bought("GET", "password" if given else "nothing", query))
        if given and self._tokens.users.get(user) != password:
            self._answer(HTTPStatus.UNAUTHORIZED, _error("incorrect username or password"))
        else:
            self._sell(user, query, offline="offline_token" in query)

    def do_POST(self) -> None:
        form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self._tokens.bought.append(Bought("POST", "refresh", form))
        user = self._tokens.refresh.pop(form.get("refresh_token", ""), None)
        if form.get("grant_type") != "refresh_token" or user is None:
            self._answer(HTTPStatus.UNAUTHORIZED, _error("invalid refresh token"))
        else:
            self._sell(user, form, offline=True)

    @property
    def _tokens(self) -> TokenServer:
        return self.server.tokens  # type: ignore[attr-defined,no-any-return]

    def _sell(self, user: str, wanted: Mapping[str, str], *, offline: bool) -> None:
        token = self._tokens.signed(user, wanted.get("scope", ""))
        answer: dict[str, Any] = {"token": token, "access_token": token, "expires_in": self._tokens.life}
        if offline and user:
            answer["refresh_token"] = secrets.token_hex(16)
            self._tokens.refresh[answer["refresh_token"]] = user
        self._answer(HTTPStatus.OK, answer)

    def _answer(self, status: HTTPStatus, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; tests look at ``TokenServer.bought``."""


def _access(user: str, scope: str) -> dict[str, Any]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    allowed = [action for action in actions.split(",") if user or action == "pull"]
    return {"type": kind, "name": name, "actions": allowed}


def _error(message: str) -> dict[str, Any]:
    return {"errors": [{"code": "UNAUTHORIZED", "message": message}]}


def _part(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
