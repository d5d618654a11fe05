"""From layers to snapshots: verified, committed under their chainIDs, and nothing left behind on failure."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from swapbox.config import Limits
from swapbox.descriptors import Descriptor
from swapbox.drivers.storage import LayerTarget
from swapbox.errors import DataError, Unavailable
from swapbox.images import progress as words
from swapbox.images.extract import Rules
from swapbox.images.layers import Layer
from swapbox.images.unpack import EXTRACT_PREFIX, chain_ids, unpack_layers
from swapbox.testing import images
from swapbox.testing.forked import mounted
from swapbox.testing.hostile import zeros
from swapbox.testing.images import directory, file, hardlink, layer_of, opaque, symlink, whiteout
from swapbox.testing.trees import Overlays, Told, Trees, described

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers have owners, and snapshots are mounted"),
]

DIRECT = frozenset({"direct"})
MOUNTED: frozenset[str] = frozenset()


@pytest.fixture
def storage(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


@pytest.fixture(params=[DIRECT, MOUNTED], ids=["direct", "mounted"])
def capabilities(request: pytest.FixtureRequest) -> frozenset[str]:
    chosen: frozenset[str] = request.param
    return chosen


def layer(made: images.Layer, *, open: Callable[[], BinaryIO] | None = None, diff_id: str | None = None) -> Layer:
    return Layer(made.blob.descriptor, diff_id or made.diff_id, open or (lambda: made.blob.open()))  # type: ignore[arg-type, return-value]


def unpack(storage: Trees, layers: Sequence[Layer], capabilities: frozenset[str], told: Told | None = None) -> str:
    return unpack_layers(storage, layers, capabilities=capabilities, progress=told or Told())  # type: ignore[arg-type]


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


LAYERS = [
    layer_of([directory("d"), file("d/one", b"1"), file("gone"), file("o/low")]),
    layer_of([file("d/two", b"2"), whiteout("gone"), opaque("o"), file("o/high")]),
    layer_of([file("d/one", b"one")]),
]


def test_chain_ids_are_those_of_the_image_specification() -> None:
    diff_ids = [f"sha256:{digit * 64}" for digit in "abc"]
    second = hashlib.sha256(f"{diff_ids[0]} {diff_ids[1]}".encode()).hexdigest()
    third = hashlib.sha256(f"sha256:{second} {diff_ids[2]}".encode()).hexdigest()
    assert chain_ids(diff_ids) == [diff_ids[0], f"sha256:{second}", f"sha256:{third}"]
    assert chain_ids([]) == []


def test_layers_become_snapshots_that_build_on_one_another(storage: Trees, capabilities: frozenset[str]) -> None:
    layers = [layer(made) for made in LAYERS]
    chains = chain_ids([one.diff_id for one in layers])
    assert unpack(storage, layers, capabilities) == chains[-1]
    assert [storage.stat(chain).parent for chain in chains] == [None, *chains[:-1]]
    assert len(storage.snapshots) == 3
    assert names(storage.path(chains[-1])) == {"d", "d/one", "d/two", "o", "o/high"}
    assert (storage.path(chains[-1]) / "d/one").read_bytes() == b"one"
    assert (storage.path(chains[0]) / "d/one").read_bytes() == b"1"
    assert str(storage.root) not in Path("/proc/self/mounts").read_text()


with_attribute = directory("attributed")
with_attribute[0].pax_headers = {"SCHILY.xattr.user.note": "lower"}
BELOW = layer_of(
    [
        directory("tmp", mode=0o1777, uid=5),
        file("tmp/one", b"1"),
        file("tmp/gone", b"1"),
        directory("usr/lib"),
        file("usr/lib/low", b"low"),
        symlink("lib", "usr/lib"),
        with_attribute,
        directory("opaque"),
        file("opaque/low"),
    ]
)
REFERRING = {
    "a file in a directory it does not describe": [file("tmp/two", b"2")],
    "a file below a link": [file("lib/high", b"high")],
    "a hard link to a file": [hardlink("h", "usr/lib/low")],
    "a hard link to a file and a change of it": [hardlink("h", "usr/lib/low"), file("usr/lib/low", b"new")],
    "a whiteout": [whiteout("tmp/gone")],
    "a whiteout of a directory": [whiteout("usr/lib")],
    "a whiteout below a link": [whiteout("lib/low")],
    "an opaque directory": [opaque("opaque"), file("opaque/high")],
    "a directory that replaces a link": [directory("lib"), file("lib/own")],
    "a directory described anew": [directory("tmp", mode=0o755), directory("attributed", mode=0o700)],
    "all parents": [
        directory("usr"),
        directory("usr/lib", mode=0o700),
        file("usr/lib/high"),
        whiteout("usr/lib/low"),
    ],
}


@pytest.mark.parametrize("case", REFERRING)
def test_a_layer_that_refers_to_lower_ones_gives_the_same_tree_everywhere(case: str, tmp_path: Path) -> None:
    trees, overlays = Trees(tmp_path / "trees"), Overlays(tmp_path / "overlays")
    layers = [layer(BELOW), layer(layer_of(REFERRING[case]))]
    top = ""
    for storage in (trees, overlays):
        storage.root.mkdir()
        top = unpack(storage, layers, DIRECT)
        assert len(storage.snapshots) == 2
    overlays.prepare("look", top)
    assert mounted(overlays.mounts("look"), described) == described(trees.path(top))


def test_what_the_driver_has_is_not_opened_again(storage: Trees) -> None:
    def never() -> BinaryIO:
        raise AssertionError("opened")

    top = unpack(storage, [layer(made) for made in LAYERS[:2]], DIRECT)
    assert unpack(storage, [layer(made, open=never) for made in LAYERS[:2]], DIRECT) == top
    unpack(storage, [*(layer(made, open=never) for made in LAYERS[:2]), layer(LAYERS[2])], DIRECT)


def test_an_image_without_layers_is_refused(storage: Trees) -> None:
    with pytest.raises(DataError, match="no layers"):
        unpack(storage, [], DIRECT)


def test_progress_is_told_in_compressed_bytes(storage: Trees, capabilities: frozenset[str]) -> None:
    made = layer_of([file("random", os.urandom(5_000_000))])
    told = Told()
    unpack(storage, [layer(made)], capabilities, told)
    digest, size = made.blob.descriptor.digest, made.blob.descriptor.size
    assert {call[0] for call in told.calls} == {digest}
    assert [call[1] for call in told.calls[1:-1]] == [words.EXTRACTING] * (len(told.calls) - 2)
    assert told.calls[0] == (digest, words.EXTRACTING, 0, size)
    assert told.calls[-1][1] == words.PULLED
    counts = [call[2] for call in told.calls[:-1]]
    assert len(counts) >= 2
    assert counts == sorted(counts)
    assert counts[-1] <= size


def test_a_wrong_diff_id_is_an_error_that_names_both(storage: Trees, capabilities: frozenset[str]) -> None:
    wrong, digest = f"sha256:{'0' * 64}", LAYERS[0].blob.descriptor.digest
    with pytest.raises(
        DataError, match=f"^layer {digest} unpacks to {LAYERS[0].diff_id}, its image config says {wrong}$"
    ):
        unpack(storage, [layer(LAYERS[0], diff_id=wrong)], capabilities)
    assert storage.snapshots == {}


def test_a_sha512_diff_id_is_verified_too(storage: Trees) -> None:
    data = io.BytesIO()
    made = layer_of([file("x")])
    import gzip

    assert isinstance(made.blob.source, bytes)
    data.write(gzip.decompress(made.blob.source))
    digest = f"sha512:{hashlib.sha512(data.getvalue()).hexdigest()}"
    assert unpack(storage, [layer(made, diff_id=digest)], DIRECT) == digest


class Breaking(io.BytesIO):
    """A download that fails in the middle."""

    def __init__(self, data: bytes, error: BaseException) -> None:
        super().__init__(data[: len(data) // 2])
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise self._error
        return data


@pytest.mark.parametrize("error", [Unavailable("the registry is gone"), KeyboardInterrupt()])
def test_a_failing_download_leaves_no_snapshot(
    error: BaseException, storage: Trees, capabilities: frozenset[str]
) -> None:
    made = layer_of([file("random", os.urandom(3_000_000))])
    assert isinstance(made.blob.source, bytes)
    broken = Breaking(made.blob.source, error)
    with pytest.raises(type(error)) as raised:
        unpack(storage, [layer(LAYERS[0]), layer(made, open=lambda: broken)], capabilities)
    assert raised.value is error
    assert list(storage.snapshots) == [LAYERS[0].diff_id]
    assert broken.closed


def test_an_interrupt_while_a_download_is_silent_ends_at_once(
    storage: Trees, capabilities: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    silent = threading.Event()

    class Silent(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if not silent.is_set():
                os.kill(os.getpid(), signal.SIGINT)
            silent.wait()
            return b""

    monkeypatch.setattr("swapbox.images.readahead._PATIENCE", 0.01)
    monkeypatch.setattr("swapbox.images.unpack._PATIENCE", 0.01)
    with pytest.raises(KeyboardInterrupt):
        unpack(storage, [layer(LAYERS[0], open=Silent)], capabilities)
    silent.set()
    assert storage.snapshots == {}


def test_a_hostile_layer_leaves_no_snapshot(storage: Trees, capabilities: frozenset[str]) -> None:
    with pytest.raises(DataError, match="leads out of the tree"):
        unpack(storage, [layer(layer_of([file("x"), file("../y")]))], capabilities)
    assert storage.snapshots == {}
    assert list(storage.root.iterdir()) == []


def test_the_files_go_first_when_there_is_no_room_to_forget_a_snapshot(storage: Trees) -> None:
    class Full(Trees):
        def remove(self, key: str) -> None:
            assert list(self.path(key).iterdir()) == []
            raise Unavailable("disk is full")

    full = Full(storage.root)
    entries = [file("top"), file("d/file"), symlink("link", "/"), file("../escape")]
    with pytest.raises(DataError, match="leads out of the tree"):
        unpack(full, [layer(layer_of(entries))], DIRECT)
    assert [path for path in storage.root.rglob("*") if not path.is_dir()] == []


def test_a_bomb_is_refused_early(storage: Trees) -> None:
    with pytest.raises(DataError, match="over 20 times as many"):
        unpack_layers(
            storage,  # type: ignore[arg-type]
            [layer(zeros(3 << 30))],
            capabilities=DIRECT,
            progress=Told(),
            rules=Rules(Limits(max_ratio=20)),
        )
    assert list(storage.root.iterdir()) == []


def test_another_process_that_was_faster_is_fine(storage: Trees) -> None:
    class Raced(Trees):
        """Somebody else commits the layer just before we do."""

        def commit(
            self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
        ) -> None:
            self.prepare("theirs", None)
            super().commit(name, "theirs")
            super().commit(name, key)

    raced = Raced(storage.root)
    assert unpack(raced, [layer(LAYERS[0])], DIRECT) == LAYERS[0].diff_id
    assert list(raced.snapshots) == [LAYERS[0].diff_id]


def test_the_keys_of_layers_on_their_way_can_be_told(storage: Trees) -> None:
    keys: list[str] = []

    class Watched(Trees):
        def layer_target(self, key: str) -> LayerTarget:
            keys.append(key)
            return super().layer_target(key)

    watched = Watched(storage.root)
    unpack(watched, [layer(LAYERS[0])], DIRECT)
    assert keys[0].startswith(EXTRACT_PREFIX)
    assert keys[0].endswith(f" {LAYERS[0].diff_id}")


def test_a_layer_labelled_with_another_compression_is_refused(storage: Trees) -> None:
    made = LAYERS[0].blob.descriptor
    wrong = Layer(
        Descriptor(made.media_type.replace("gzip", "zstd"), made.digest, made.size),
        LAYERS[0].diff_id,
        layer(LAYERS[0]).open,
    )
    with pytest.raises(DataError, match="is compressed with gzip"):
        unpack(storage, [wrong], DIRECT)
