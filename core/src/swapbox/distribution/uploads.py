"""Uploads of blobs (distribution-spec, "Pushing blobs"): mounted, in one piece, or in chunks.

An upload lives in this process: when the server ends, clients begin anew. A client whose connection broke may come
back before the server has noticed: the request that comes last ends the one that still waits for bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import socket
import threading
from http import HTTPStatus

from swapbox.distribution import refusals
from swapbox.distribution.documents import is_digest, is_repository
from swapbox.distribution.messages import Answer, Call
from swapbox.distribution.refusals import Refusal
from swapbox.distribution.store import Incoming, Store

_RANGE = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_PATIENCE = 10.0
"""Seconds until an older request for the same upload has ended."""

_MOST = 500
"""Uploads that have begun and not ended; each holds a file open."""


class Upload:
    """One upload.

    :ivar busy: held by the request that writes.
    :ivar connection: what that request came by.
    """

    def __init__(self, repository: str, incoming: Incoming) -> None:
        self.id = secrets.token_hex(16)
        self.repository = repository
        self.incoming = incoming
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.busy = threading.Lock()
        self.connection: socket.socket | None = None

    def take(self, call: Call) -> None:
        """Append the body of a request.

        :raises Refusal: it does not follow what is there, or is not as long as it says.
        """
        start = self.size
        if given := _RANGE.fullmatch(call.headers.get("content-range", "")):
            first, last = int(given[1]), int(given[2])
            if first != self.size:
                raise Refusal(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                    "BLOB_UPLOAD_INVALID",
                    "out of order",
                    self.headers(),
                )
            if call.body.length not in (None, last - first + 1):
                raise Refusal(HTTPStatus.BAD_REQUEST, "SIZE_INVALID", "Content-Range is not Content-Length")
        for data in call.body.chunks():
            self.incoming.write(data)
            self.sha256.update(data)
            self.size += len(data)
        if given and self.size - start != last - first + 1:
            raise Refusal(HTTPStatus.BAD_REQUEST, "SIZE_INVALID", "another length than Content-Range says")

    def headers(self) -> dict[str, str]:
        """Return where it goes on, and how far it is."""
        return {
            "Location": f"/v2/{self.repository}/blobs/uploads/{self.id}",
            "Range": f"0-{max(self.size - 1, 0)}",
            "Docker-Upload-UUID": self.id,
        }


class Uploads:
    """The uploads of a server; safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._uploads: dict[str, Upload] = {}

    def close(self) -> None:
        """Forget them all."""
        while self._uploads:
            _, upload = self._uploads.popitem()
            upload.incoming.drop()

    def answer(self, repository: str, name: str, call: Call) -> Answer:
        """Answer a request for ``/v2/<repository>/blobs/uploads/<id>``."""
        identity = name.removeprefix("uploads/")
        if call.method == "POST" and not identity:
            return self._begin(repository, call)
        upload = self._uploads.get(identity)
        if upload is None or upload.repository != repository:
            raise refusals.upload_unknown()
        if call.method in ("GET", "HEAD"):
            return Answer(HTTPStatus.NO_CONTENT, upload.headers())
        self._seize(upload, call)
        try:
            return self._written(upload, call)
        finally:
            upload.connection = None
            upload.busy.release()

    def _written(self, upload: Upload, call: Call) -> Answer:
        if upload.id not in self._uploads:
            raise refusals.upload_unknown()
        if call.method == "DELETE":
            self._drop(upload)
            return Answer(HTTPStatus.NO_CONTENT)
        if call.method == "PATCH":
            upload.take(call)
            return Answer(HTTPStatus.ACCEPTED, upload.headers())
        if call.method != "PUT":
            raise refusals.unsupported("an upload is patched and put")
        digest = _digest(call)
        upload.take(call)
        return self._finish(upload, digest)

    def _begin(self, repository: str, call: Call) -> Answer:
        """Mount a blob, or begin an upload, which a body and a digest end at once."""
        mount, source = call.query.get("mount", ""), call.query.get("from", "")
        if is_digest(mount) and is_repository(source) and self._store.mount(repository, mount, source):
            return _created(repository, mount)
        whole = _digest(call) if "digest" in call.query else ""
        upload = Upload(repository, self._store.receive())
        self._make_room()
        self._uploads[upload.id] = upload
        if not whole:
            return Answer(HTTPStatus.ACCEPTED, upload.headers())
        try:
            upload.take(call)
            return self._finish(upload, whole)
        finally:
            self._drop(upload)

    def _make_room(self) -> None:
        """Drop the oldest uploads that nobody writes, should there be too many that clients forgot."""
        for upload in list(self._uploads.values())[: max(len(self._uploads) - _MOST + 1, 0)]:
            if upload.busy.acquire(blocking=False):
                self._drop(upload)
                upload.busy.release()

    def _seize(self, upload: Upload, call: Call) -> None:
        """Become the only one who writes; an older request for the same upload is broken off."""
        if not upload.busy.acquire(blocking=False):
            older = upload.connection
            if older is not None:
                with contextlib.suppress(OSError):
                    older.shutdown(socket.SHUT_RD)
            if not upload.busy.acquire(timeout=_PATIENCE):
                raise Refusal(HTTPStatus.CONFLICT, "BLOB_UPLOAD_INVALID", "another request writes this upload")
        upload.connection = call.connection

    def _finish(self, upload: Upload, digest: str) -> Answer:
        """Make a blob of it, or drop it when its digest is another."""
        algorithm, _, value = digest.partition(":")
        known = upload.sha256.hexdigest() if algorithm == "sha256" else upload.incoming.hash(algorithm)
        if known != value:
            self._drop(upload)
            raise refusals.digest_invalid()
        upload.incoming.keep(upload.repository, digest)
        self._drop(upload)
        return _created(upload.repository, digest)

    def _drop(self, upload: Upload) -> None:
        self._uploads.pop(upload.id, None)
        upload.incoming.drop()


def _digest(call: Call) -> str:
    digest = call.query.get("digest", "")
    if not is_digest(digest):
        raise Refusal(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "invalid digest")
    return digest


def _created(repository: str, digest: str) -> Answer:
    return Answer(
        HTTPStatus.CREATED,
        {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest},
    )
