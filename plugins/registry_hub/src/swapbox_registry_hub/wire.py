"""Below HTTP: bodies read whole, and the border where the errors of requests, urllib3 and sockets end."""

from __future__ import annotations

import errno
import re
import ssl
import urllib.parse
from collections.abc import Iterator
from http.client import BadStatusLine, HTTPException

import requests
import urllib3

from swapbox.errors import DataError, SwapboxError, Unavailable
from swapbox_registry_hub import refusals

_SLOW = "try again, or set a longer timeout in the option timeout"
_TIMEOUTS = (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError)
_ERROR_BODY = 64 * 1024
_SIZE = re.compile(r"[0-9]{1,19}")
BROKEN = (
    urllib3.exceptions.HTTPError,
    requests.RequestException,
    HTTPException,
    OSError,
    ValueError,
    AttributeError,
)
"""What a transfer raises when it breaks; the last two when another thread closed it."""


def read_all(response: requests.Response, limit: int) -> bytes:
    """Read a body and close the answer.

    :param limit: bytes.
    :raises DataError: it is longer.
    :raises Unavailable: it ended early.
    """
    host = _host(response)
    with response:
        try:
            data: bytes = response.raw.read(limit + 1, decode_content=False)
        except BROKEN as error:
            raise translated(error, host, None) from error
    if len(data) > limit:
        raise DataError(f"answer of registry {host} is longer than {limit} bytes")
    length = content_length(response)
    if length is not None and len(data) < length:
        raise Unavailable(f"answer of registry {host} ended after {len(data)} of {length} bytes")
    return data


def content_length(response: requests.Response) -> int | None:
    """Return how many bytes an answer says its body has; None when it does not say, or nonsense."""
    text = response.headers.get("Content-Length", "")
    return int(text) if _SIZE.fullmatch(text) else None


def error_body(response: requests.Response) -> bytes:
    """Read what a registry says about an error; nothing when that fails too."""
    try:
        return read_all(response, _ERROR_BODY)
    except SwapboxError:
        return b""


def drain(response: requests.Response) -> None:
    """End an answer whose body nobody wants; the connection is kept for the next request, even after ``HEAD``."""
    error_body(response)


def joined(url: str, place: str, *, said: str) -> urllib.parse.SplitResult:
    """Return where a header of an answer leads.

    :param url: the address that was asked.
    :param place: what the header says, perhaps relative to it.
    :param said: what is in the error before the place: ``registry redirects to``.
    :raises DataError: it is no address of the web.
    """
    try:
        place = urllib.parse.urljoin(url, place)
        parts = urllib.parse.urlsplit(place)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise DataError(f"{said} {refusals.clean(place)}")
    return parts


def translated(error: BaseException, host: str, timeout: float | None) -> Unavailable:
    """Turn whatever requests, urllib3 or the socket raise into an error that names the registry."""
    causes = list(_causes(error))
    if any(isinstance(cause, requests.exceptions.ProxyError) for cause in causes):
        host = f"{host} through the proxy"
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = getattr(cause, "verify_message", "") or cause.reason or str(cause)
            return Unavailable(
                f"cannot speak TLS with registry {host}: {reason.lower().replace('_', ' ')}",
                hint=f"trust its authority in certs.d/{host}/ca.crt, or list {host} in the option insecure",
            )
        if isinstance(cause, urllib3.exceptions.NameResolutionError):
            return Unavailable(f"cannot find registry {host}: no such host", hint="check the name and the network")
        if isinstance(cause, OSError) and cause.errno and cause.strerror:
            return Unavailable(f"cannot reach registry {host}: {cause.strerror.lower()}", hint=_hint(cause, host))
    # After the others: urllib3 calls a refused connection a connect timeout too.
    if any(isinstance(cause, _TIMEOUTS) for cause in causes):
        limit = "in time" if timeout is None else f"within {timeout:g} seconds"
        return Unavailable(f"registry {host} did not answer {limit}", hint=_SLOW)
    return Unavailable(f"connection to registry {host} broke: {refusals.clean(str(causes[-1]))}")


def _hint(error: OSError, host: str) -> str:
    return f"is something listening at {host}?" if error.errno == errno.ECONNREFUSED else "check the network"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what is below it: ``__cause__``, urllib3's ``reason``, an argument."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop(0)
        if isinstance(current, BaseException) and id(current) not in seen:
            seen.add(id(current))
            yield current
            pending += [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]


def is_reset(error: BaseException) -> bool:
    """Say whether the peer closed a connection, as it may with one that was kept for the next request."""
    return any(isinstance(cause, ConnectionResetError | BrokenPipeError) for cause in _causes(error))


def is_misunderstood(error: BaseException) -> bool:
    """Say whether the other side may speak plain HTTP where TLS was spoken to it, or the other way round."""
    kinds = (ssl.SSLError, ConnectionError, BadStatusLine, requests.exceptions.ProxyError, requests.ConnectTimeout)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def is_local(host: str) -> bool:
    """Say whether a host (with optional port) is this machine."""
    try:
        name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in ("localhost", "::1") or (name.startswith("127.") and name.replace(".", "").isdecimal())


def _host(response: requests.Response) -> str:
    return urllib.parse.urlsplit(response.url or "").netloc
