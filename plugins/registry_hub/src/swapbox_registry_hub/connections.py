"""Connections that are kept: one pool for all hosts of which nothing is special, one for each of the others."""

from __future__ import annotations

import ssl
import threading
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from swapbox import __version__
from swapbox_registry_hub.hosts import Hosts

_BLOCK = 256 * 1024


class Connections:
    """Makes sessions: no cookies, no ``.netrc``, nothing from the environment that :class:`Hosts` does not say."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._lock = threading.Lock()
        self._plain = _session(_Adapter())
        self._encrypted: dict[ssl.SSLContext, requests.Session] = {}

    def session(self, scheme: str, host: str) -> requests.Session:
        """Return the session for a host; what it needs for TLS is made for the first that speaks it.

        :raises SwapboxError: a certificate cannot be used.
        """
        if scheme != "https":
            return self._plain
        context = self._hosts.context(host)
        with self._lock:
            if context not in self._encrypted:
                self._encrypted[context] = _session(_Adapter(context))
            return self._encrypted[context]

    def close(self) -> None:
        """Close the connections that are not in use; calling it twice is fine."""
        for session in (self._plain, *self._encrypted.values()):
            session.close()


class _Adapter(HTTPAdapter):
    """Verifies certificates as a context says, and not with the list of authorities that requests brings along."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        super().__init__(pool_connections=8, pool_maxsize=8)

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        # With the usual blocks of 16 KiB, Python sends layers more slowly than many networks carry them.
        super().init_poolmanager(*args, **{**settings, "blocksize": _BLOCK}, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        return super().proxy_manager_for(proxy, **settings, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        verified = self._context is not None and self._context.verify_mode is ssl.CERT_REQUIRED
        conn.cert_reqs = "CERT_REQUIRED" if verified else "CERT_NONE"

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}


def _session(adapter: HTTPAdapter) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # A blob has its digest over the bytes as they are sent: "identity", lest a server compresses them again.
    session.headers = requests.structures.CaseInsensitiveDict(
        {"User-Agent": f"swapbox/{__version__}", "Accept-Encoding": "identity"}
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session
