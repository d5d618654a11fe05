"""The distribution-spec 1.1 over a store: pull, push, content discovery, content management."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Sequence
from http import HTTPStatus

from swapbox.descriptors import OCI_INDEX, digest_of
from swapbox.distribution import refusals
from swapbox.distribution.documents import described, is_digest, is_repository, is_tag, read_manifest
from swapbox.distribution.messages import Answer, Call
from swapbox.distribution.refusals import Refusal
from swapbox.distribution.store import Source, Store
from swapbox.distribution.uploads import Uploads

_ROUTE = re.compile(r"/v2/(.+)/(manifests|blobs|tags|referrers)/([^/]+|uploads/[^/]*)")
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
_READING = ("GET", "HEAD")


def repository_of(path: str) -> str:
    """Return the repository that a request's path is about; empty when it is about none."""
    route = _ROUTE.fullmatch(path)
    return route[1] if route else ""


class Api:
    """Answers requests; safe to use from several threads.

    :param writable: takes pushes and deletions.
    :ivar page: entries of a list at most.
    """

    def __init__(self, store: Store, *, writable: bool = True) -> None:
        self.page = 1000
        self._store = store
        self._writable = writable
        self._uploads = Uploads(store)

    def close(self) -> None:
        """Forget uploads that have not ended."""
        self._uploads.close()

    def answer(self, path: str, call: Call) -> Answer:
        """Answer a request.

        :param path: without its query, unquoted.
        :raises Refusal: with an error.
        """
        if path in ("/v2/", "/v2"):
            return Answer(HTTPStatus.OK, _VERSION, b"{}")
        if path == "/v2/_catalog" and call.method in _READING:
            return self._listing(call, "repositories", self._store.repositories(), "/v2/_catalog", {})
        route = _ROUTE.fullmatch(path)
        if route is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "UNSUPPORTED", "page not found")
        repository, kind, name = route.groups()
        if not is_repository(repository):
            raise Refusal(HTTPStatus.BAD_REQUEST, "NAME_INVALID", "invalid repository name")
        if call.method not in _READING and not self._writable:
            raise refusals.unsupported("this registry is read-only")
        return self._routed(kind, name)(repository, name, call)

    def _routed(self, kind: str, name: str) -> Callable[[str, str, Call], Answer]:
        if kind == "blobs":
            return self._uploads.answer if name.startswith("uploads/") else self._blob
        return {"manifests": self._manifest, "tags": self._tags, "referrers": self._referrers}[kind]

    # -- manifests ----------------------------------------------------------------------------------------------

    def _manifest(self, repository: str, name: str, call: Call) -> Answer:
        if ":" in name:
            _check_digest(name)
        elif not is_tag(name):
            raise (
                refusals.manifest_unknown()
                if call.method in _READING
                else refusals.manifest_invalid("invalid tag")
            )
        if call.method == "PUT":
            return self._put_manifest(repository, name, call)
        if call.method == "DELETE":
            if not self._store.delete_manifest(repository, name):
                raise refusals.manifest_unknown()
            return Answer(HTTPStatus.ACCEPTED)
        if call.method not in _READING:
            raise refusals.unsupported("a manifest is put")
        manifest = self._store.manifest(repository, name)
        if manifest is None:
            raise refusals.manifest_unknown()
        digest = digest_of(manifest.data, name.partition(":")[0] if ":" in name else "sha256")
        headers = {
            "Content-Type": manifest.media_type,
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
        }
        return Answer(HTTPStatus.OK, headers, manifest.data)

    def _put_manifest(self, repository: str, name: str, call: Call) -> Answer:
        pushed = read_manifest(call)
        digest = digest_of(pushed.manifest.data, name.partition(":")[0] if ":" in name else "sha256")
        if ":" in name and digest != name:
            raise refusals.digest_invalid()
        missing = [blob for blob in pushed.blobs if self._store.blob(repository, blob) is None]
        missing += [one for one in pushed.manifests if self._store.manifest(repository, one) is None]
        if missing:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {missing[0]}"
            )
        self._store.put_manifest(repository, name, digest, pushed.manifest, subject=pushed.subject)
        headers = {"Location": f"/v2/{repository}/manifests/{digest}", "Docker-Content-Digest": digest}
        return Answer(HTTPStatus.CREATED, headers | ({"OCI-Subject": pushed.subject} if pushed.subject else {}))

    # -- blobs --------------------------------------------------------------------------------------------------

    def _blob(self, repository: str, digest: str, call: Call) -> Answer:
        _check_digest(digest)
        if call.method == "DELETE":
            if not self._store.delete_blob(repository, digest):
                raise refusals.blob_unknown()
            return Answer(HTTPStatus.ACCEPTED)
        if call.method not in _READING:
            raise refusals.unsupported("a blob is uploaded")
        source = self._store.blob(repository, digest)
        if source is None:
            raise refusals.blob_unknown()
        return part_of(source, digest, call)

    # -- lists --------------------------------------------------------------------------------------------------

    def _tags(self, repository: str, name: str, call: Call) -> Answer:
        if name != "list" or call.method not in _READING:
            raise refusals.unsupported("tags are listed")
        tags = self._store.tags(repository)
        if tags is None:
            raise refusals.name_unknown()
        return self._listing(call, "tags", tags, f"/v2/{repository}/tags/list", {"name": repository})

    def _listing(self, call: Call, key: str, names: Sequence[str], path: str, more: dict[str, str]) -> Answer:
        """Answer a page of a list, and where the next one is."""
        asked = call.query.get("n", str(self.page))
        if not asked.isdecimal() or len(asked) > 18:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "invalid number of results requested"
            )
        left = [name for name in names if name > call.query.get("last", "")]
        shown = left[: min(int(asked), self.page)]
        headers = {}
        if shown and len(left) > len(shown):
            query = urllib.parse.urlencode({"last": shown[-1], "n": asked})
            headers["Link"] = f'<{path}?{query}>; rel="next"'
        return Answer(HTTPStatus.OK, headers, json.dumps({**more, key: shown}).encode())

    def _referrers(self, repository: str, digest: str, call: Call) -> Answer:
        _check_digest(digest)
        if call.method not in _READING:
            raise refusals.unsupported("referrers are listed")
        entries = [described(*found) for found in self._store.referrers(repository, digest).items()]
        headers = {"Content-Type": OCI_INDEX}
        if wanted := call.query.get("artifactType"):
            entries = [entry for entry in entries if entry.get("artifactType") == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return Answer(HTTPStatus.OK, headers, json.dumps(index).encode())


def _check_digest(digest: str) -> None:
    if not is_digest(digest):
        raise Refusal(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "invalid digest")


def part_of(source: Source, digest: str, call: Call) -> Answer:
    """Answer a blob, or the one range of it that is asked for (RFC 9110 section 14)."""
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
    except FileNotFoundError:  # deleted just now
        raise refusals.blob_unknown() from None
    etag = f'"{digest}"'
    headers = {
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "ETag": etag,
        "Accept-Ranges": "bytes",
    }
    asked = _RANGE.fullmatch(call.headers.get("range", ""))
    if asked is None or asked[0] == "bytes=-" or call.headers.get("if-range", etag) != etag:
        return Answer(HTTPStatus.OK, headers, blob=source, length=size)
    first, last = asked.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or end < start:
        raise Refusal(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "RANGE_INVALID",
            "range cannot be satisfied",
            {"Content-Range": f"bytes */{size}"},
        )
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Answer(HTTPStatus.PARTIAL_CONTENT, headers, blob=source, start=start, length=end - start + 1)
