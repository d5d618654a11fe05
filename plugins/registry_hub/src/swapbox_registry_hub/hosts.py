"""What is special about a host: plain HTTP, certificates of its own, the proxy on the way to it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import certifi
import requests.utils
import urllib3

from swapbox.errors import DataError, InvalidInput, from_os_error
from swapbox_registry_hub.wire import is_local


class Certificates(NamedTuple):
    """The files of a host in a ``certs.d`` directory, as Docker has them.

    :param authorities: ``*.crt``: who may have signed the host's certificate, besides those the system trusts.
    :param own: ``*.cert`` with ``*.key``: what this client shows.
    """

    authorities: tuple[Path, ...] = ()
    own: tuple[tuple[Path, Path], ...] = ()

    @classmethod
    def find(cls, directories: Sequence[Path], host: str) -> Certificates:
        """Return what the directories have for a host (``ghcr.io``, ``127.0.0.1:5000``).

        :raises InvalidInput: a certificate lacks its key, or a key its certificate.
        :raises SwapboxError: a directory cannot be read.
        """
        files = [file for directory in directories for file in _files(directory / host)]
        for file in files:
            partner = {".cert": ".key", ".key": ".cert"}.get(file.suffix)
            if partner and file.with_suffix(partner) not in files:
                hint = "certificates of authorities end with .crt" if partner == ".key" else None
                raise InvalidInput(f"{file} has no {file.stem}{partner} beside it", hint=hint)
        return cls(
            tuple(file for file in files if file.suffix == ".crt"),
            tuple((file, file.with_suffix(".key")) for file in files if file.suffix == ".cert"),
        )

    def context(self, *, verify: bool = True) -> ssl.SSLContext:
        """Return how to speak TLS with the host.

        :raises DataError: a file is no certificate, or a key is another one's.
        """
        context = ssl.create_default_context()
        if not context.get_ca_certs() and not os.path.isdir(ssl.get_default_verify_paths().capath or ""):
            context.load_verify_locations(certifi.where())  # a system that trusts nobody
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        for file in self.authorities:
            with _naming(file):
                context.load_verify_locations(file)
        for certificate, key in self.own:
            with _naming(certificate):
                context.load_cert_chain(certificate, key)
        return context


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise from_os_error(error, f"read certificates in {directory}") from error


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turn what OpenSSL says of a file into an error of ours that names it."""
    try:
        yield
    except ssl.SSLError as error:
        raise DataError(f"cannot use certificate {file}: {error.reason or error}") from error
    except OSError as error:
        raise from_os_error(error, f"read {file}") from error


class Hosts:
    """Answers questions about hosts; safe to use from several threads.

    :param insecure: hosts, with their ports, or networks (``10.0.0.0/8``) whose certificates are not checked and
        that may speak plain HTTP; this machine is always among them.
    :param certificates: ``certs.d`` directories.
    :param proxies: by scheme; they go before the variables ``http_proxy`` and ``https_proxy``.
    :param no_proxy: hosts without one, separated by commas; goes before the variable.
    :raises InvalidInput: a network is none.
    """

    def __init__(
        self,
        *,
        insecure: frozenset[str] = frozenset(),
        certificates: Sequence[Path] = (),
        proxies: Mapping[str, str] | None = None,
        no_proxy: str = "",
    ) -> None:
        self._insecure = insecure
        self._networks = [_network(text) for text in insecure if "/" in text]
        self._directories = certificates
        self._proxies = proxies or {}
        self._no_proxy = no_proxy
        self._settled: dict[str, str] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def scheme(self, host: str) -> str:
        """Return how to address a host: as it was found to speak, or as it should."""
        return self._settled.get(host.lower()) or self._schemes(host)[0]

    def attempts(self, url: str) -> list[str]:
        """Return the addresses to try one after the other: two while a host may speak plain HTTP or TLS."""
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.lower()
        known = self._settled.get(host)
        return [parts._replace(scheme=scheme).geturl() for scheme in ([known] if known else self._schemes(host))]

    def settle(self, url: str) -> None:
        """Note that a host has answered at an address, so that nothing else is tried any more."""
        parts = urllib.parse.urlsplit(url)
        self._settled[parts.netloc.lower()] = parts.scheme

    def is_insecure(self, host: str) -> bool:
        """Say whether a password may be sent in clear to a host."""
        return is_local(host) or self._is_listed(host)

    def context(self, host: str) -> ssl.SSLContext:
        """Return how to speak TLS with a host; the same object for all hosts of which nothing is special.

        :raises SwapboxError: a certificate cannot be used.
        """
        with self._lock:
            if host not in self._contexts:
                found = Certificates.find(self._directories, host)
                verify = not self._is_listed(host) and (bool(found.authorities) or not is_local(host))
                key = host if any(found) else str(verify)
                self._contexts[host] = self._contexts.get(key) or found.context(verify=verify)
                self._contexts[key] = self._contexts[host]
            return self._contexts[host]

    def proxies(self, url: str) -> dict[str, str]:
        """Return the proxies for an address, by scheme; none for this machine."""
        if is_local(urllib.parse.urlsplit(url).netloc):
            return {}
        if requests.utils.should_bypass_proxies(url, self._no_proxy or None):
            return {}
        return {**urllib.request.getproxies(), **self._proxies}

    def _schemes(self, host: str) -> tuple[str, ...]:
        """Return how a host may be spoken to, the likeliest first."""
        if self._is_listed(host):
            return ("https", "http")
        if not is_local(host) or Certificates.find(self._directories, host).authorities:
            return ("https",)
        return ("http", "https")

    def _is_listed(self, host: str) -> bool:
        if host in self._insecure:
            return True
        try:
            address = ipaddress.ip_address(urllib.parse.urlsplit(f"//{host}").hostname or "")
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidInput(f"invalid network {text!r} in the option insecure: {error}") from error
