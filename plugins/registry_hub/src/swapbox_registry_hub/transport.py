"""HTTP to registries: sessions, redirects, log-in, second attempts."""

from __future__ import annotations

import copy
import time
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy

import requests
from requests.adapters import HTTPAdapter

from swapbox import __version__
from swapbox.errors import DataError, Unavailable
from swapbox.references import DEFAULT_HOST, Reference
from swapbox_registry_hub import refusals
from swapbox_registry_hub.login import Login
from swapbox_registry_hub.wire import BROKEN, error_body, is_local, is_reset, translated

CONNECT_TIMEOUT = 10.0
_HUB = "registry-1.docker.io"
_ATTEMPTS = 4
_BACK_OFF = 0.5
_LONGEST_WAIT = 60.0
_REDIRECTS = 10
_REDIRECTED = {301, 302, 303, 307, 308}


class Transport:
    """Sends one request after another on kept connections; safe to use from several threads.

    :param timeout: seconds to wait for an answer and for each part of it.
    :param insecure: hosts spoken to over plain HTTP, besides this machine's.
    :param sleep: waits so many seconds between attempts.
    """

    def __init__(
        self,
        login: Login,
        *,
        timeout: float,
        insecure: frozenset[str] = frozenset(),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._login = login
        self._timeout = timeout
        self._insecure = insecure
        self._sleep = sleep
        self._sessions = {local: _session(local=local) for local in (False, True)}

    def with_login(self, login: Login) -> Transport:
        """Return a transport on the same connections that is somebody else."""
        other = copy.copy(self)
        other._login = login
        return other

    def close(self) -> None:
        """Close the connections that are not in use; calling it twice is fine."""
        for session in self._sessions.values():
            session.close()

    def url(self, reference: Reference, path: str) -> str:
        """Return the address of something of the reference's repository: ``/v2/<repository>/<path>``."""
        host = _HUB if reference.host == DEFAULT_HOST else reference.host
        plain = is_local(host) or reference.host in self._insecure
        return f"{'http' if plain else 'https'}://{host}/v2/{reference.path}/{path}"

    def check(self, host: str) -> None:
        """Ask a registry for its API with the log-in, and nothing else.

        :raises PermissionDenied: it does not take the log-in.
        :raises Unavailable: it is out of reach.
        """
        reference = Reference(host, "")
        url = self.url(reference, "").rstrip("/") + "/"
        response = self._authorized("GET", url, reference=reference, headers={})
        response.close()
        if response.status_code != HTTPStatus.OK:
            raise refusals.login_refused(url, response.status_code)

    def request(
        self, method: str, url: str, *, reference: Reference, headers: Mapping[str, str]
    ) -> requests.Response:
        """Send a request for something of a repository, log in when asked to, try again what may pass.

        The answer's body is still to be read. Its status is a success, 404, 405 or 416.

        :raises PermissionDenied: the registry wants another user.
        :raises Unavailable: it is out of reach, or kept answering 429 or 5xx.
        """
        for attempt in range(_ATTEMPTS):
            response = self._authorized(method, url, reference=reference, headers=headers)
            status = response.status_code
            if status < HTTPStatus.MULTIPLE_CHOICES or status in (404, 405, 416):
                return response
            body = error_body(response)
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise refusals.denied(reference, body)
            delay = _delay(response, attempt)
            if delay is None or attempt == _ATTEMPTS - 1:
                break
            self._sleep(delay)
        raise refusals.failing(reference.host, status, body)

    def _authorized(
        self, method: str, url: str, *, reference: Reference, headers: Mapping[str, str]
    ) -> requests.Response:
        """Send with the token we have; when that is refused, get one and send again."""
        authorization = self._login.known(reference)
        response = self._followed(method, url, headers, authorization)
        # Only the registry's own challenge: where it redirects to must not learn the log-in by asking for it.
        if response.status_code != HTTPStatus.UNAUTHORIZED or _origin(response.url) != _origin(url):
            return response
        challenge = response.headers.get("WWW-Authenticate", "")
        response.close()
        fresh = self._login.answer(challenge, reference, refused=authorization, send=self._send)
        if fresh is None:
            return response
        return self._followed(method, url, headers, fresh)

    def _followed(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None
    ) -> requests.Response:
        """Follow redirects; the log-in goes to the first host alone."""
        origin = _origin(url)
        for _ in range(_REDIRECTS):
            secret = {"Authorization": authorization} if authorization and _origin(url) == origin else {}
            response = self._send(method, url, {**headers, **secret})
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTED or not location:
                return response
            response.close()
            url = urllib.parse.urljoin(url, location)
            if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
                raise DataError(f"registry redirects to {refusals.clean(url)}")
        raise Unavailable(f"registry redirects more than {_REDIRECTS} times: {refusals.clean(url)}")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], data: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Send one request; a kept connection that the server had closed already is worth a second attempt."""
        host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        session = self._sessions[is_local(host)]
        for attempt in (1, 2):
            try:
                return session.request(
                    method,
                    url,
                    headers=dict(headers),
                    data=data,
                    stream=True,
                    allow_redirects=False,
                    timeout=(min(CONNECT_TIMEOUT, self._timeout), self._timeout),
                )
            except BROKEN as error:
                if attempt == 2 or not is_reset(error):
                    raise translated(error, host, self._timeout) from error
        raise AssertionError("unreachable")


def _session(*, local: bool) -> requests.Session:
    """Return a session: no cookies, no ``.netrc``, and no proxy to this machine."""
    session = requests.Session()
    session.trust_env = not local
    session.auth = _as_it_is  # without one, requests takes the log-in from ~/.netrc
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # A blob has its digest over the bytes as they are sent: "identity", lest a server compresses them again.
    session.headers = requests.structures.CaseInsensitiveDict(
        {"User-Agent": f"swapbox/{__version__}", "Accept-Encoding": "identity"}
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=8, pool_maxsize=8))
    return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _delay(response: requests.Response, attempt: int) -> float | None:
    """Return the seconds to wait before another attempt, None when there should be none."""
    after = response.headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return float(after) if float(after) <= _LONGEST_WAIT else None
    # Without a time, Docker Hub's 429 means hours.
    return _BACK_OFF * 2**attempt if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else None


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc.lower()
