"""Layers in parallel: the same snapshots as one after the other, whatever fails or whoever else is at it."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from swapbox.drivers.storage import LayerTarget
from swapbox.errors import DataError, Unavailable
from swapbox.images import crew, parallel
from swapbox.images import progress as words
from swapbox.images.extract import Rules, Work
from swapbox.images.layers import Feed, Layer
from swapbox.images.unpack import chain_ids, unpack_layers
from swapbox.images.unpacker import Job
from swapbox.store.claims import Claims
from swapbox.testing import images
from swapbox.testing.forked import mounted
from swapbox.testing.images import directory, file, hardlink, layer_of, whiteout
from swapbox.testing.process import wait_until
from swapbox.testing.trees import Overlays, Told, Trees, described

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers have owners, and snapshots are mounted"),
]

LAYERS = [
    layer_of(
        [
            directory("tmp", mode=0o1777, uid=5),
            file("tmp/one", b"1"),
            directory("usr"),
            directory("usr/lib"),
            file("usr/lib/low"),
            directory("attributed"),
        ]
    ),
    layer_of([directory("tmp", mode=0o1777), file("tmp/two", b"2"), directory("usr"), whiteout("usr/lib")]),
    layer_of([file("tmp/three", b"3"), hardlink("tmp/same", "tmp/one")]),
    layer_of([directory("etc", uid=7), file("etc/four", b"4"), whiteout("attributed")]),
]


class Rebasing(Overlays):
    """Overlay directories that get their parents when they are committed."""

    def commit(
        self, name: str, key: str, *, parent: str | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        self.snapshots[key] = self.snapshots[key]._replace(parent=parent or self.snapshots[key].parent)
        super().commit(name, key, labels=labels)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rebasing:
    monkeypatch.setattr(parallel, "crew_size", lambda _layers, capabilities: 2 if "rebase" in capabilities else 1)
    (tmp_path / "storage").mkdir()
    return Rebasing(tmp_path / "storage")


def stored(made: images.Layer, directory: Path) -> Feed:
    path = directory / made.blob.descriptor.digest
    with made.blob.open() as source:
        path.write_bytes(source.read())
    return Feed.stored(made.blob.descriptor, path)


def unpack(storage: Trees, layers: list[Layer], *, claims: Claims | None = None, told: Told | None = None) -> str:
    capabilities = frozenset({"direct", "rebase"})
    progress = told or Told()
    return unpack_layers(storage, layers, capabilities=capabilities, progress=progress, claims=claims)  # type: ignore[arg-type]


def workers() -> list[int]:
    text = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    return [pid for pid in map(int, text.split()) if b"unpacker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_the_tree_is_the_same_as_of_layers_one_after_the_other(storage: Rebasing, tmp_path: Path) -> None:
    told = Told()
    layers = [Layer.of(stored(one, tmp_path), one.diff_id) for one in LAYERS]
    top = unpack(storage, layers, told=told)
    (tmp_path / "trees").mkdir()
    trees = Trees(tmp_path / "trees")
    capabilities = frozenset({"direct"})
    assert top == unpack_layers(trees, layers, capabilities=capabilities, progress=Told())  # type: ignore[arg-type]
    storage.prepare("look", top)
    assert mounted(storage.mounts("look"), described) == described(trees.path(top))
    chains = chain_ids([one.diff_id for one in LAYERS])
    assert [storage.stat(chain).parent for chain in chains] == [None, *chains[:-1]]
    assert [call[0] for call in told.calls if call[1] == "Pull complete"] == [
        one.blob.descriptor.digest for one in LAYERS
    ]
    assert workers() == []


def test_a_layer_is_unpacked_before_those_below_have_arrived(storage: Rebasing, tmp_path: Path) -> None:
    below, above = (layer_of([file(name, os.urandom(400_000))]) for name in ("below", "above"))
    path = tmp_path / "partial"
    data = below.blob.source
    assert isinstance(data, bytes)
    path.write_bytes(data[:300_000])
    feed = Feed(below.blob.descriptor, tmp_path / "whole")
    feed.grow(path, 300_000)
    layers = [Layer.of(feed, below.diff_id), Layer.of(stored(above, tmp_path), above.diff_id)]
    thread = threading.Thread(target=unpack, args=(storage, layers))
    thread.start()
    wait_until(
        lambda: any((found / "above").is_file() for found in storage.root.iterdir()), "the upper layer is written"
    )
    assert [one.kind for one in storage.snapshots.values()] == ["active", "active"]
    path.write_bytes(data)
    feed.finish()
    thread.join()
    assert [one.kind for one in storage.snapshots.values()] == ["committed", "committed"]


def test_a_failing_download_leaves_nothing_and_nobody(storage: Rebasing, tmp_path: Path) -> None:
    error = Unavailable("the registry is gone")
    feed = Feed(LAYERS[0].blob.descriptor, tmp_path / "none")
    feed.fail(error)
    with pytest.raises(Unavailable) as raised:
        unpack(storage, [Layer.of(stored(LAYERS[1], tmp_path), LAYERS[1].diff_id), Layer.of(feed, "sha256:0")])
    assert raised.value is error
    assert [one for one in storage.snapshots.values() if one.kind == "active"] == []
    assert workers() == []


def test_a_bad_layer_is_named_and_leaves_nothing(storage: Rebasing, tmp_path: Path) -> None:
    bad = layer_of([file("../escape")])
    layers = [Layer.of(stored(one, tmp_path), one.diff_id) for one in (bad, LAYERS[0])]
    with pytest.raises(DataError, match=f"^layer {bad.blob.descriptor.digest}: .*leads out of the tree"):
        unpack(storage, layers)
    assert storage.snapshots == {}
    wrong = [layers[1], layers[1]._replace(diff_id=LAYERS[1].diff_id)]
    with pytest.raises(DataError, match=f"unpacks to {LAYERS[0].diff_id}, its image config says"):
        unpack(storage, wrong)
    assert workers() == []


def test_an_interrupt_while_a_download_is_silent_ends_at_once(storage: Rebasing, tmp_path: Path) -> None:
    feed = Feed(LAYERS[0].blob.descriptor, tmp_path / "none")
    feed.grow(tmp_path / "partial", 0)
    (tmp_path / "partial").touch()

    class Interrupting(Told):
        def layer(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    layers = [Layer.of(feed, LAYERS[0].diff_id), Layer.of(stored(LAYERS[1], tmp_path), LAYERS[1].diff_id)]
    with pytest.raises(KeyboardInterrupt):
        unpack(storage, layers, told=Interrupting())
    assert storage.snapshots == {}
    assert workers() == []


def test_what_a_registry_says_about_a_layer_may_be_of_any_length(storage: Rebasing, tmp_path: Path) -> None:
    layers = [Layer.of(stored(one, tmp_path), one.diff_id) for one in LAYERS[:2]]
    for layer in layers:
        assert layer.feed is not None
        layer.feed.descriptor = layer.descriptor._replace(annotations={"a": "x" * 300_000}, urls=("y" * 300_000,))
    layers = [Layer.of(layer.feed, layer.diff_id) for layer in layers if layer.feed is not None]
    assert unpack(storage, layers) in storage.snapshots


FULL = """
import errno, sys
sys.path[:] = {path}
from swapbox.errors import Unavailable
from swapbox.images import unpacker
def extract(*_arguments, **_options):
    raise Unavailable("a" * 300_000, hint="free some") from OSError(errno.ENOSPC, "full")
unpacker.extract = extract
unpacker.main({fd})
"""


def test_an_error_has_its_cause_and_hint_and_may_be_long(
    storage: Rebasing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_PROGRAM", FULL)
    with pytest.raises(Unavailable, match=r"^aaa") as raised:
        unpack(storage, [Layer.of(stored(one, tmp_path), one.diff_id) for one in LAYERS[:2]])
    cause = raised.value.__cause__
    assert isinstance(cause, OSError)
    assert (cause.errno, raised.value.hint) == (errno.ENOSPC, "free some")


TELLING = """
import pickle, sys
sys.path[:] = {path}
import socket
from swapbox.errors import DataError
parent = socket.socket(fileno={fd})
job = pickle.loads(parent.recv(65536))
told = ("failed", DataError, "it is bad", None, None) if job.has_lower else ("done", 5)
parent.send(pickle.dumps(told))
job.target.path.touch()
parent.recv(1)
"""


def test_what_has_ended_when_another_fails_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_PROGRAM", TELLING)
    with crew.Crew(2, report=lambda *_: None, warn=pytest.fail) as made:
        for number, one in enumerate(LAYERS[:2]):
            path = tmp_path / f"told{number}"
            work = Work(one.blob.descriptor, one.diff_id, Rules())
            made.start(str(number), Job(work, LayerTarget(path, "overlay"), number > 0), stored(one, tmp_path))
            wait_until(path.exists, "it has told")
        assert made.wait() == [crew.Outcome("0", 5)]
        with pytest.raises(DataError, match="it is bad"):
            made.wait()


def test_a_process_that_dies_is_an_error(
    storage: Rebasing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_PROGRAM", "import os; os.kill(os.getpid(), 9)  # {path} {fd}")
    with pytest.raises(Unavailable, match=r"process that unpacks .* ended with -9"):
        unpack(storage, [Layer.of(stored(one, tmp_path), one.diff_id) for one in LAYERS])
    assert storage.snapshots == {}


@pytest.mark.parametrize("size", [1, 2])
def test_what_another_process_unpacks_is_waited_for(
    storage: Rebasing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(parallel, "crew_size", lambda _layers, _capabilities: size)
    chains = chain_ids([one.diff_id for one in LAYERS[:2]])
    layers = [Layer.of(stored(one, tmp_path), one.diff_id) for one in LAYERS[:2]]
    path, told = tmp_path / "claims", Told()

    def left() -> list[str]:
        return [digest for digest, status, *_ in told.calls if status == words.LEFT]

    with Claims(path, kind="test") as theirs, Claims(path, kind="test") as ours:
        assert theirs.take(chains[0])
        thread = threading.Thread(target=unpack, args=(storage, layers), kwargs={"claims": ours, "told": told})
        thread.start()
        wait_until(left, "it says that it waits")
        if size > 1:
            wait_until(lambda: list(storage.snapshots.values()), "what nobody is at is begun")
            assert not any(key.endswith(chains[0]) for key in storage.snapshots)
        storage.prepare("theirs", None)
        storage.commit(chains[0], "theirs")
        theirs.give_up(chains[0])
        thread.join()
        assert left() == [layers[0].descriptor.digest]
        assert set(storage.snapshots) == set(chains)
        assert theirs.take(chains[1])


def test_what_another_process_gives_up_is_taken_over(storage: Rebasing, tmp_path: Path) -> None:
    layers = [Layer.of(stored(one, tmp_path), one.diff_id) for one in LAYERS[:2]]
    path = tmp_path / "claims"
    theirs = Claims(path, kind="test")
    for chain in chain_ids([one.diff_id for one in LAYERS[:2]]):
        assert theirs.take(chain)
    with Claims(path, kind="test") as ours:
        thread = threading.Thread(target=unpack, args=(storage, layers), kwargs={"claims": ours})
        thread.start()
        theirs.close()  # as its death does
        thread.join()
    assert len(storage.snapshots) == 2


def test_claims_of_other_kinds_and_names_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    with Claims(path, kind="a") as first, Claims(path, kind="a") as second, Claims(path, kind="b") as other:
        assert first.take("x")
        assert first.take("x")
        assert not second.take("x")
        assert second.take("y")
        assert other.take("x")
        first.give_up("x")
        assert second.take("x")


def test_more_processes_are_for_more_than_one_large_layer() -> None:
    def sized(*sizes: int) -> list[Layer]:
        made = LAYERS[0].blob.descriptor
        return [Layer.of(Feed(made._replace(size=size), Path()), "sha256:0") for size in sizes]

    both = frozenset({"direct", "rebase"})
    most = min(len(os.sched_getaffinity(0)), 4)
    assert parallel.crew_size(sized(5_000_000, 5_000_000, 5_000_000, 5_000_000), both) == most
    assert parallel.crew_size(sized(90_000_000, 10), both) == 1
    assert parallel.crew_size(sized(5_000_000, 5_000_000), frozenset({"direct"})) == 1
    assert parallel.crew_size([], both) == 1


def test_what_refers_to_layers_below_needs_no_directory_that_a_kill_would_leave(
    storage: Rebasing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    before = os.listdir("/sys")
    assert unpack(storage, [Layer.of(stored(one, tmp_path), one.diff_id) for one in LAYERS]) in storage.snapshots
    assert os.listdir("/sys") == before
