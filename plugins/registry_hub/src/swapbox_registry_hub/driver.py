"""The driver ``hub``: the OCI distribution-spec 1.1, which Docker Hub speaks too."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import BinaryIO

import requests

from swapbox.descriptors import (
    INDEXES,
    MANIFEST_LIMIT,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    check_digest,
    digest_of,
)
from swapbox.drivers.registry import Repository
from swapbox.errors import DataError, NotFound, PermissionDenied, SwapboxError
from swapbox.references import Reference
from swapbox_registry_hub import refusals, settings
from swapbox_registry_hub.blobs import HttpBlob
from swapbox_registry_hub.credentials import Credentials, Fixed, Keyring
from swapbox_registry_hub.hosts import Hosts
from swapbox_registry_hub.login import Login
from swapbox_registry_hub.patience import Patience
from swapbox_registry_hub.search import search
from swapbox_registry_hub.transport import Transport
from swapbox_registry_hub.uploads import Uploads
from swapbox_registry_hub.wire import content_length, drain, error_body, joined, read_all

_ACCEPT = {"Accept": ", ".join(sorted(INDEXES | MANIFESTS))}
_VAGUE = {"", "application/json", "application/octet-stream", "text/plain"}
_NEXT = re.compile(r'<([^>]*)>[^,]*;\s*rel="?next"?', re.IGNORECASE)
_PAGE = 1000
_PAGES = 10_000
_UNENCRYPTED = """Your credentials are stored unencrypted in '{}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/"""


class Driver:
    """Keeps :class:`swapbox.drivers.registry.RegistryDriver`; safe to use from several threads.

    :param timeout: seconds to wait for an answer and for each part of it.
    :param hosts: knows what is special about hosts.
    :param part: bytes of a blob that are sent in one request at most; None for all.
    :param keyring: finds log-ins.
    :param patience: decides how often something is tried again, and when.
    """

    def __init__(
        self,
        *,
        timeout: float = 60.0,
        hosts: Hosts | None = None,
        part: int | None = None,
        keyring: Keyring,
        patience: Patience | None = None,
    ) -> None:
        self._timeout = timeout
        self._etags: dict[str, str] = {}
        self._keyring = keyring
        self._hosts = hosts = hosts or Hosts()
        login = Login(keyring, may_send_in_clear=hosts.is_insecure)
        self._transport = Transport(login, timeout=timeout, hosts=hosts, patience=patience)
        self._uploads = Uploads(self._transport, part=part)

    @classmethod
    def from_options(cls, options: Mapping[str, str], *, warn: Callable[[str], None]) -> Driver:
        """Make a driver from the settings a user gave.

        :raises InvalidInput: a value is wrong.
        """
        return cls(
            timeout=settings.seconds(options, "timeout", least=0.001),
            hosts=settings.hosts(options),
            part=settings.part(options),
            keyring=Keyring(warn=warn),
            patience=settings.patience(options, warn=warn),
        )

    def resolve(self, reference: Reference) -> Descriptor:
        """Return the descriptor of what the reference names; by ``HEAD``, which Docker Hub does not count."""
        name = reference.digest or reference.tag or "latest"
        response = self._get_manifest("HEAD", reference, name)
        media_type = _media_type(response)
        length = content_length(response)
        digest = response.headers.get("Docker-Content-Digest", "")
        drain(response)
        if response.ok and digest and length is not None and media_type not in _VAGUE:
            return _agreed(reference, Descriptor(media_type, check_digest(digest), length))
        return self._resolve_by_content(reference, name)

    def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """Return the manifest or index, verified."""
        response = self._found(
            reference, self._get_manifest("GET", reference, descriptor.digest), descriptor.digest
        )
        data = read_all(response, MANIFEST_LIMIT)
        actual = digest_of(data, descriptor.digest.partition(":")[0])
        if actual != descriptor.digest:
            raise DataError(f"manifest verification failed for digest {descriptor.digest}: got {actual}")
        return data

    def open_blob(self, reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> HttpBlob:
        """Start receiving a blob; from its first byte when the registry cannot start at ``offset``."""
        url = self._transport.url(reference, f"blobs/{descriptor.digest}")
        headers = self._range(descriptor, offset)
        response = self._transport.request("GET", url, reference=reference, headers=headers)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and headers:
            drain(response)
            response = self._transport.request("GET", url, reference=reference, headers={})
        if not response.ok:
            said = refusals.detail(error_body(response)) or "blob unknown"
            raise NotFound(f"blob {descriptor.digest} of {reference.familiar_name} not found: {said}")
        etag = response.headers.get("ETag", "")
        if etag.startswith('"'):  # a weak one (W/"...") does not promise the same bytes
            self._etags[descriptor.digest] = etag
        return HttpBlob(response, descriptor, timeout=self._timeout)

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the repository's tags, page by page as the registry gives them."""
        url = self._transport.url(reference, f"tags/list?n={_PAGE}")
        for _ in range(_PAGES):
            response = self._transport.request("GET", url, reference=reference, headers={})
            if not response.ok:
                said = refusals.detail(error_body(response)) or "name unknown"
                raise NotFound(f"repository {reference.familiar_name} not found: {said}")
            link = _NEXT.search(response.headers.get("Link", ""))
            yield from _tags(read_all(response, MANIFEST_LIMIT), reference)
            if link is None:
                return
            url = self._same_host(url, link[1])
        raise DataError(f"tags of {reference.familiar_name} have more than {_PAGES} pages")

    def search(self, host: str, term: str, *, limit: int) -> list[Repository]:
        """Return what a registry has for a term."""
        return search(self._transport, host, term, limit=limit)

    def hosts(self) -> list[str]:
        """Return the hosts that something is kept for."""
        return self._keyring.hosts()

    def kept(self, host: str) -> tuple[str, str]:
        """Return the user name and the password that are kept for a host, empty where there are none."""
        return (self._keyring.get(host) or Credentials())[:2]

    def log_in(self, host: str, *, username: str, password: str) -> str:
        """Let the registry check a log-in and keep it, or the identity token it gives for it, as Docker does."""
        credentials = Credentials(username, password)
        login = Login(Fixed(credentials), offline=True, may_send_in_clear=self._hosts.is_insecure)
        try:
            self._transport.with_login(login).check(host)
        except PermissionDenied as error:
            error.hint = None  # how to log in is known by now
            raise
        if token := login.identity_token(host):
            credentials = Credentials(username, identity_token=token)
        try:
            in_clear = self._keyring.store(host, credentials)
        except SwapboxError as error:
            error.message = f"error saving credentials: {error.message}"
            raise
        return _UNENCRYPTED.format(self._keyring.path) if in_clear else ""

    def log_out(self, host: str) -> None:
        """Forget what is kept for a host, in Docker's configuration file or a credential helper."""
        self._keyring.erase(host)

    def has_blob(self, reference: Reference, descriptor: Descriptor) -> bool:
        """Say whether the repository has a blob."""
        return self._uploads.has(reference, descriptor)

    def push_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str] = (),
        sent: Callable[[int], object] = lambda _offset: None,
    ) -> str | None:
        """Put a blob into the repository; return the one it is mounted from, None when it was sent."""
        return self._uploads.push(reference, descriptor, open_at, mount_from=mount_from, sent=sent)

    def push_manifest(self, reference: Reference, descriptor: Descriptor, data: bytes) -> None:
        """Put a manifest or index under the reference's digest or tag."""
        self._uploads.push_manifest(reference, descriptor, data)

    def close(self) -> None:
        """Close connections; calling it twice is fine."""
        self._transport.close()

    def _range(self, descriptor: Descriptor, offset: int) -> dict[str, str]:
        if offset == 0:
            return {}
        etag = self._etags.get(descriptor.digest)
        return {"Range": f"bytes={offset}-"} | ({"If-Range": etag} if etag else {})

    def _get_manifest(self, method: str, reference: Reference, name: str) -> requests.Response:
        url = self._transport.url(reference, f"manifests/{name}")
        return self._transport.request(method, url, reference=reference, headers=_ACCEPT)

    def _found(self, reference: Reference, response: requests.Response, name: str) -> requests.Response:
        """Return the answer, or raise what its body says."""
        if response.ok:
            return response
        said = refusals.detail(error_body(response)) or "manifest unknown"
        wanted = (
            reference.familiar
            if name in (reference.tag, reference.digest)
            else f"{reference.familiar_name}@{name}"
        )
        raise NotFound(
            f"manifest for {wanted} not found: {said}",
            hint=f"which tags {reference.familiar_name} has is up to its owner",
        )

    def _resolve_by_content(self, reference: Reference, name: str) -> Descriptor:
        """Resolve with a registry that has no HEAD, or whose answer to it says too little."""
        response = self._found(reference, self._get_manifest("GET", reference, name), name)
        claimed = response.headers.get("Docker-Content-Digest", "")
        media_type = _media_type(response)
        data = read_all(response, MANIFEST_LIMIT)
        algorithm = (reference.digest or claimed or "sha256:").partition(":")[0]
        digest = digest_of(data, algorithm if algorithm in ("sha256", "sha512") else "sha256")
        if claimed and digest != claimed:
            raise DataError(f"manifest verification failed for digest {refusals.clean(claimed)}: got {digest}")
        if media_type in _VAGUE:
            media_type = _stated_media_type(data) or media_type
        return _agreed(reference, Descriptor(media_type, digest, len(data)))

    def _same_host(self, url: str, link: str) -> str:
        """Return the address of the next page, which must not lead the log-in elsewhere."""
        said = "registry continues its tags at"
        there = joined(url, link, said=said)
        if there[:2] != urllib.parse.urlsplit(url)[:2]:
            raise DataError(f"{said} {refusals.clean(there.geturl())}")
        return there.geturl()


def _agreed(reference: Reference, descriptor: Descriptor) -> Descriptor:
    if reference.digest and descriptor.digest != reference.digest:
        raise DataError(f"manifest verification failed for digest {reference.digest}: got {descriptor.digest}")
    return descriptor


def _media_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _stated_media_type(data: bytes) -> str:
    """Return what a manifest says it is; guesses from its fields as image-spec allows it to say nothing."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(value, dict):
        return ""
    stated = value.get("mediaType")
    if isinstance(stated, str):
        return stated
    return OCI_INDEX if "manifests" in value else OCI_MANIFEST


def _tags(data: bytes, reference: Reference) -> list[str]:
    try:
        tags = json.loads(data)["tags"] or []
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise DataError(f"registry sent no list of tags for {reference.familiar_name}") from error
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise DataError(f"registry sent no list of tags for {reference.familiar_name}")
    return tags
