from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from swapbox.descriptors import OCI_INDEX, OCI_MANIFEST, Descriptor, digest_of
from swapbox.drivers.registry import BlobReader
from swapbox.drivers.waiting import pause
from swapbox.errors import DataError, InvalidInput, NotFound, PermissionDenied, Unavailable, Unsupported
from swapbox.images.download import Downloads
from swapbox.images.layers import Layer
from swapbox.images.pull import Pulled, pull
from swapbox.references import Reference
from swapbox.store.content import CHUNK, ContentStore
from swapbox.testing.memory_registry import MemoryReader, MemoryRegistry

LAYERS = [os.urandom(3 * CHUNK + 17), b"small", b"", os.urandom(CHUNK), b"last"]
APP = Reference("memory.example", "demo/app", "latest")
FIRST = digest_of(LAYERS[0])


class Recorder:
    """Progress as a list of (digest, status)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.bytes: dict[str, list[int]] = {}

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        if status == "Downloading":
            self.bytes.setdefault(digest, []).append(current)
        self.seen.append((digest, status))

    def message(self, text: str) -> None:
        pass

    def of(self, digest: str) -> list[str]:
        statuses = [status for who, status in self.seen if who == digest]
        return [status for at, status in enumerate(statuses) if not at or statuses[at - 1] != status]


@pytest.fixture
def registry() -> MemoryRegistry:
    registry = MemoryRegistry()
    registry.add_image("demo/app", layers=LAYERS)
    return registry


@pytest.fixture
def content(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


@pytest.fixture
def fetch(registry: MemoryRegistry, content: ContentStore) -> Callable[..., Pulled]:
    def fetch(reference: Reference = APP, **options: Any) -> Pulled:
        options = {"platform": "linux/amd64", "retry_delay": 0.0, **options}
        try:
            return pull(reference, registry=registry, content=content, **options)
        finally:
            assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("download-")]

    return fetch


Fetch = Callable[..., Pulled]


def test_everything_of_an_image_is_stored_and_verified(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    pulled = fetch()
    assert pulled.reference == APP
    assert pulled.target == pulled.manifest == registry.resolve(APP)
    assert pulled.config["config"] == {"Cmd": ["true"]}
    assert [layer.digest for layer in pulled.layers] == [digest_of(layer) for layer in LAYERS]
    expected = {pulled.manifest.digest, pulled.config_digest, *(layer.digest for layer in pulled.layers)}
    assert set(content.walk()) == expected
    assert [content.read(digest_of(layer)) for layer in LAYERS] == LAYERS


def test_a_name_alone_means_latest(fetch: Fetch) -> None:
    assert fetch(APP._replace(tag=None)).reference == APP


def test_a_digest_is_enough(fetch: Fetch, registry: MemoryRegistry) -> None:
    digest = registry.resolve(APP).digest
    assert fetch(APP._replace(tag=None, digest=digest)).target.digest == digest


def test_nothing_that_is_there_is_fetched_again(fetch: Fetch, registry: MemoryRegistry) -> None:
    fetch()
    registry.opened.clear()
    progress = Recorder()
    fetch(progress=progress)
    assert registry.opened == []
    assert progress.of(FIRST) == []  # Docker says nothing of the layers of an image that it has


def test_progress_speaks_as_docker_does(fetch: Fetch) -> None:
    progress = Recorder()
    fetch(progress=progress)
    assert progress.of(FIRST) == ["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete"]
    assert progress.of(digest_of(b"last"))[:2] == ["Pulling fs layer", "Waiting"]
    assert progress.bytes[FIRST][-1] == len(LAYERS[0])


def test_a_layer_twice_is_fetched_once(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.add_image("demo/app", layers=[b"twin", b"other", b"twin"])
    pulled = fetch(consume=lambda layers: [layer.open().close() for layer in layers])
    assert len(pulled.layers) == 3
    assert [digest for digest, _ in registry.opened].count(digest_of(b"twin")) == 1


def test_an_image_without_layers_can_be_pulled(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.add_image("demo/app", layers=[])
    consumed: list[Sequence[Layer]] = []
    assert fetch(consume=consumed.append).layers == ()
    assert consumed == [[]]


# -- unpacking meanwhile ------------------------------------------------------------------------------------------


def test_layers_are_read_in_order_by_the_calling_thread(fetch: Fetch) -> None:
    read: list[tuple[str, bytes]] = []

    def consume(layers: Sequence[Layer]) -> None:
        assert threading.current_thread() is threading.main_thread()
        for layer in layers:
            with layer.open() as file:
                read.append((layer.diff_id, file.read()))

    fetch(consume=consume)
    assert read == [(digest_of(layer), layer) for layer in LAYERS]


def test_a_layer_is_read_while_it_arrives(fetch: Fetch, registry: MemoryRegistry) -> None:
    """The download waits for the reader: neither would end if the reader waited for the whole layer."""
    read_so_far = threading.Event()

    def before_read(digest: str, position: int) -> None:
        if digest == FIRST and position >= 2 * CHUNK:
            assert read_so_far.wait(30)

    def consume(layers: Sequence[Layer]) -> None:
        with layers[0].open() as file:
            assert file.read(2 * CHUNK) == LAYERS[0][: 2 * CHUNK]
            read_so_far.set()
            assert file.read() == LAYERS[0][2 * CHUNK :]
            assert file.read() == b""

    registry.before_read = before_read
    fetch(consume=consume)


def test_a_layer_can_be_read_twice(fetch: Fetch) -> None:
    def consume(layers: Sequence[Layer]) -> None:
        for _ in range(2):
            with layers[0].open() as file:
                assert file.read() == LAYERS[0]

    fetch(consume=consume)
    fetch(consume=consume)


def test_a_reader_gets_the_error_of_the_download(fetch: Fetch, registry: MemoryRegistry) -> None:
    caught: list[Exception] = []

    def before_read(digest: str, position: int) -> None:
        if digest == FIRST and position >= CHUNK:
            raise PermissionDenied("no more for you")

    def consume(layers: Sequence[Layer]) -> None:
        try:
            with layers[0].open() as file:
                file.read()
        except PermissionDenied as error:
            caught.append(error)
            raise RuntimeError("cannot unpack") from error

    registry.before_read = before_read
    with pytest.raises(PermissionDenied, match="no more for you") as raised:
        fetch(consume=consume)
    assert caught == [raised.value]


def test_the_end_of_a_wrong_layer_is_never_read(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.blobs[FIRST] = LAYERS[0][:-1] + b"\x00"

    def consume(layers: Sequence[Layer]) -> None:
        with layers[0].open() as file:
            while file.read(1000):
                pass
        pytest.fail("the end of the layer was reached")

    with pytest.raises(DataError, match=f"verification failed for blob {FIRST}"):
        fetch(consume=consume)


def test_an_unpacker_that_fails_ends_the_downloads(fetch: Fetch, registry: MemoryRegistry) -> None:
    """The downloads hang until they are closed."""
    closed = threading.Event()
    opened = registry.open_blob

    class Hanging(MemoryReader):
        def close(self) -> None:
            closed.set()

    def open_blob(reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> BlobReader:
        if descriptor.digest not in map(digest_of, LAYERS):
            return opened(reference, descriptor, offset=offset)
        return Hanging(b"", 0, lambda _position: _hang(closed))

    def consume(layers: Sequence[Layer]) -> None:
        layers[0].open().close()
        raise DataError("this is no tar")

    registry.open_blob = open_blob  # type: ignore[method-assign, assignment]
    with pytest.raises(DataError, match="this is no tar"):
        fetch(consume=consume)


def _hang(until: threading.Event) -> None:
    assert until.wait(30)
    raise Unavailable("closed")


def test_a_failure_ends_the_waits_that_registries_ask_for(fetch: Fetch, registry: MemoryRegistry) -> None:
    opened, waiting, waited = registry.open_blob, threading.Event(), threading.Event()

    def open_blob(reference: Reference, descriptor: Descriptor, *, offset: int = 0) -> BlobReader:
        if descriptor.digest == FIRST:
            waiting.set()
            pause(10)
            waited.set()
        elif descriptor.digest in map(digest_of, LAYERS):
            assert waiting.wait(30)
            raise DataError("no such layer")
        return opened(reference, descriptor, offset=offset)

    registry.open_blob = open_blob  # type: ignore[method-assign, assignment]
    with pytest.raises(DataError, match="no such layer"):
        fetch()
    assert not waited.is_set()


def test_an_interrupt_ends_the_downloads(fetch: Fetch, registry: MemoryRegistry, content: ContentStore) -> None:
    def consume(_layers: Sequence[Layer]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(consume=consume)
    assert registry.resolve(APP).digest not in set(content.walk())


# -- what breaks --------------------------------------------------------------------------------------------------


def test_a_download_that_breaks_goes_on_at_its_offset(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.before_read = _breaking(at=CHUNK, times=2)
    progress = Recorder()
    fetch(progress=progress, retry_delay=0.001)
    assert [offset for digest, offset in registry.opened if digest == FIRST] == [0, CHUNK, CHUNK]
    assert progress.seen.count((FIRST, "Retrying in 0 seconds")) == 2


def test_a_source_that_cannot_resume_sends_again_what_is_skipped(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    registry.resumes = False
    registry.before_read = _breaking(at=CHUNK, times=1)
    fetch()
    assert content.read(FIRST) == LAYERS[0]


def test_a_download_that_keeps_breaking_is_given_up(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.before_read = _breaking(at=0, times=100)
    with pytest.raises(Unavailable, match="connection broke"):
        fetch()
    assert [digest for digest, _ in registry.opened].count(FIRST) == 5


def test_a_blob_that_ends_early_is_broken_off(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.blobs[FIRST] = LAYERS[0][:-5]
    with pytest.raises(Unavailable, match=f"ended after {len(LAYERS[0]) - 5} of {len(LAYERS[0])} bytes"):
        fetch()


def test_a_blob_that_does_not_end_is_a_data_error(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.blobs[FIRST] = LAYERS[0] + b"x"
    with pytest.raises(DataError, match="longer than"):
        fetch()


def test_the_next_pull_goes_on_where_this_one_failed(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    registry.before_read = _breaking(at=CHUNK, times=5)
    with pytest.raises(Unavailable):
        fetch()
    assert registry.resolve(APP).digest not in set(content.walk())
    registry.opened.clear()
    fetch()
    assert (FIRST, CHUNK) in registry.opened


def test_a_wrong_blob_is_removed_and_the_next_pull_starts_afresh(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    registry.blobs[FIRST] = bytes(len(LAYERS[0]))
    with pytest.raises(DataError):
        fetch()
    assert registry.resolve(APP).digest not in set(content.walk())
    registry.blobs[FIRST] = LAYERS[0]
    registry.opened.clear()
    fetch()
    assert (FIRST, 0) in registry.opened


def test_what_an_earlier_pull_has_left_of_other_bytes_is_never_read_and_starts_over(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    with content.ingest(Descriptor("", FIRST, len(LAYERS[0]))) as ingest:
        ingest.write(bytes(CHUNK))
    seen: list[bytes] = []

    def consume(layers: Sequence[Layer]) -> None:
        with layers[0].open() as blob:
            seen.append(blob.read())

    fetch(consume=consume)
    assert seen == [LAYERS[0]]
    assert [offset for digest, offset in registry.opened if digest == FIRST] == [CHUNK, 0]


def test_a_registry_that_goes_on_somewhere_else_is_asked_for_the_whole(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with content.ingest(Descriptor("", FIRST, len(LAYERS[0]))) as ingest:
        ingest.write(LAYERS[0][:CHUNK])
    opened = registry.open_blob
    further = lambda *args, offset: opened(*args, offset=offset and offset + 1)  # noqa: E731
    monkeypatch.setattr(registry, "open_blob", further)
    fetch()
    assert content.read(FIRST) == LAYERS[0]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0, []), (2.0, ["Retrying in 2 seconds", "Retrying in 1 second"])]
)
def test_how_long_a_retry_waits_is_counted_down(
    fetch: Fetch, registry: MemoryRegistry, seconds: float, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Downloads, "_pause", lambda _self, seconds: waited.append(seconds))
    registry.before_read = _breaking(at=CHUNK, times=1)
    progress = Recorder()
    fetch(progress=progress, retry_delay=seconds)
    retries = [status for status in progress.of(FIRST) if status.startswith("Retrying")]
    assert retries == expected
    assert sum(waited) == seconds


def _breaking(*, at: int, times: int) -> Callable[[str, int], None]:
    """Break the first layer at a position, so many times."""
    left = [times]

    def before_read(digest: str, position: int) -> None:
        if digest == FIRST and position >= at and left[0]:
            left[0] -= 1
            raise Unavailable("connection broke")

    return before_read


# -- choosing -----------------------------------------------------------------------------------------------------


def _multi(registry: MemoryRegistry, *platforms: str) -> list[Descriptor]:
    entries = []
    for text in platforms:
        names = dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))
        image = registry.add_image("demo/app", None, layers=[text.encode()], config=names)
        entries.append(image._replace(platform=names))
    return entries


def test_the_manifest_for_the_platform_is_taken_from_an_index(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    entries = _multi(registry, "unknown/unknown", "linux/arm64", "linux/amd64")
    index = registry.add_index("demo/app", "latest", entries)
    pulled = fetch(platform="linux/arm64/v8")
    assert pulled.target == index
    assert pulled.manifest.digest == entries[1].digest
    assert pulled.config["architecture"] == "arm64"
    assert {index.digest, entries[1].digest} <= set(content.walk())


def test_an_index_may_hold_indexes(fetch: Fetch, registry: MemoryRegistry) -> None:
    (entry,) = _multi(registry, "linux/amd64")
    inner = registry.add_index("demo/app", None, [entry])
    registry.add_index("demo/app", "latest", [inner])
    assert fetch().manifest.digest == entry.digest


def test_indexes_nested_without_end_are_refused(fetch: Fetch, registry: MemoryRegistry) -> None:
    (entry,) = _multi(registry, "linux/amd64")
    for _ in range(5):
        entry = registry.add_index("demo/app", "latest", [entry])
    with pytest.raises(DataError, match="nested more than 4 deep"):
        fetch()


def test_a_platform_that_is_not_there_is_not_found_and_the_others_are_named(
    fetch: Fetch, registry: MemoryRegistry
) -> None:
    registry.add_index("demo/app", "latest", _multi(registry, "linux/arm64", "unknown/unknown", "linux/s390x"))
    with pytest.raises(NotFound, match="no matching manifest for linux/amd64 in the manifest list") as caught:
        fetch()
    assert caught.value.hint == "it has linux/arm64/v8, linux/s390x: choose one with --platform"


def test_a_single_manifest_of_another_platform_is_refused_when_one_was_asked_for(fetch: Fetch) -> None:
    with pytest.raises(NotFound, match=r"its platform \(linux/amd64\) does not match .* \(linux/s390x\)"):
        fetch(platform="linux/s390x")


def test_a_single_manifest_is_taken_when_none_was_asked_for(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.add_image("demo/app", config={"architecture": "s390x"})
    assert fetch(platform=None).config["architecture"] == "s390x"


def test_a_platform_that_is_none_is_refused_before_anything_is_asked(fetch: Fetch) -> None:
    with pytest.raises(InvalidInput, match="error parsing specified platform"):
        fetch(platform="linux/")


# -- refusing -----------------------------------------------------------------------------------------------------


def test_a_policy_can_refuse_before_any_blob_is_fetched(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    told: list[tuple[Reference, Descriptor]] = []

    def verify(reference: Reference, descriptor: Descriptor) -> None:
        told.append((reference, descriptor))
        raise PermissionDenied("not signed")

    with pytest.raises(PermissionDenied, match="not signed"):
        fetch(verify=verify)
    assert told == [(APP, registry.resolve(APP))]
    assert registry.opened == []
    assert list(content.walk()) == []


def test_a_registry_that_resolves_a_digest_to_another_is_refused(fetch: Fetch, registry: MemoryRegistry) -> None:
    wanted = f"sha256:{'1' * 64}"
    registry.manifests["demo/app", wanted] = registry.manifests["demo/app", "latest"]
    with pytest.raises(DataError, match="resolved to"):
        fetch(APP._replace(digest=wanted))


def test_a_manifest_of_another_digest_is_refused_whatever_the_driver_says(
    fetch: Fetch, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "manifest", lambda *_: b"{}")
    with pytest.raises(DataError, match="manifest verification failed"):
        fetch()


def test_a_config_that_names_another_number_of_layers_is_refused(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.add_image("demo/app", layers=[b"a"], config={"rootfs": {"type": "layers", "diff_ids": []}})
    with pytest.raises(DataError, match="names 0 layers, its manifest 1"):
        fetch()


def test_a_config_of_another_size_is_refused(
    fetch: Fetch, registry: MemoryRegistry, content: ContentStore
) -> None:
    fetch()
    manifest = json.loads(registry.manifests["demo/app", "latest"].data)
    manifest["config"]["size"] += 1
    registry.add_manifest("demo/app", "latest", OCI_MANIFEST, json.dumps(manifest).encode())
    with pytest.raises(DataError, match="bytes instead of"):
        fetch()


def test_a_layer_of_another_size_than_the_one_in_the_store_is_refused(
    fetch: Fetch, registry: MemoryRegistry
) -> None:
    fetch()
    manifest = json.loads(registry.manifests["demo/app", "latest"].data)
    manifest["layers"][1]["size"] = 1
    registry.add_manifest("demo/app", "latest", OCI_MANIFEST, json.dumps(manifest).encode())
    with pytest.raises(DataError, match="has 5 bytes, the manifest says 1"):
        fetch()


def test_a_huge_manifest_is_not_even_asked_for(
    fetch: Fetch, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = Descriptor(OCI_INDEX, f"sha256:{'1' * 64}", 5 * 1024 * 1024)
    monkeypatch.setattr(registry, "resolve", lambda _: huge)
    with pytest.raises(DataError, match="longer than 4194304 bytes"):
        fetch()


def test_schema_1_is_refused(fetch: Fetch, registry: MemoryRegistry) -> None:
    media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.add_manifest("demo/app", "latest", media_type, b'{"schemaVersion": 1}')
    with pytest.raises(Unsupported, match="schema 1"):
        fetch()


def test_compressed_layers_have_the_diff_id_of_their_tar(fetch: Fetch, registry: MemoryRegistry) -> None:
    registry.add_image("demo/app", layers=[gzip.compress(b"tar")])
    diff_ids: list[str] = []
    fetch(consume=lambda layers: diff_ids.extend(layer.diff_id for layer in layers))
    assert diff_ids == [f"sha256:{hashlib.sha256(b'tar').hexdigest()}"]
