from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from swapbox.descriptors import OCI_INDEX, Descriptor
from swapbox.drivers.waiting import pause
from swapbox.errors import DataError, NotFound, Unavailable
from swapbox.images.push import Parcel, parcel, push
from swapbox.references import Reference
from swapbox.store.content import ContentStore
from swapbox.testing.memory_registry import MemoryRegistry
from swapbox.testing.registry_contents import RegistryContents

APP = Reference("memory.example", "mine/app", "1")
LAYERS = {name: [name.encode() * 70_000, b"shared", b"top of " + name.encode()] for name in ("amd64", "arm64")}


class Made:
    """A content store with an index of two images, and what each of them is."""

    def __init__(self, root: Path, *, without: str = "") -> None:
        self.content = ContentStore(root)
        made = RegistryContents("")
        self.images: dict[str, Descriptor] = {}
        for name, layers in LAYERS.items():
            image = made.add_image("x", None, layers=layers, config={"architecture": name})
            self.images[name] = image._replace(platform={"os": "linux", "architecture": name})
        self.index = made.add_index("x", "latest", list(self.images.values()))
        missing = LAYERS.get(without, [])[:1]
        for source in (*made.blobs.values(), *(manifest.data for manifest in made.manifests.values())):
            assert isinstance(source, bytes)
            if source not in missing:
                self.content.put(source)

    def parcel(self, platform: str | None = None) -> Parcel:
        return parcel(
            self.content, target=self.index.digest, manifest=self.images["amd64"].digest, platform=platform
        )


class Recorder:
    def __init__(self) -> None:
        self.layers: list[str] = []
        self.messages: list[str] = []
        self.happened = threading.Event()

    def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        self.layers.append(status)
        self.happened.set()

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


def test_an_index_is_pushed_when_all_of_it_is_here(registry: MemoryRegistry, tmp_path: Path) -> None:
    made, told = Made(tmp_path), Recorder()
    push(APP, made.parcel(), registry=registry, content=made.content, progress=told)
    assert registry.resolve(APP).media_type == OCI_INDEX
    for image in made.images.values():
        manifest = json.loads(registry.manifest(APP, image))
        for blob in (manifest["config"], *manifest["layers"]):
            assert registry.has_blob(APP, Descriptor.from_json(blob))
    assert told.messages == [f"1: digest: {made.index.digest} size: {made.index.size}"]
    assert told.layers.count("Preparing") == told.layers.count("Pushed") == 5  # one layer is in both


def test_an_index_of_which_a_part_is_here_is_pushed_as_the_image_that_is(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    made = Made(tmp_path, without="arm64")
    push(APP, made.parcel(), registry=registry, content=made.content)
    assert registry.resolve(APP).digest == made.images["amd64"].digest


def test_one_platform_of_an_index_can_be_pushed(registry: MemoryRegistry, tmp_path: Path) -> None:
    made = Made(tmp_path)
    push(APP, made.parcel("linux/arm64"), registry=registry, content=made.content)
    assert registry.resolve(APP).digest == made.images["arm64"].digest


def test_layers_are_told_as_dockers_are(registry: MemoryRegistry, tmp_path: Path) -> None:
    made, told = Made(tmp_path), Recorder()
    other = APP._replace(path="mine/other")
    push(other, made.parcel("linux/amd64"), registry=registry, content=made.content)
    push(
        APP,
        made.parcel(),
        registry=registry,
        content=made.content,
        sources=lambda _digest: ["mine/other"],
        progress=told,
    )
    assert told.layers.count("Mounted from mine/other") == 3
    assert told.layers.count("Pushed") == 2
    again = Recorder()
    push(APP, made.parcel(), registry=registry, content=made.content, progress=again)
    assert again.layers.count("Layer already exists") == 5


def test_nothing_names_an_image_whose_layers_did_not_arrive(registry: MemoryRegistry, tmp_path: Path) -> None:
    made = Made(tmp_path)

    def broken(_digest: str, _position: int) -> None:
        raise Unavailable("the line is dead")

    registry.before_write = broken
    with pytest.raises(Unavailable, match="the line is dead"):
        push(APP, made.parcel(), registry=registry, content=made.content, retry_delay=0)
    assert registry.manifests == {}


def test_a_layer_that_has_got_lost_is_missed_only_where_the_registry_lacks_it(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    made = Made(tmp_path)
    what = made.parcel()
    lost = what.images[0].layers[0]
    data = made.content.path(lost.digest).read_bytes()
    made.content.remove(lost.digest)
    with pytest.raises(NotFound, match=lost.digest):
        push(APP, what, registry=registry, content=made.content)
    registry.received[APP.path, lost.digest] = data
    push(APP, what, registry=registry, content=made.content)
    assert registry.resolve(APP).digest == made.index.digest


def test_a_foreign_layer_is_left_where_it_is(registry: MemoryRegistry, tmp_path: Path) -> None:
    made, told = Made(tmp_path), Recorder()
    what = made.parcel("linux/amd64")
    first = what.images[0].layers[0]._replace(urls=("https://elsewhere.example/layer",))
    image = what.images[0]._replace(layers=(first, *what.images[0].layers[1:]))
    push(APP, what._replace(images=(image,)), registry=registry, content=made.content, progress=told)
    assert told.layers.count("Skipped foreign layer") == 1
    assert not registry.has_blob(APP, first)


def test_a_layer_whose_arrival_was_not_heard_of_is_not_sent_again(
    registry: MemoryRegistry, tmp_path: Path
) -> None:
    made = Made(tmp_path)
    what = made.parcel("linux/amd64")
    sent: list[str] = []
    push_blob = registry.push_blob

    def deaf(reference: Reference, descriptor: Descriptor, *args: Any, **more: Any) -> None:
        sent.append(descriptor.digest)
        push_blob(reference, descriptor, *args, **more)
        raise Unavailable("the answer was lost")

    registry.push_blob = deaf  # type: ignore[method-assign]
    push(APP, what, registry=registry, content=made.content, retry_delay=0)
    assert len(sent) == len(set(sent)) == 4


def test_a_failure_ends_the_waits_that_registries_ask_for(registry: MemoryRegistry, tmp_path: Path) -> None:
    made, waits, waited = Made(tmp_path), threading.Lock(), threading.Event()
    waiting = threading.Event()

    def slow_or_refused(_digest: str, _position: int) -> None:
        if waits.acquire(blocking=False):  # the first
            waiting.set()
            pause(10)
            waited.set()
        assert waiting.wait(30)
        raise DataError("refused")

    registry.before_write = slow_or_refused
    with pytest.raises(DataError, match="refused"):
        push(APP, made.parcel(), registry=registry, content=made.content)
    assert not waited.is_set()


def test_a_broken_upload_goes_on_and_says_when(registry: MemoryRegistry, tmp_path: Path) -> None:
    made, told = Made(tmp_path), Recorder()
    failures = [Unavailable("the line is dead")]

    def broken(_digest: str, position: int) -> None:
        if position and failures:
            raise failures.pop()

    registry.before_write = broken
    push(APP, made.parcel("linux/amd64"), registry=registry, content=made.content, progress=told, retry_delay=0.6)
    assert told.layers.count("Retrying in 1 second") == 1
    assert told.layers.count("Pushed") == 3
