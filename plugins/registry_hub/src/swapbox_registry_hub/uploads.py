"""Blobs being sent (distribution-spec, "Pushing blobs"): mounted, or uploaded and gone on with.

An upload has an address of its own, which the registry gives and changes with each answer. It is kept while the
blob is not whole, so that the next call asks how much has arrived and sends the rest.
"""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import BinaryIO

import requests

from swapbox.descriptors import Descriptor
from swapbox.errors import DataError, PermissionDenied, Unavailable
from swapbox.references import Reference
from swapbox_registry_hub import refusals
from swapbox_registry_hub.transport import Transport
from swapbox_registry_hub.wire import drain, error_body, joined

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
_SMALL = 64 * 1024
"""Bytes that go with the request that ends an upload: one request less for configs and small layers."""
_OCTETS = {"Content-Type": "application/octet-stream"}

Key = tuple[str, str, str]


class Uploads:
    """Sends blobs; safe to use from several threads for different blobs.

    :param part: bytes that are sent in one request at most; None for all.
    """

    def __init__(self, transport: Transport, *, part: int | None) -> None:
        self._transport = transport
        self._part = part
        self._begun: dict[Key, str] = {}

    def has(self, reference: Reference, descriptor: Descriptor) -> bool:
        """Say whether a repository has a blob."""
        url = self._transport.url(reference, f"blobs/{descriptor.digest}")
        response = self._transport.request("HEAD", url, reference=reference, headers={}, pushing=True)
        drain(response)
        return response.ok

    def push(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_at: Callable[[int], BinaryIO],
        *,
        mount_from: Sequence[str],
        sent: Callable[[int], object],
    ) -> str | None:
        """Mount or send a blob; see :meth:`swapbox.drivers.registry.PushDriver.push_blob`."""
        key = (reference.host, reference.path, descriptor.digest)
        offset = self._arrived(reference, key)
        if offset is None:
            offset = 0
            for source in mount_from:
                if self._may_mount(reference, key, source):
                    return source
            if key not in self._begun:
                self._begin(reference, key)
        sender = _Sender(descriptor, open_at, sent)
        while descriptor.size - offset > _SMALL:
            offset = self._send_part(reference, key, sender, offset)
        self._finish(reference, key, sender, offset)
        return None

    def push_manifest(self, reference: Reference, descriptor: Descriptor, data: bytes) -> None:
        """Put a manifest or index under the reference's digest or tag."""
        url = self._transport.url(reference, f"manifests/{reference.digest or reference.tag or 'latest'}")
        headers = {"Content-Type": descriptor.media_type}
        response = self._request("PUT", url, reference, headers, data)
        said = error_body(response)
        if not response.ok:
            raise refusals.not_taken(reference, response.status_code, said)
        digest = response.headers.get("Docker-Content-Digest", descriptor.digest)
        if digest.partition(":")[0] == descriptor.digest.partition(":")[0] and digest != descriptor.digest:
            raise DataError(
                f"registry {reference.host} has {refusals.clean(digest)} instead of manifest {descriptor.digest}"
            )

    def _arrived(self, reference: Reference, key: Key) -> int | None:
        """Return how many bytes of a broken upload have arrived; None when there is none to go on with."""
        url = self._begun.get(key)
        if url is None:
            return None
        response = self._request("GET", url, reference)
        drain(response)
        if response.status_code != HTTPStatus.NO_CONTENT:
            del self._begun[key]
            return None
        arrived = self._noted(key, url, response)
        if arrived is None:  # it does not say: start again
            self._give_up(reference, key)
        return arrived

    def _may_mount(self, reference: Reference, key: Key, source: str) -> bool:
        """Ask for the blob of another repository; return whether it is there now."""
        with contextlib.suppress(PermissionDenied):
            return self._mounted(reference, key, source)
        return False  # the other repository is somebody else's

    def _mounted(self, reference: Reference, key: Key, source: str) -> bool:
        """Ask for the blob of another repository; when it is not there, an upload has begun instead."""
        if key in self._begun:
            self._give_up(reference, key)
        query = urllib.parse.urlencode({"mount": key[2], "from": source})
        url = self._transport.url(reference, f"blobs/uploads/?{query}")
        # With a token of its own, which is for both repositories and for no other thread.
        apart = self._transport.apart()
        response = apart.request("POST", url, reference=reference, headers={}, data=b"", pushing=True)
        drain(response)
        if response.status_code == HTTPStatus.ACCEPTED:
            self._noted(key, url, response)
        return response.status_code == HTTPStatus.CREATED

    def _give_up(self, reference: Reference, key: Key) -> None:
        """Cancel an upload; a registry that cannot do that forgets it in time."""
        try:
            self._request("DELETE", self._begun.pop(key), reference).close()
        except (Unavailable, PermissionDenied):
            return

    def _begin(self, reference: Reference, key: Key) -> None:
        url = self._transport.url(reference, "blobs/uploads/")
        response = self._request("POST", url, reference)
        said = error_body(response)
        if response.status_code != HTTPStatus.ACCEPTED:
            raise refusals.not_taken(reference, response.status_code, said)
        self._noted(key, url, response)

    def _send_part(self, reference: Reference, key: Key, sender: _Sender, offset: int) -> int:
        """Send the next part; return how many bytes have arrived in all."""
        count = min(sender.size - offset, self._part or sender.size)
        headers = {**_OCTETS, "Content-Range": f"{offset}-{offset + count - 1}"}
        url = self._begun[key]
        with contextlib.ExitStack() as opened:
            response = self._request(
                "PATCH", url, reference, headers, lambda: opened.enter_context(sender.body(offset, count))
            )
        said = error_body(response)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            del self._begun[key]
            raise Unavailable(f"registry {reference.host} has lost a part of blob {key[2]}")
        if not response.ok:
            self._lost(reference, key, response, said)
        arrived = self._noted(key, url, response)
        if arrived not in (None, offset + count):
            raise Unavailable(
                f"registry {reference.host} has {arrived} bytes of blob {key[2]} instead of {offset + count}"
            )
        return offset + count

    def _finish(self, reference: Reference, key: Key, sender: _Sender, offset: int) -> None:
        """Send what is left and say that this is all, and what its digest is."""
        url, count = self._begun[key], sender.size - offset
        headers = {**_OCTETS, **({"Content-Range": f"{offset}-{sender.size - 1}"} if count and offset else {})}
        query = urllib.parse.urlencode({"digest": key[2]})
        whole = f"{url}{'&' if urllib.parse.urlsplit(url).query else '?'}{query}"
        response = self._request("PUT", whole, reference, headers, lambda: sender.rest(offset))
        said = error_body(response)
        if response.status_code not in (HTTPStatus.CREATED, HTTPStatus.NO_CONTENT):
            self._lost(reference, key, response, said)
        del self._begun[key]

    def _lost(self, reference: Reference, key: Key, response: requests.Response, said: bytes) -> None:
        """Raise what an answer means that is no success: that there is no such upload, or a refusal."""
        del self._begun[key]
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise Unavailable(f"registry {reference.host} has lost blob {key[2]}: {refusals.detail(said)}")
        raise refusals.not_taken(reference, response.status_code, said)

    def _request(
        self,
        method: str,
        url: str,
        reference: Reference,
        headers: dict[str, str] | None = None,
        data: Callable[[], _Part | bytes] | bytes = b"",
    ) -> requests.Response:
        return self._transport.request(
            method, url, reference=reference, headers=headers or {}, data=data, pushing=True
        )

    def _noted(self, key: Key, url: str, response: requests.Response) -> int | None:
        """Note where an upload goes on, and return how many bytes have arrived if the registry says so."""
        location = response.headers.get("Location", "")
        self._begun[key] = _joined(url, location) if location else url
        match = _RANGE.fullmatch(response.headers.get("Range", ""))
        if match is None:
            return None
        # "0-0" is what registries say of an empty upload, too.
        return int(match[1]) + 1 if match[1] != "0" else 0


class _Sender:
    """The bytes of one blob.

    :param open_at: gives them from an offset on.
    :param sent: told how many bytes are sent.
    """

    def __init__(
        self, descriptor: Descriptor, open_at: Callable[[int], BinaryIO], sent: Callable[[int], object]
    ) -> None:
        self.size = descriptor.size
        self.digest = descriptor.digest
        self.sent = sent
        self._open_at = open_at

    def body(self, offset: int, count: int) -> _Part:
        """Return a part to be read by requests."""
        return _Part(self, self._open_at(offset), offset, count)

    def rest(self, offset: int) -> bytes:
        """Return everything from an offset on."""
        with self.body(offset, self.size - offset) as part:
            return b"".join(part)


class _Part:
    """Some bytes of a blob as a file whose length is known."""

    def __init__(self, sender: _Sender, file: BinaryIO, offset: int, count: int) -> None:
        self._sender = sender
        self._file = file
        self._offset = offset
        self._left = count

    def __len__(self) -> int:
        return self._left

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(_SMALL), b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        :raises DataError: the file is shorter than the blob.
        """
        self._sender.sent(self._offset)
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        if self._left and not data and size:
            raise DataError(f"blob {self._sender.digest} has {self._offset} bytes instead of {self._sender.size}")
        self._offset += len(data)
        self._left -= len(data)
        return data

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()


def _joined(url: str, location: str) -> str:
    """Return where an upload goes on: never in clear when it began encrypted, whatever a proxy has made of it."""
    there = joined(url, location, said="registry wants an upload at")
    before = urllib.parse.urlsplit(url)
    if before.scheme == "https" and there.scheme == "http":
        if there.hostname != before.hostname:
            raise DataError(f"registry wants an upload at {refusals.clean(location)}, in clear")
        there = there._replace(scheme="https", netloc=before.netloc)
    return there.geturl()
