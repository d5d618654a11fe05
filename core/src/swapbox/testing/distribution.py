"""The distribution-spec 1.1 as a contract of registries: pull, push, content discovery, content management.

The Go suite ``conformance`` of the specification has the same four parts. A registry's test file subclasses
:class:`DistributionContract`, overrides the fixture ``host``, and names in ``lacks`` what the registry cannot do.
"""

from __future__ import annotations

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import pytest

from swapbox.descriptors import (
    INDEXES,
    MANIFESTS,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    digest_of,
)

NOTHING = f"sha256:{'0' * 64}"
BLOB = bytes(range(256)) * 1024
OTHER = b"another blob"
_OCTETS = "application/octet-stream"


class Reply(NamedTuple):
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error in the body."""
        code: str = self.json["errors"][0]["code"]
        return code


class Client:
    """One connection to a registry.

    :param host: ``host:port``.
    """

    def __init__(self, host: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=30)
        self._host = host

    def __call__(self, method: str, path: str, body: Any = None, /, **headers: str) -> Reply:
        """Send a request; ``_`` in the names of headers stands for ``-``. An iterable is sent in chunks."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "GET" and "/manifests/" in path:
            sent.setdefault("Accept", ", ".join(sorted(INDEXES | MANIFESTS)))
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = b""
        path = path.removeprefix(f"http://{self._host}")
        self._connection.request(method, path, body=body, headers=sent, encode_chunked=not isinstance(body, bytes))
        answer = self._connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, answer.read())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def begin(self, repository: str = "demo/app") -> str:
        """Begin an upload and return its address."""
        reply = self("POST", f"/v2/{repository}/blobs/uploads/")
        assert reply.status == 202
        return reply.headers["location"]

    def blob(self, data: bytes, repository: str = "demo/app") -> str:
        """Push a blob and return its digest."""
        digest = digest_of(data)
        reply = self("PUT", ending(self.begin(repository), digest), data, Content_Type=_OCTETS)
        assert reply.status == 201
        return digest

    def image(self, tag: str, *, repository: str = "demo/app", **more: Any) -> bytes:
        """Push an image of one layer and return its manifest."""
        config, layer = b'{"architecture":"amd64","os":"linux"}', b"layer of " + tag.encode()
        blobs = [(OCI_CONFIG, config), (OCI_LAYER, layer)]
        entries = [Descriptor(kind, self.blob(data, repository), len(data)).to_json() for kind, data in blobs]
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entries[0], "layers": entries[1:]}
        data = json.dumps({**manifest, **more}).encode()
        reply = self("PUT", f"/v2/{repository}/manifests/{tag}", data, Content_Type=OCI_MANIFEST)
        assert reply.status == 201, reply
        return data


def ending(location: str, digest: str) -> str:
    """Return the address that ends an upload."""
    separator = "&" if urllib.parse.urlsplit(location).query else "?"
    return f"{location}{separator}{urllib.parse.urlencode({'digest': digest})}"


class DistributionContract:
    """What every registry promises.

    Debian's ``docker-registry`` 2.8 passes it without these three, but for ranges behind the end (it answers 200),
    chunks out of order (it takes them) and tags in order and pages (it has neither).

    :cvar lacks: of ``delete tags``, ``referrers``, ``single post``.
    """

    lacks: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def host(self) -> Iterator[str]:
        """Give ``host:port`` of an empty registry; to be overridden."""
        raise NotImplementedError("override the fixture 'host'")

    @pytest.fixture
    def client(self, host: str) -> Iterator[Client]:
        """Give a connection to it."""
        client = Client(host)
        yield client
        client.close()

    def _needs(self, what: str) -> None:
        if what in self.lacks:
            pytest.skip(f"the registry has no {what}")

    # -- pull ---------------------------------------------------------------------------------------------------

    def test_it_says_that_it_is_a_registry(self, client: Client) -> None:
        assert client("GET", "/v2/").status == 200

    def test_a_blob_is_pulled_and_looked_for(self, client: Client) -> None:
        path = f"/v2/demo/app/blobs/{client.blob(BLOB)}"
        head, got = client("HEAD", path), client("GET", path)
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(BLOB)), b"")
        assert (got.status, got.body) == (200, BLOB)
        assert got.headers["docker-content-digest"] == digest_of(BLOB)

    def test_a_blob_that_is_not_there_is_unknown(self, client: Client) -> None:
        client.image("1")
        reply = client("GET", f"/v2/demo/app/blobs/{NOTHING}")
        assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN")
        assert client("HEAD", f"/v2/demo/app/blobs/{NOTHING}").status == 404

    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [("bytes=0-0", 0, 0), ("bytes=1000-1999", 1000, 1999), ("bytes=262000-", 262000, 262143)],
    )
    def test_a_part_of_a_blob_is_pulled(self, client: Client, asked: str, first: int, last: int) -> None:
        reply = client("GET", f"/v2/demo/app/blobs/{client.blob(BLOB)}", Range=asked)
        assert (reply.status, reply.body) == (206, BLOB[first : last + 1])
        assert reply.headers["content-range"] == f"bytes {first}-{last}/{len(BLOB)}"

    def test_a_part_behind_the_end_cannot_be_pulled(self, client: Client) -> None:
        reply = client("GET", f"/v2/demo/app/blobs/{client.blob(BLOB)}", Range=f"bytes={len(BLOB)}-")
        assert reply.status == 416

    def test_a_manifest_is_pulled_by_tag_and_by_digest(self, client: Client) -> None:
        data = client.image("1.0")
        for name in ("1.0", digest_of(data)):
            path = f"/v2/demo/app/manifests/{name}"
            head, got = client("HEAD", path, Accept=OCI_MANIFEST), client("GET", path)
            assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")
            assert (got.status, got.body) == (200, data)
            assert got.headers["content-type"] == OCI_MANIFEST
            assert got.headers["docker-content-digest"] == digest_of(data)

    @pytest.mark.parametrize("name", ["nosuch", NOTHING])
    def test_a_manifest_that_is_not_there_is_unknown(self, client: Client, name: str) -> None:
        client.image("1")
        reply = client("GET", f"/v2/demo/app/manifests/{name}")
        assert (reply.status, reply.code) == (404, "MANIFEST_UNKNOWN")
        assert client("HEAD", f"/v2/demo/app/manifests/{name}").status == 404

    # -- push ---------------------------------------------------------------------------------------------------

    def test_a_blob_is_pushed_with_one_post(self, client: Client) -> None:
        self._needs("single post")
        path = ending("/v2/demo/app/blobs/uploads/", digest_of(OTHER))
        reply = client("POST", path, OTHER, Content_Type=_OCTETS)
        assert reply.status in (201, 202)
        assert reply.headers["location"]
        if reply.status == 202:
            reply = client("PUT", ending(reply.headers["location"], digest_of(OTHER)), OTHER, Content_Type=_OCTETS)
        assert client("GET", reply.headers["location"]).body == OTHER

    def test_a_blob_is_pushed_with_post_and_put(self, client: Client) -> None:
        reply = client("PUT", ending(client.begin(), digest_of(OTHER)), OTHER, Content_Type=_OCTETS)
        assert reply.status == 201
        assert client("GET", reply.headers["location"]).body == OTHER

    def test_a_blob_is_pushed_in_chunks_and_asked_how_far_it_is(self, client: Client) -> None:
        where, half = client.begin(), len(BLOB) // 2
        reply = client("PATCH", where, BLOB[:half], Content_Type=_OCTETS, Content_Range=f"0-{half - 1}")
        assert (reply.status, reply.headers["range"]) == (202, f"0-{half - 1}")
        asked = client("GET", reply.headers["location"])
        assert (asked.status, asked.headers["range"]) == (204, f"0-{half - 1}")
        where = asked.headers.get("location", reply.headers["location"])
        rest = client("PATCH", where, BLOB[half:], Content_Type=_OCTETS, Content_Range=f"{half}-{len(BLOB) - 1}")
        assert (rest.status, rest.headers["range"]) == (202, f"0-{len(BLOB) - 1}")
        done = client("PUT", ending(rest.headers["location"], digest_of(BLOB)))
        assert done.status == 201
        assert client("GET", done.headers["location"]).body == BLOB

    def test_the_last_chunk_may_end_the_upload(self, client: Client) -> None:
        reply = client("PATCH", client.begin(), BLOB[:1000], Content_Type=_OCTETS, Content_Range="0-999")
        done = client(
            "PUT",
            ending(reply.headers["location"], digest_of(BLOB)),
            BLOB[1000:],
            Content_Type=_OCTETS,
            Content_Range=f"1000-{len(BLOB) - 1}",
        )
        assert done.status == 201

    def test_a_chunk_of_unknown_length_is_taken(self, client: Client) -> None:
        """Docker sends layers like this."""
        parts = iter([BLOB[:70_000], BLOB[70_000:]])
        reply = client("PATCH", client.begin(), parts, Content_Type=_OCTETS, Transfer_Encoding="chunked")
        assert (reply.status, reply.headers["range"]) == (202, f"0-{len(BLOB) - 1}")
        assert client("PUT", ending(reply.headers["location"], digest_of(BLOB))).status == 201

    def test_a_chunk_out_of_order_is_refused(self, client: Client) -> None:
        first = client("PATCH", client.begin(), BLOB[:1000], Content_Type=_OCTETS, Content_Range="0-999")
        where = first.headers["location"]
        reply = client("PATCH", where, BLOB[2000:3000], Content_Type=_OCTETS, Content_Range="2000-2999")
        assert reply.status == 416

    @pytest.mark.parametrize("sent", [OTHER + b"!", OTHER[:-1], b""])
    def test_a_blob_that_is_not_what_its_digest_says_is_refused(self, client: Client, sent: bytes) -> None:
        reply = client("PUT", ending(client.begin(), digest_of(OTHER)), sent, Content_Type=_OCTETS)
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
        assert client("HEAD", f"/v2/demo/app/blobs/{digest_of(OTHER)}").status == 404

    def test_an_upload_is_cancelled(self, client: Client) -> None:
        where = client.begin()
        assert client("DELETE", where).status == 204
        reply = client("GET", where)
        assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN")

    def test_a_blob_of_another_repository_is_mounted(self, client: Client) -> None:
        digest = client.blob(OTHER, "demo/first")
        assert client("HEAD", f"/v2/demo/second/blobs/{digest}").status == 404
        reply = client("POST", f"/v2/demo/second/blobs/uploads/?mount={digest}&from=demo/first")
        assert reply.status == 201
        assert client("GET", reply.headers["location"]).body == OTHER

    def test_a_mount_of_what_is_not_there_begins_an_upload(self, client: Client) -> None:
        client.blob(OTHER, "demo/first")
        reply = client("POST", f"/v2/demo/second/blobs/uploads/?mount={NOTHING}&from=demo/first")
        assert reply.status == 202
        assert client("PUT", ending(reply.headers["location"], digest_of(OTHER)), OTHER).status == 201

    def test_a_manifest_is_pushed_by_digest(self, client: Client) -> None:
        data = client.image("1") + b" "
        path = f"/v2/demo/app/manifests/{digest_of(data)}"
        reply = client("PUT", path, data, Content_Type=OCI_MANIFEST)
        assert reply.status == 201
        assert client("GET", reply.headers["location"]).body == data
        assert client("GET", "/v2/demo/app/tags/list").json["tags"] == ["1"]

    @pytest.mark.parametrize("end", ["put", "chunks", "post"])
    def test_a_blob_may_have_a_sha512_digest(self, client: Client, end: str) -> None:
        digest = digest_of(BLOB, "sha512")
        if end == "post":
            self._needs("single post")
            reply = client("POST", f"/v2/demo/app/blobs/uploads/?digest={digest}", BLOB, Content_Type=_OCTETS)
        else:
            location, rest = client.begin(), BLOB
            if end == "chunks":
                location = client("PATCH", location, BLOB, Content_Type=_OCTETS).headers["location"]
                rest = b""
            reply = client("PUT", ending(location, digest), rest, Content_Type=_OCTETS)
        assert reply.status == 201
        assert client("GET", f"/v2/demo/app/blobs/{digest}").body == BLOB
        assert client("PUT", ending(client.begin(), digest), OTHER, Content_Type=_OCTETS).status == 400

    def test_a_manifest_with_a_sha512_digest_is_pushed_and_refers(self, client: Client) -> None:
        self._needs("referrers")
        data = json.loads(client.image("1"))
        data["subject"] = Descriptor(OCI_MANIFEST, digest_of(b"x", "sha512"), 1).to_json()
        pushed = json.dumps(data).encode()
        digest = digest_of(pushed, "sha512")
        reply = client("PUT", f"/v2/demo/app/manifests/{digest}", pushed, Content_Type=OCI_MANIFEST)
        assert (reply.status, reply.headers["docker-content-digest"]) == (201, digest)
        assert client("HEAD", f"/v2/demo/app/manifests/{digest}").headers["docker-content-digest"] == digest
        (entry,) = client("GET", f"/v2/demo/app/referrers/{data['subject']['digest']}").json["manifests"]
        assert (entry["digest"], entry["size"]) == (digest, len(pushed))

    def test_a_manifest_of_another_digest_is_refused(self, client: Client) -> None:
        data = client.image("1")
        reply = client("PUT", f"/v2/demo/app/manifests/{NOTHING}", data, Content_Type=OCI_MANIFEST)
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")

    def test_a_manifest_whose_blobs_are_not_there_is_refused(self, client: Client) -> None:
        data = json.loads(client.image("1"))
        data["layers"][0]["digest"] = NOTHING
        reply = client("PUT", "/v2/demo/app/manifests/2", json.dumps(data).encode(), Content_Type=OCI_MANIFEST)
        assert (reply.status, reply.code) in ((404, "MANIFEST_BLOB_UNKNOWN"), (400, "MANIFEST_BLOB_UNKNOWN"))
        assert client("GET", "/v2/demo/app/tags/list").json["tags"] == ["1"]

    @pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"schemaVersion": 2, "layers": 1}'])
    def test_what_is_no_manifest_is_refused(self, client: Client, data: bytes) -> None:
        reply = client("PUT", "/v2/demo/app/manifests/1", data, Content_Type=OCI_MANIFEST)
        assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")

    def test_an_index_is_pushed_after_what_it_names(self, client: Client) -> None:
        image = client.image("1")
        entry = Descriptor(OCI_MANIFEST, digest_of(image), len(image)).to_json()
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
        assert client("PUT", "/v2/demo/app/manifests/all", index, Content_Type=OCI_INDEX).status == 201
        reply = client("GET", "/v2/demo/app/manifests/all", Accept=OCI_INDEX)
        assert (reply.body, reply.headers["content-type"]) == (index, OCI_INDEX)

    def test_a_tag_moves(self, client: Client) -> None:
        client.image("1")
        moved = client.image("2")
        assert client("PUT", "/v2/demo/app/manifests/1", moved, Content_Type=OCI_MANIFEST).status == 201
        assert client("GET", "/v2/demo/app/manifests/1").body == moved

    # -- discovery ----------------------------------------------------------------------------------------------

    def test_tags_are_listed_in_order_and_in_pages(self, client: Client) -> None:
        data = client.image("b")
        for tag in ("d", "a", "c"):
            client("PUT", f"/v2/demo/app/manifests/{tag}", data, Content_Type=OCI_MANIFEST)
        assert client("GET", "/v2/demo/app/tags/list").json == {"name": "demo/app", "tags": ["a", "b", "c", "d"]}
        page = client("GET", "/v2/demo/app/tags/list?n=3")
        assert page.json["tags"] == ["a", "b", "c"]
        link = page.headers["link"]
        assert link.endswith('; rel="next"')
        rest = client("GET", link.partition("<")[2].partition(">")[0])
        assert (rest.json["tags"], "link" in rest.headers) == (["d"], False)
        assert client("GET", "/v2/demo/app/tags/list?n=2&last=b").json["tags"] == ["c", "d"]

    def test_tags_of_an_unknown_repository(self, client: Client) -> None:
        reply = client("GET", "/v2/demo/nothing/tags/list")
        assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")

    def test_repositories_are_listed_in_pages(self, client: Client) -> None:
        for name in ("demo/b", "demo/a", "other"):
            client.image("1", repository=name)
        assert client("GET", "/v2/_catalog").json["repositories"] == ["demo/a", "demo/b", "other"]
        page = client("GET", "/v2/_catalog?n=2")
        assert (page.json["repositories"], "link" in page.headers) == (["demo/a", "demo/b"], True)
        assert client("GET", "/v2/_catalog?n=2&last=demo/b").json["repositories"] == ["other"]

    def test_what_refers_to_a_manifest_is_listed(self, client: Client) -> None:
        self._needs("referrers")
        image = client.image("1")
        subject = Descriptor(OCI_MANIFEST, digest_of(image), len(image)).to_json()
        kinds = {"sig": "application/x-signature", "sbom": "application/x-sbom"}
        pushed = {
            kind: client.image(tag, subject=subject, artifactType=kind, annotations={"by": tag})
            for tag, kind in kinds.items()
        }
        reply = client("GET", f"/v2/demo/app/referrers/{digest_of(image)}")
        assert (reply.status, reply.headers["content-type"]) == (200, OCI_INDEX)
        found = {entry["artifactType"]: entry["digest"] for entry in reply.json["manifests"]}
        assert found == {kind: digest_of(data) for kind, data in pushed.items()}
        one = client("GET", f"/v2/demo/app/referrers/{digest_of(image)}?artifactType={kinds['sbom']}")
        assert one.headers["oci-filters-applied"] == "artifactType"
        assert [entry["annotations"] for entry in one.json["manifests"]] == [{"by": "sbom"}]

    def test_what_nothing_refers_to_has_an_empty_list(self, client: Client) -> None:
        self._needs("referrers")
        reply = client("GET", f"/v2/demo/app/referrers/{NOTHING}")
        assert (reply.status, reply.json["manifests"]) == (200, [])

    def test_a_push_says_that_its_subject_was_seen(self, client: Client) -> None:
        self._needs("referrers")
        data = json.loads(client.image("1"))
        data["subject"] = Descriptor(OCI_MANIFEST, NOTHING, 1).to_json()
        reply = client("PUT", "/v2/demo/app/manifests/sig", json.dumps(data).encode(), Content_Type=OCI_MANIFEST)
        assert (reply.status, reply.headers["oci-subject"]) == (201, NOTHING)

    # -- management ---------------------------------------------------------------------------------------------

    def test_a_manifest_is_deleted_with_its_tags(self, client: Client) -> None:
        data = client.image("1")
        kept = client.image("2")
        assert client("DELETE", f"/v2/demo/app/manifests/{digest_of(data)}").status == 202
        for name in ("1", digest_of(data)):
            assert client("GET", f"/v2/demo/app/manifests/{name}").status == 404
        assert client("GET", "/v2/demo/app/manifests/2").body == kept
        assert client("GET", "/v2/demo/app/tags/list").json["tags"] == ["2"]

    def test_a_tag_is_deleted_alone(self, client: Client) -> None:
        self._needs("delete tags")
        data = client.image("1")
        assert client("DELETE", "/v2/demo/app/manifests/1").status == 202
        assert client("GET", "/v2/demo/app/manifests/1").status == 404
        assert client("GET", f"/v2/demo/app/manifests/{digest_of(data)}").body == data

    def test_a_blob_is_deleted_from_its_repository_alone(self, client: Client) -> None:
        digest = client.blob(OTHER, "demo/first")
        client.blob(OTHER, "demo/second")
        assert client("DELETE", f"/v2/demo/first/blobs/{digest}").status == 202
        assert client("GET", f"/v2/demo/first/blobs/{digest}").status == 404
        assert client("GET", f"/v2/demo/second/blobs/{digest}").body == OTHER

    @pytest.mark.parametrize("path", [f"manifests/{NOTHING}", f"blobs/{NOTHING}"])
    def test_what_is_not_there_cannot_be_deleted(self, client: Client, path: str) -> None:
        client.image("1")
        assert client("DELETE", f"/v2/demo/app/{path}").status == 404
