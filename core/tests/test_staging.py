"""Blobs whose digest is known at the end only."""

from __future__ import annotations

from pathlib import Path

from swapbox.descriptors import digest_of
from swapbox.store.content import ContentStore
from swapbox.store.staging import StagedBlob


def test_a_published_blob_is_found_by_its_digest(tmp_path: Path) -> None:
    with StagedBlob(tmp_path) as blob:
        blob.write(b"one")
        blob.write(b"two")
        blob.publish()
    store = ContentStore(tmp_path)
    assert blob.digest == digest_of(b"onetwo")
    assert store.read(blob.digest) == b"onetwo"
    assert list((tmp_path / "ingest").iterdir()) == []


def test_what_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    with StagedBlob(tmp_path) as blob:
        blob.write(b"half")
    assert list((tmp_path / "ingest").iterdir()) == []


def test_clean_up_leaves_a_blob_alone_that_is_being_written(tmp_path: Path) -> None:
    with StagedBlob(tmp_path) as blob:
        blob.write(b"data")
        assert ContentStore(tmp_path).clean() == 0
        blob.publish()
    assert ContentStore(tmp_path).has(blob.digest)


def test_clean_up_takes_what_a_crash_has_left(tmp_path: Path) -> None:
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / f"new-{'0' * 32}").write_bytes(b"left")
    assert ContentStore(tmp_path).clean() == 4
    assert list((tmp_path / "ingest").iterdir()) == []
