"""The registry of ``registry serve``: the distribution-spec, hostile clients, crashes."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.cli.registry import _print_request
from swapbox.descriptors import OCI_MANIFEST, digest_of
from swapbox.distribution.directory import MARKER, DirectoryStore
from swapbox.distribution.faults import Faults, Often
from swapbox.distribution.messages import Request
from swapbox.distribution.server import Server
from swapbox.errors import Conflict, SwapboxError
from swapbox.testing.distribution import BLOB, NOTHING, OTHER, Client, DistributionContract, ending
from swapbox.testing.registry_server import RegistryServer


class TestDirectory(DistributionContract):
    @pytest.fixture
    def host(self, tmp_path: Path) -> Iterator[str]:
        with DirectoryStore(tmp_path) as store, Server(store) as server:
            yield server.host


class TestMemory(DistributionContract):
    @pytest.fixture
    def host(self) -> Iterator[str]:
        with RegistryServer() as server:
            yield server.host


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    with DirectoryStore(tmp_path / "registry") as store, Server(store) as server:
        yield server


@pytest.fixture
def client(served: Server) -> Iterator[Client]:
    client = Client(served.host)
    yield client
    client.close()


def _connected(server: Server) -> socket.socket:
    host, _, port = server.host.partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


# -- hostile clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "demo/../../etc",
        "%2e%2e/%2e%2e/etc",
        "demo%2F..%2F..",
        "/etc",
        "demo//app",
        "_tags",
        "demo/_blobs",
        ".hidden",
        "UPPER",
        "a" * 256,
        "nul%00byte",
        "new%0Aline",
    ],
)
def test_a_name_that_is_none_leads_nowhere(client: Client, served: Server, tmp_path: Path, name: str) -> None:
    before = files(tmp_path)
    for method, path in (
        ("GET", f"/v2/{name}/manifests/latest"),
        ("PUT", f"/v2/{name}/manifests/latest"),
        ("POST", f"/v2/{name}/blobs/uploads/"),
        ("DELETE", f"/v2/{name}/blobs/{NOTHING}"),
        ("GET", f"/v2/{name}/tags/list"),
    ):
        assert client(method, path).status in (400, 404)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["..", ".hidden", "%2e%2e%2f_blobs", "a" * 129, "-x", "x%00", "sha256:short"])
def test_a_tag_or_digest_that_is_none_leads_nowhere(client: Client, tmp_path: Path, name: str) -> None:
    image = client.image("1")
    before = files(tmp_path)
    assert client("GET", f"/v2/demo/app/manifests/{name}").status in (400, 404)
    assert client("PUT", f"/v2/demo/app/manifests/{name}", image, Content_Type=OCI_MANIFEST).status in (400, 404)
    assert client("DELETE", f"/v2/demo/app/blobs/{name}").status in (400, 404)
    assert client("POST", f"/v2/demo/app/blobs/uploads/?mount={name}&from=../x").status == 202
    assert files(tmp_path) - before == {str(path) for path in files(tmp_path) - before if "/uploads/" in path}


def test_a_manifest_that_is_too_long_is_refused(client: Client) -> None:
    reply = client("PUT", "/v2/demo/app/manifests/1", b" " * (4 * 1024 * 1024 + 1), Content_Type=OCI_MANIFEST)
    assert (reply.status, reply.code) == (413, "SIZE_INVALID")
    assert client("GET", "/v2/").status == 200  # the connection is still good


@pytest.mark.parametrize(
    "text",
    [
        b"PATCH %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"PATCH %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        b"PATCH %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 5000,
        b"PATCH %s HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"PATCH %s HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
    ],
)
def test_a_body_that_is_none_ends_the_connection(served: Server, client: Client, text: bytes) -> None:
    where = client.begin()
    with _connected(served) as raw:
        raw.sendall(text % where.encode())
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(100) == b""
    assert client("PUT", ending(where, digest_of(OTHER)), OTHER).status in (201, 400)


def test_a_target_that_is_no_address_is_refused(served: Server, capfd: pytest.CaptureFixture[str]) -> None:
    with _connected(served) as raw:
        for target, status in (("http://[x", 400), ("/v2/", 200)):  # the connection is still good
            raw.sendall(f"GET {target} HTTP/1.1\r\n\r\n".encode())
            answer = http.client.HTTPResponse(raw)
            answer.begin()
            answer.read()
            assert answer.status == status
    assert capfd.readouterr() == ("", "")


def test_what_a_client_sends_cannot_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _print_request(Request("\x1b[2JGET", "/v2/\x9b31m\r", {}), 404)
    assert capsys.readouterr().out == "404 ?[2JGET /v2/?31m?\n"


def test_bad_pages_are_refused(client: Client) -> None:
    client.image("1")
    for number in ("-1", "x", "9" * 30, "%C2%B2"):
        reply = client("GET", f"/v2/demo/app/tags/list?n={number}")
        assert (reply.status, reply.code) == (400, "PAGINATION_NUMBER_INVALID")
    assert client("GET", "/v2/demo/app/tags/list?n=0").json["tags"] == []


def test_a_read_only_registry_takes_nothing(tmp_path: Path) -> None:
    with DirectoryStore(tmp_path) as store, Server(store, writable=False) as server:
        client = Client(server.host)
        for method, path in (
            ("POST", "blobs/uploads/"),
            ("PUT", "manifests/1"),
            ("DELETE", f"manifests/{NOTHING}"),
            ("DELETE", f"blobs/{NOTHING}"),
        ):
            reply = client(method, f"/v2/demo/app/{path}")
            assert (reply.status, reply.code) == (405, "UNSUPPORTED")
        client.close()
    assert files(tmp_path) == {MARKER}


# -- broken connections and crashes -------------------------------------------------------------------------------


def test_a_client_that_comes_back_takes_over_its_upload(served: Server, client: Client) -> None:
    where = client.begin()
    with _connected(served) as stale:
        head = f"PATCH {where} HTTP/1.1\r\nContent-Length: {len(BLOB)}\r\n\r\n"
        stale.sendall(head.encode() + BLOB[:1000])
        while client("GET", where).headers["range"] != "0-999":
            pass
        reply = client("PATCH", where, BLOB[1000:], Content_Range=f"1000-{len(BLOB) - 1}")
        assert reply.status == 202
    assert client("PUT", ending(where, digest_of(BLOB))).status == 201


def test_an_upload_belongs_to_its_repository(client: Client) -> None:
    where = client.begin("demo/app").replace("demo/app", "demo/other")
    assert client("PATCH", where, OTHER).status == 404


def test_many_clients_push_at_once(served: Server) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        client = Client(served.host)
        try:
            for turn in range(5):
                client.image(f"{number}.{turn}")
                client.blob(OTHER)
        except BaseException as error:
            failed.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    client = Client(served.host)
    assert len(client("GET", "/v2/demo/app/tags/list").json["tags"]) == 30
    client.close()


def test_what_was_pushed_is_there_after_a_restart(tmp_path: Path) -> None:
    with DirectoryStore(tmp_path) as store, Server(store) as server:
        client = Client(server.host)
        image = client.image("1")
        client.begin()
        client.close()
    with DirectoryStore(tmp_path) as store, Server(store) as server:
        client = Client(server.host)
        assert client("GET", "/v2/demo/app/manifests/1").body == image
        client.close()
    assert not any(path.startswith("uploads/") for path in files(tmp_path))


def test_a_killed_server_leaves_the_whole_or_what_the_next_one_removes(tmp_path: Path) -> None:
    with DirectoryStore(tmp_path) as store:
        (tmp_path / "uploads").mkdir()
        (tmp_path / "uploads" / "half").write_bytes(b"half a blob")
        incoming = store.receive()
        incoming.write(OTHER)
        incoming.keep("demo/app", digest_of(OTHER))
    (tmp_path / "repositories/demo/app/_blobs" / digest_of(OTHER).replace(":", "-")).unlink()
    with DirectoryStore(tmp_path):
        assert files(tmp_path) == {MARKER}


def test_a_server_killed_while_it_writes_a_link_leaves_nothing(tmp_path: Path) -> None:
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if "_blobs" in target.parts:
            os._exit(9)
        return rename(path, target)

    if (child := os.fork()) == 0:
        try:
            with pytest.MonkeyPatch.context() as patch, DirectoryStore(tmp_path) as store:
                patch.setattr(Path, "rename", killed)
                incoming = store.receive()
                incoming.write(OTHER)
                incoming.keep("demo/app", digest_of(OTHER))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(files(tmp_path)) == 3  # the blob, and a link that is not in its place
    with DirectoryStore(tmp_path):
        assert files(tmp_path) == {MARKER}


@pytest.mark.parametrize(
    "name", ["index.json", ".git/HEAD", "uploads/mine", "lock", "blobs/sha256/" + "0" * 64, "repositories/x"]
)
def test_a_directory_with_files_of_somebody_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("precious")
    with pytest.raises(Conflict, match="is no registry: it has") as caught:
        DirectoryStore(tmp_path).__enter__()
    assert "new or empty" in (caught.value.hint or "")
    assert files(tmp_path) == {name}
    assert (tmp_path / name).read_text() == "precious"


def test_what_nothing_has_any_more_is_removed_from_the_disk(client: Client, tmp_path: Path) -> None:
    client.blob(OTHER, "demo/first")
    client.blob(OTHER, "demo/second")
    blob = tmp_path / "registry/blobs/sha256" / digest_of(OTHER).partition(":")[2]
    client("DELETE", f"/v2/demo/first/blobs/{digest_of(OTHER)}")
    assert blob.read_bytes() == OTHER
    client("DELETE", f"/v2/demo/second/blobs/{digest_of(OTHER)}")
    assert not blob.exists()


def test_a_directory_is_served_by_one_process(tmp_path: Path) -> None:
    with DirectoryStore(tmp_path), pytest.raises(Conflict, match="served by another process"):
        DirectoryStore(tmp_path).__enter__()
    with DirectoryStore(tmp_path):
        pass


def test_an_address_that_is_taken_is_an_error(served: Server, tmp_path: Path) -> None:
    host, port = served.host.split(":")
    with DirectoryStore(tmp_path / "x") as store, pytest.raises(SwapboxError, match="cannot listen on"):
        Server(store, address=(host, int(port)))


def test_a_full_disk_is_said_so_and_the_next_request_is_answered(tmp_path: Path) -> None:
    class Full(DirectoryStore):
        def receive(self) -> Any:
            incoming = super().receive()

            def write(data: bytes) -> None:
                raise OSError(errno.ENOSPC, "no space", str(tmp_path))

            incoming.write = write  # type: ignore[method-assign]
            return incoming

    with Full(tmp_path) as store, Server(store) as server:
        client = Client(server.host)
        where = client.begin()
        reply = client("PATCH", where, OTHER)
        assert (reply.status, reply.json["errors"][0]["message"]) == (507, "no space left on device")
        assert client("GET", where).headers["range"] == "0-0"
        client.close()


def test_uploads_that_were_forgotten_make_room(client: Client, tmp_path: Path) -> None:
    first = client.begin()
    for _ in range(500):
        last = client.begin()
    assert client("GET", first).status == 404
    assert client("GET", last).status == 204
    assert len(list((tmp_path / "registry/uploads").iterdir())) == 500


# -- faults -------------------------------------------------------------------------------------------------------


def test_every_third_request_is_refused(served: Server, client: Client) -> None:
    served.faults.refuse_every, served.faults.retry_after = Often(503, 3), 7
    replies = [client("GET", "/v2/") for _ in range(6)]
    assert [reply.status for reply in replies] == [200, 200, 503, 200, 200, 503]
    assert replies[2].headers["retry-after"] == "7"


def test_every_second_blob_breaks_off(served: Server, client: Client) -> None:
    path = f"/v2/demo/app/blobs/{client.blob(BLOB)}"
    served.faults.truncate, served.faults.truncate_every = 1000, 2
    assert client("GET", path).body == BLOB
    with pytest.raises(http.client.IncompleteRead) as caught:
        client("GET", path)
    assert caught.value.partial == BLOB[:1000]


def test_bandwidth_is_shared_by_all() -> None:
    waited: list[float] = []

    class Closing(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return False

    faults, closing = Faults(), Closing()
    faults.bandwidth = 1000
    for _ in range(3):
        faults.carry(500, closing)
    assert [round(seconds, 1) for seconds in waited] == [0.5, 1.0, 1.5]


def test_a_slow_registry_gives_the_same_bytes(served: Server, client: Client) -> None:
    served.faults.bandwidth = 1 << 30
    digest = client.blob(BLOB)
    assert client("GET", f"/v2/demo/app/blobs/{digest}", Range="bytes=5-").body == BLOB[5:]


def test_it_needs_no_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import swapbox.cli.registry, swapbox.distribution.server"
    subprocess.run([sys.executable, "-c", code], check=True)
