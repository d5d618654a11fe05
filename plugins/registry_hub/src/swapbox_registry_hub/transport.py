"""HTTP to registries: sessions, redirects, log-in, second attempts."""

from __future__ import annotations

import contextlib
import copy
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import requests

from swapbox.errors import InvalidInput, Unavailable
from swapbox.references import DEFAULT_HOST, Reference
from swapbox_registry_hub import refusals
from swapbox_registry_hub.connections import Connections
from swapbox_registry_hub.hosts import Hosts
from swapbox_registry_hub.login import Login
from swapbox_registry_hub.patience import Patience, rate_limit
from swapbox_registry_hub.wire import BROKEN, drain, error_body, is_misunderstood, is_reset, joined, translated

CONNECT_TIMEOUT = 10.0
_HUB = "registry-1.docker.io"
_REDIRECTS = 10
_REDIRECTED = {301, 302, 303, 307, 308}

Body = Callable[[], Any] | Mapping[str, str] | bytes | None
"""What is sent: a form, bytes, or something that gives a file to read from each time it is sent."""


class Transport:
    """Sends one request after another on kept connections; safe to use from several threads.

    :param timeout: seconds to wait for an answer and for each part of it.
    :param hosts: knows what is special about hosts.
    :param patience: decides how often something is tried again, and when.
    """

    def __init__(
        self,
        login: Login,
        *,
        timeout: float,
        hosts: Hosts | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._login = login
        self._timeout = timeout
        self._hosts = hosts or Hosts()
        self._patience = patience or Patience()
        self._connections = Connections(self._hosts)

    def with_login(self, login: Login) -> Transport:
        """Return a transport on the same connections that is somebody else."""
        other = copy.copy(self)
        other._login = login
        return other

    def apart(self) -> Transport:
        """Return a transport on the same connections that shares no tokens with others."""
        return self.with_login(self._login.apart())

    def close(self) -> None:
        """Close the connections that are not in use; calling it twice is fine."""
        self._connections.close()

    def url(self, reference: Reference, path: str) -> str:
        """Return the address of something of the reference's repository: ``/v2/<repository>/<path>``."""
        host = _HUB if reference.host == DEFAULT_HOST else reference.host
        try:
            valid = urllib.parse.urlsplit(f"//{host}").port != 0
        except ValueError:  # the grammar of references lets through what is no address or port
            valid = False
        if not valid:
            raise InvalidInput(f"invalid registry host {host!r}")
        return f"{self._hosts.scheme(host)}://{host}/v2/{reference.path}/{path}"

    def root(self, reference: Reference, path: str) -> str:
        """Return the address of something of the reference's registry: ``/<path>``."""
        url = urllib.parse.urlsplit(self.url(reference, ""))
        return f"{url.scheme}://{url.netloc}/{path}"

    def check(self, host: str) -> None:
        """Ask a registry for its API with the log-in, and nothing else.

        :raises PermissionDenied: it does not take the log-in.
        :raises Unavailable: it is out of reach.
        """
        reference = Reference(host, "")
        response = self._authorized("GET", self.root(reference, "v2/"), reference=reference, headers={})
        drain(response)
        if response.status_code != HTTPStatus.OK:
            raise refusals.login_refused(response.url, response.status_code)

    def request(
        self,
        method: str,
        url: str,
        *,
        reference: Reference,
        headers: Mapping[str, str],
        data: Body = None,
        pushing: bool = False,
    ) -> requests.Response:
        """Send a request for something of a repository, log in when asked to, try again what may pass.

        The answer's body is still to be read. Its status is a success, 404, 405 or 416.

        :param data: a file is sent once, since nobody knows how much of it has arrived.
        :param pushing: it is part of a push, and a refusal says so.
        :raises PermissionDenied: the registry wants another user.
        :raises Unavailable: it is out of reach, or kept answering 429 or 5xx.
        """
        for attempt in self._patience.attempts():
            try:
                response = self._authorized(method, url, reference=reference, headers=headers, data=data)
            except refusals.Denied as error:
                raise refusals.push_denied(reference, error.body) if pushing else error from None
            status = response.status_code
            if status < HTTPStatus.MULTIPLE_CHOICES or status in (404, 405, 416):
                return response
            body = error_body(response)
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                if not pushing:
                    raise refusals.Denied(reference, body)
                raise refusals.push_denied(reference, body, anonymous=_wants_a_password(response))
            if callable(data) or not self._patience.wait(reference.host, response, attempt):
                break
        raise refusals.failing(reference.host, status, body, limit=rate_limit(response))

    def _authorized(
        self, method: str, url: str, *, reference: Reference, headers: Mapping[str, str], data: Body = None
    ) -> requests.Response:
        """Send with the token we have; when that is refused, get one and send again."""
        if _origin(url)[1] != _origin(self.url(reference, ""))[1]:  # where the registry wants an upload
            return self._followed(method, url, headers, None, data)
        authorization = self._login.known(reference)
        url, response = self._settled(method, url, headers, authorization, data)
        fresh: str | None = None
        # Twice, since a token that another thread has bought may have expired before it is used here.
        for _ in range(2):
            # Only the registry's own challenge: where it redirects to must not learn the log-in by asking for it.
            if response.status_code != HTTPStatus.UNAUTHORIZED or _origin(response.url) != _origin(url):
                return response
            challenge = response.headers.get("WWW-Authenticate", "")
            if fresh and "insufficient_scope" in challenge:
                return response
            drain(response)
            fresh = self._login.answer(
                challenge, reference, refused=authorization, send=self._patiently, at=self.root(reference, "v2/")
            )
            if fresh is None:
                return response
            authorization = fresh
            response = self._followed(method, url, headers, fresh, data)
        return response

    def _settled(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, data: Body
    ) -> tuple[str, requests.Response]:
        """Send over TLS or plain HTTP, whichever the host speaks; return the address that was the right one."""
        attempts = self._hosts.attempts(url)
        for number, address in enumerate(attempts, start=1):
            try:
                response = self._followed(method, address, headers, authorization, data)
            except Unavailable as error:
                if number == len(attempts) or not is_misunderstood(error):
                    raise
                continue
            # What a server that expects TLS says to plain HTTP.
            if response.status_code == HTTPStatus.BAD_REQUEST and number < len(attempts):
                with contextlib.suppress(Unavailable):
                    return self._settled_at(attempts[number], method, headers, authorization, data)
            self._hosts.settle(address)
            return address, response
        raise AssertionError("unreachable")

    def _settled_at(
        self, url: str, method: str, headers: Mapping[str, str], authorization: str | None, data: Body
    ) -> tuple[str, requests.Response]:
        response = self._followed(method, url, headers, authorization, data)
        self._hosts.settle(url)
        return url, response

    def _followed(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, data: Body
    ) -> requests.Response:
        """Follow redirects; the log-in goes to the first host alone."""
        origin = _origin(url)
        for _ in range(_REDIRECTS):
            secret = {"Authorization": authorization} if authorization and _origin(url) == origin else {}
            response = self._send(method, url, {**headers, **secret}, data)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTED or not location:
                return response
            drain(response)
            url = joined(url, location, said="registry redirects to").geturl()
        raise Unavailable(f"registry redirects more than {_REDIRECTS} times: {refusals.clean(url)}")

    def _patiently(
        self, method: str, url: str, headers: Mapping[str, str], data: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Send to a token service, and again after what may pass; where it redirects to learns no log-in."""
        rest = {name: value for name, value in headers.items() if name != "Authorization"}
        for attempt in self._patience.attempts():
            if data is None:
                response = self._followed(method, url, rest, headers.get("Authorization"), None)
            else:  # what is in a form is a secret, too
                response = self._send(method, url, headers, data)
            passes = response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.status_code >= 500
            if not passes or not self._patience.wait(urllib.parse.urlsplit(url).netloc, response, attempt):
                return response
            drain(response)
        raise AssertionError("unreachable")

    def _send(self, method: str, url: str, headers: Mapping[str, str], data: Body = None) -> requests.Response:
        """Send one request; a kept connection that the server had closed already is worth a second attempt."""
        host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        session = self._connections.session(urllib.parse.urlsplit(url).scheme, host)
        for attempt in (1, 2):
            try:
                return session.request(
                    method,
                    url,
                    headers=dict(headers),
                    data=data() if callable(data) else data,
                    stream=True,
                    allow_redirects=False,
                    proxies=self._hosts.proxies(url),
                    timeout=(min(CONNECT_TIMEOUT, self._timeout), self._timeout),
                )
            except BROKEN as error:
                if attempt == 2 or callable(data) or not is_reset(error):
                    raise translated(error, host, self._timeout) from error
        raise AssertionError("unreachable")


def _wants_a_password(response: requests.Response) -> bool:
    """Say whether a request was refused for want of a user name and password."""
    wanted = response.headers.get("WWW-Authenticate", "").lower().startswith("basic")
    return wanted and "Authorization" not in response.request.headers


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.lower().removesuffix({"http": ":80", "https": ":443"}.get(parts.scheme, ""))
