"""Who may do something here: nobody is asked, or for a password (``basic``), or for a token (``bearer``)."""

from __future__ import annotations

import base64
import json
import secrets
import urllib.parse
from http import HTTPStatus

from swapbox.distribution.api import repository_of
from swapbox.distribution.faults import Faults
from swapbox.distribution.messages import Answer, Call
from swapbox.distribution.refusals import Refusal

_SERVICE = "registry, for tests"


class Auth:
    """Checks the ``Authorization`` of requests, and sells tokens at ``/token``.

    :param host: ``host:port`` of this server.
    """

    def __init__(self, faults: Faults, host: str) -> None:
        self.tokens: set[str] = set()
        self._uses: dict[str, int] = {}
        self._faults = faults
        self._host = host

    def check(self, path: str, call: Call) -> None:
        """Let a request pass.

        :raises Refusal: it wants another ``Authorization``.
        """
        kind = self._faults.auth
        scheme, _, secret = call.headers.get("authorization", "").partition(" ")
        if not kind or (kind == "basic" and scheme == "Basic" and self._knows(secret)):
            return
        if kind == "bearer" and scheme == "Bearer" and secret in self.tokens and self._used(secret):
            return
        wanted = f'Basic realm="{_SERVICE}"'
        if kind == "bearer":
            repository = repository_of(path)
            scope = f"repository:{repository}:pull,push" if repository else ""
            wanted = f'Bearer realm="http://{self._host}/token",service="{_SERVICE}",scope="{scope}"'
        raise Refusal(
            HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": wanted}
        )

    def _used(self, token: str) -> bool:
        """Count a use of a token; say whether it is still good."""
        uses = self._uses[token] = self._uses.get(token, 0) + 1
        return self._faults.token_uses is None or uses <= self._faults.token_uses

    def _knows(self, secret: str) -> bool:
        try:
            name, _, password = base64.b64decode(secret).decode().partition(":")
        except ValueError:
            return False
        known = self._faults.users.get(name)
        return known is not None and secrets.compare_digest(known.encode(), password.encode())

    def token(self, call: Call, body: bytes) -> Answer:
        """Sell a token for a log-in, or for a refresh token: each user's password is one, too."""
        form = dict(urllib.parse.parse_qsl(body.decode(errors="replace")))
        secret = call.headers.get("authorization", "").removeprefix("Basic ")
        refresh = form.get("refresh_token") in self._faults.users.values()
        if self._faults.users and not (refresh or self._knows(secret)):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password")
        token = secrets.token_hex(16)
        self.tokens.add(token)
        return Answer(
            HTTPStatus.OK, {}, json.dumps({"token": token, "expires_in": self._faults.token_life}).encode()
        )
