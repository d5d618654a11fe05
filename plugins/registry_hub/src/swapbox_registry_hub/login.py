"""Answers to a registry's challenge: basic, or a bearer token from its token service.

Tokens are kept per host and repository until shortly before they expire.
"""

from __future__ import annotations

import base64
import copy
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, Protocol

from swapbox.errors import DataError, PermissionDenied
from swapbox.references import Reference
from swapbox_registry_hub import challenges, refusals
from swapbox_registry_hub.challenges import Challenge
from swapbox_registry_hub.credentials import Credentials
from swapbox_registry_hub.wire import error_body, is_local, read_all

if TYPE_CHECKING:
    import requests

CLIENT_ID = "swapbox"
_SHORTEST_LIFE = 60
_MARGIN = 0.9
_TOKEN_LIMIT = 1024 * 1024


class Send(Protocol):
    """Sends one request, without log-in or redirects."""

    def __call__(  # noqa: D102
        self, method: str, url: str, headers: Mapping[str, str], data: Mapping[str, str] | None = None
    ) -> requests.Response: ...


class Source(Protocol):
    """Where log-ins come from: a :class:`~swapbox_registry_hub.credentials.Keyring`."""

    def get(self, host: str) -> Credentials | None: ...  # noqa: D102


class _Refused(Exception):
    """The token service does not take the log-in."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


class _Known(NamedTuple):
    authorization: str
    until: float


class Login:
    """Knows how to authorize requests; safe to use from several threads.

    :param clock: monotonic seconds.
    :param may_send_in_clear: says of a host whether it may get a password over plain HTTP.
    :param offline: ask token services for an identity token (a refresh token), too.
    """

    def __init__(
        self,
        keyring: Source,
        *,
        clock: Callable[[], float] = time.monotonic,
        offline: bool = False,
        may_send_in_clear: Callable[[str], bool] = is_local,
    ) -> None:
        self._keyring = keyring
        self._clock = clock
        self._offline = offline
        self._may_send_in_clear = may_send_in_clear
        self._refresh: dict[str, str] = {}
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}

    def apart(self) -> Login:
        """Return the same log-in without its tokens."""
        other = copy.copy(self)
        other._known = {}
        return other

    def known(self, reference: Reference) -> str | None:
        """Return the ``Authorization`` header for a repository when we have one that has not expired."""
        found = self._known.get((reference.host, reference.path))
        return found.authorization if found and self._clock() < found.until else None

    def identity_token(self, host: str) -> str:
        """Return the identity token that a host's token service gave last; empty when it gave none."""
        return self._refresh.get(host, "")

    def answer(
        self, header: str, reference: Reference, *, refused: str | None, send: Send, at: str = ""
    ) -> str | None:
        """Return a new ``Authorization`` header for a challenge, None when there is nothing better to offer.

        :param refused: the header that was just answered with the challenge.
        :param at: the registry's address, for errors.
        :raises PermissionDenied: the log-in in the keyring is wrong.
        """
        with self._lock:
            known = self.known(reference)
            if known is not None and known != refused:
                return known  # another thread was faster
            try:
                found = self._answer(challenges.parse(header), reference, send)
            except _Refused as error:
                raise refusals.login_failed(reference.host, error.body, at=at) from None
            if found is None or (found.authorization == refused):
                return None
            self._known[reference.host, reference.path] = found
            return found.authorization

    def _answer(self, offered: list[Challenge], reference: Reference, send: Send) -> _Known | None:
        credentials = self._keyring.get(reference.host) or Credentials()
        by_scheme = {challenge.scheme: challenge for challenge in reversed(offered)}
        if bearer := by_scheme.get("bearer"):
            if credentials.registry_token:
                return _Known(f"Bearer {credentials.registry_token}", float("inf"))
            return self._token(bearer, reference, credentials, send)
        if "basic" in by_scheme and credentials.username:
            return _Known(_basic(credentials), float("inf"))
        return None

    def _token(self, challenge: Challenge, reference: Reference, credentials: Credentials, send: Send) -> _Known:
        realm = challenge.parameters.get("realm", "")
        self._check_realm(realm, reference, credentials)
        query = {"service": challenge.parameters.get("service", ""), "client_id": CLIENT_ID}
        # A log-in that is only tried is for no repository.
        query["scope"] = challenge.parameters.get("scope") or (
            f"repository:{reference.path}:pull" if reference.path else ""
        )
        refresh = self._refresh.get(reference.host) or credentials.identity_token
        if refresh:
            form = {"grant_type": "refresh_token", "refresh_token": refresh}
            response = send("POST", realm, {}, _filled({**query, **form}))
        else:
            extra = {"account": credentials.username, "offline_token": "true" if self._offline else ""}
            # Several scopes, as a mount has them, are several parameters here, and one in OAuth 2's form above.
            scopes = [("scope", scope) for scope in query.pop("scope").split()]
            headers = {"Authorization": _basic(credentials)} if credentials.username else {}
            separator = "&" if urllib.parse.urlsplit(realm).query else "?"
            pairs = [*_filled({**query, **extra}).items(), *scopes]
            asked = urllib.parse.urlencode(pairs, errors="surrogateescape")
            response = send("GET", f"{realm}{separator}{asked}", headers)
        return self._read_token(
            response, reference, logged_in=any(credentials), renews=self._offline or bool(refresh)
        )

    def _read_token(
        self, response: requests.Response, reference: Reference, *, logged_in: bool, renews: bool
    ) -> _Known:
        status = response.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST):
            body = error_body(response)
            raise _Refused(body) if logged_in else refusals.Denied(reference, body)
        if status != HTTPStatus.OK:
            raise refusals.failing(reference.host, status, error_body(response))
        try:
            answer = json.loads(read_all(response, _TOKEN_LIMIT))
            token = answer.get("token") or answer.get("access_token")
            refresh = answer.get("refresh_token")
            life = max(int(answer.get("expires_in") or 0), _SHORTEST_LIFE)
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DataError(f"token service of {reference.host} sent no valid JSON") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise DataError(f"token service of {reference.host} sent no token")
        if isinstance(refresh, str) and refresh and renews:
            self._refresh[reference.host] = refresh  # another one than before where they are good for one use
        return _Known(f"Bearer {token}", self._clock() + life * _MARGIN)

    def _check_realm(self, realm: str, reference: Reference, credentials: Credentials) -> None:
        """Refuse a token service that is no address, or that would get a password in clear over the network."""
        try:
            parts = urllib.parse.urlsplit(realm)
        except ValueError:
            parts = urllib.parse.urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise DataError(f"registry {reference.host} names an invalid token service {refusals.clean(realm)!r}")
        if parts.scheme == "http" and any(credentials) and not self._may_send_in_clear(parts.netloc):
            raise PermissionDenied(
                f"registry {reference.host} wants the password sent in clear to {refusals.clean(realm)}",
                hint=f"list {parts.netloc} in the option insecure, or log out: swapbox logout {reference.host}",
            )


def _filled(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}"
    return f"Basic {base64.b64encode(pair.encode(errors='surrogateescape')).decode()}"
