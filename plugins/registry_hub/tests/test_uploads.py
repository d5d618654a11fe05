"""What is HTTP's alone in a push; the contract has the rest."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from swapbox.descriptors import Descriptor, digest_of
from swapbox.errors import DataError, InvalidInput, PermissionDenied, Unavailable, Unsupported
from swapbox.references import Reference
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.servers import docker_registry
from swapbox.testing.token_server import TokenServer
from swapbox_registry_hub.credentials import Keyring
from swapbox_registry_hub.driver import Driver
from swapbox_registry_hub.patience import Patience
from swapbox_registry_hub.uploads import _joined

BLOB = os.urandom(300_000)
LAYER = Descriptor("", digest_of(BLOB), len(BLOB))


def opener(data: bytes) -> Callable[[int], BinaryIO]:
    return lambda offset: io.BytesIO(data[offset:])


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


@pytest.fixture
def there(server: RegistryServer) -> Reference:
    return server.reference("mine/app")


def driver_for(directory: Path, host: str = "", *, part: int | None = None) -> Driver:
    """Return a driver that is ann at ``host``."""
    auths = {host: {"username": "ann", "password": "secret"}} if host else {}
    (directory / "config.json").write_text(json.dumps({"auths": auths}))
    keyring = Keyring(environ={"DOCKER_CONFIG": str(directory)}, warn=pytest.fail)
    return Driver(timeout=5.0, part=part, keyring=keyring, patience=Patience(sleep=lambda _: None))


def sent(server: RegistryServer, method: str) -> list[str]:
    found = [request for request in server.requests if request.method == method]
    return [request.headers.get("content-range", "") for request in found]


def test_a_layer_goes_in_one_request_and_a_small_one_with_the_request_that_ends_its_upload(
    server: RegistryServer, there: Reference, tmp_path: Path
) -> None:
    driver = driver_for(tmp_path)
    driver.push_blob(there, LAYER, opener(BLOB))
    assert sent(server, "PATCH") == ["0-299999"]
    driver.push_blob(there, Descriptor("", digest_of(b"small"), 5), opener(b"small"))
    assert sent(server, "PATCH") == ["0-299999"]
    driver.close()


def test_a_layer_goes_in_parts_that_a_proxy_takes(
    server: RegistryServer, there: Reference, tmp_path: Path
) -> None:
    driver = driver_for(tmp_path, part=100_000)
    driver.push_blob(there, LAYER, opener(BLOB))
    assert sent(server, "PATCH") == ["0-99999", "100000-199999", "200000-299999"]
    assert server.blobs[LAYER.digest] == BLOB
    driver.close()


def test_a_request_that_is_too_large_says_what_to_set(
    server: RegistryServer, there: Reference, tmp_path: Path
) -> None:
    server.faults.refuse = [413]
    driver = driver_for(tmp_path)
    with pytest.raises(Unsupported, match="413") as caught:
        driver.push_blob(there, LAYER, opener(BLOB))
    assert "option part" in (caught.value.hint or "")
    driver.close()


def test_a_part_that_is_no_number_of_bytes_is_refused() -> None:
    for text in ("10", "many", "-1", "9" * 30):
        with pytest.raises(InvalidInput, match="part"):
            Driver.from_options({"part": text}, warn=pytest.fail)


def test_an_upload_that_the_registry_has_forgotten_begins_anew(
    server: RegistryServer, there: Reference, tmp_path: Path
) -> None:
    driver = driver_for(tmp_path)
    server.faults.break_upload, server.faults.break_upload_times = 1000, 1
    with pytest.raises(Unavailable):
        driver.push_blob(there, LAYER, opener(BLOB))
    server._server.api.close()
    driver.push_blob(there, LAYER, opener(BLOB))
    assert server.blobs[LAYER.digest] == BLOB
    driver.close()


def test_a_file_that_is_shorter_than_its_blob_is_a_data_error(
    server: RegistryServer, there: Reference, tmp_path: Path
) -> None:
    driver = driver_for(tmp_path)
    with pytest.raises(DataError, match="has 200000 bytes instead of 300000"):
        driver.push_blob(there, LAYER, opener(BLOB[:200_000]))
    driver.close()


def test_another_host_that_takes_the_upload_gets_no_log_in(server: RegistryServer, tmp_path: Path) -> None:
    with RegistryServer() as elsewhere:
        reference = server.reference("mine/app")
        server.faults.auth, server.faults.users = "basic", {"ann": "secret"}
        elsewhere.faults.auth, elsewhere.faults.users = "basic", {"ann": "secret"}
        driver = driver_for(tmp_path, server.host)
        assert not driver.has_blob(reference, LAYER)
        driver._uploads._begun[server.host, "mine/app", LAYER.digest] = (
            f"http://{elsewhere.host}/v2/x/blobs/uploads/1"
        )
        with pytest.raises(PermissionDenied):
            driver.push_blob(reference, LAYER, opener(BLOB))
        assert any("authorization" in request.headers for request in server.requests)
        assert elsewhere.requests
        assert not any("authorization" in request.headers for request in elsewhere.requests)
        driver.close()


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/a/blobs/uploads/1?x=y", "https://host:5000/v2/a/blobs/uploads/1?x=y"),
        ("https://other/1", "https://other/1"),
        ("http://host/v2/1", "https://host:5000/v2/1"),  # what a proxy that speaks TLS for a registry makes of it
    ],
)
def test_an_upload_goes_on_where_the_registry_says(location: str, expected: str) -> None:
    assert _joined("https://host:5000/v2/a/blobs/uploads/", location) == expected


@pytest.mark.parametrize(
    "location",
    ["http://other/1", "file:///etc/passwd", "ftp://host/1", "http://[x", "//host:99999/1", "https://host:0"],
)
def test_an_upload_goes_nowhere_else(location: str) -> None:
    with pytest.raises((DataError, Unsupported)):
        _joined("https://host:5000/v2/a/blobs/uploads/", location)


def test_tokens_that_expire_during_a_push_are_bought_again(
    server: RegistryServer, there: Reference, tmp_path: Path
) -> None:
    server.faults.auth, server.faults.token_uses = "bearer", 2
    driver = driver_for(tmp_path, part=50_000)
    driver.push_blob(there, LAYER, opener(BLOB))
    assert server.blobs[LAYER.digest] == BLOB
    assert sum(request.path.startswith("/token") for request in server.requests) >= 3
    driver.close()


@pytest.mark.debian
def test_tokens_are_bought_for_what_a_push_needs(tmp_path: Path) -> None:
    """Debian's registry wants a token for both repositories of a mount."""
    blobs = [os.urandom(70_000) for _ in range(6)]
    layers = [Descriptor("", digest_of(blob), len(blob)) for blob in blobs]
    with TokenServer(tmp_path) as tokens, docker_registry(tmp_path, more=tokens.settings) as host:
        tokens.users["ann"] = "secret"
        stranger = driver_for(tmp_path)
        with pytest.raises(PermissionDenied, match=r"denied|unauthorized|authentication"):
            stranger.push_blob(Reference(host, "first/app"), layers[0], opener(blobs[0]))
        driver = driver_for(tmp_path, host)
        for number, (layer, blob) in enumerate(zip(layers, blobs, strict=True)):
            assert driver.push_blob(Reference(host, f"first/app{number}"), layer, opener(blob)) is None
        second = Reference(host, "second/app")

        def mount(number: int) -> str | None:
            return driver.push_blob(second, layers[number], opener(b""), mount_from=[f"first/app{number}"])

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(mount, range(6))) == [f"first/app{number}" for number in range(6)]
        for one in (stranger, driver):
            one.close()
