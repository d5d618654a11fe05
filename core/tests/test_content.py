from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from swapbox.descriptors import Descriptor, digest_of
from swapbox.errors import AlreadyExists, DataError, NotFound, PermissionDenied, Unavailable
from swapbox.store.content import ContentStore

DATA = bytes(range(256)) * 1000
BLOB = Descriptor("x", digest_of(DATA), len(DATA))


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def _partial(store: ContentStore) -> Path:
    return store.root / "ingest" / BLOB.digest.replace(":", "-")


def test_a_blob_can_be_read_once_it_was_written(store: ContentStore) -> None:
    assert not store.has(BLOB.digest)
    assert store.put(DATA) == BLOB.digest
    assert store.put(DATA) == BLOB.digest
    assert store.has(BLOB.digest)
    assert store.read(BLOB.digest) == DATA
    assert store.size(BLOB.digest) == len(DATA)
    assert list(store.walk()) == [BLOB.digest]


def test_sha512_is_as_good(store: ContentStore) -> None:
    blob = BLOB._replace(digest=digest_of(DATA, "sha512"))
    store.write(blob, DATA)
    assert store.read(blob.digest) == DATA
    assert list(store.walk()) == [blob.digest]


def test_an_empty_blob_is_a_blob(store: ContentStore) -> None:
    assert store.read(store.put(b"")) == b""


def test_nobody_else_can_read_the_store(store: ContentStore) -> None:
    os.umask(os.umask(0))
    store.put(DATA)
    modes = {oct(path.stat().st_mode & 0o777) for path in store.root.rglob("*") if path.is_file()}
    assert modes == {"0o600"}
    assert {
        oct(path.stat().st_mode & 0o777) for path in (store.root, *store.root.rglob("*")) if path.is_dir()
    } == {"0o700"}


def test_an_ingest_is_no_blob_until_it_is_committed(store: ContentStore) -> None:
    with store.ingest(BLOB) as ingest:
        ingest.write(DATA)
        assert not store.has(BLOB.digest)
        assert list(store.walk()) == []
        ingest.commit()
    assert store.has(BLOB.digest)
    assert not _partial(store).exists()


def test_an_ingest_goes_on_where_it_was_left(store: ContentStore) -> None:
    with store.ingest(BLOB) as ingest:
        ingest.write(DATA[:1000])
    with store.ingest(BLOB) as ingest:
        assert ingest.offset == 1000
        ingest.write(DATA[1000:])
        ingest.commit()
    assert store.read(BLOB.digest) == DATA


def test_a_partial_that_is_whole_needs_no_more_bytes(store: ContentStore) -> None:
    with store.ingest(BLOB) as ingest:
        ingest.write(DATA)
    with store.ingest(BLOB) as ingest:
        assert ingest.offset == len(DATA)
        ingest.commit()
    assert store.has(BLOB.digest)


@pytest.mark.parametrize("junk", [b"x" * len(DATA), DATA + b"x"], ids=["wrong", "too long"])
def test_a_partial_that_cannot_become_the_blob_starts_again(store: ContentStore, junk: bytes) -> None:
    store.put(b"")
    _partial(store).write_bytes(junk)
    with store.ingest(BLOB) as ingest:
        assert ingest.offset == 0
        ingest.write(DATA)
        ingest.commit()
    assert store.read(BLOB.digest) == DATA


def test_a_wrong_digest_leaves_nothing(store: ContentStore) -> None:
    with store.ingest(BLOB) as ingest:
        ingest.write(b"x" * len(DATA))
        with pytest.raises(DataError, match=f"verification failed for blob {BLOB.digest}"):
            ingest.commit()
    assert not store.has(BLOB.digest)
    assert not _partial(store).exists()


def test_too_many_bytes_leave_nothing(store: ContentStore) -> None:
    with store.ingest(BLOB) as ingest:
        ingest.write(DATA)
        with pytest.raises(DataError, match="longer than its 256000 bytes"):
            ingest.write(b"x")
    assert not _partial(store).exists()


def test_too_few_bytes_leave_nothing(store: ContentStore) -> None:
    with store.ingest(BLOB) as ingest:
        ingest.write(DATA[:-1])
        with pytest.raises(DataError, match="has 255999 bytes instead of 256000"):
            ingest.commit()
    assert not _partial(store).exists()


def test_a_blob_that_is_there_is_not_ingested(store: ContentStore) -> None:
    store.put(DATA)
    with pytest.raises(AlreadyExists):
        store.ingest(BLOB)


def test_who_comes_second_waits_and_finds_the_blob(store: ContentStore) -> None:
    first = store.ingest(BLOB)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        first.write(DATA)
        first.commit()

    with pytest.raises(AlreadyExists):
        store.ingest(BLOB, pause=pause)
    assert len(waited) == 1


def test_who_comes_second_goes_on_when_the_first_gives_up(store: ContentStore) -> None:
    first = store.ingest(BLOB)

    def pause(_seconds: float) -> None:
        first.write(DATA[:1000])
        first.close()

    with store.ingest(BLOB, pause=pause) as second:
        assert second.offset == 1000


def test_two_processes_share_the_work(store: ContentStore) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with store.ingest(BLOB) as ingest:
            os.write(writing, b"x")
            ingest.write(DATA)
            ingest.commit()
        os._exit(0)
    os.read(reading, 1)
    with pytest.raises(AlreadyExists):
        store.ingest(BLOB)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read(BLOB.digest) == DATA
    os.close(reading)
    os.close(writing)


def test_a_killed_writer_leaves_a_partial_that_goes_on(store: ContentStore) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        ingest = store.ingest(BLOB)
        ingest.write(DATA[:1000])
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert list(store.walk()) == []
    with store.ingest(BLOB) as ingest:
        assert ingest.offset == 1000
    os.close(reading)
    os.close(writing)


def test_a_forked_child_does_not_keep_the_lock(store: ContentStore) -> None:
    ingest = store.ingest(BLOB)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    ingest.close()
    with store.ingest(BLOB, pause=lambda _: pytest.fail("still locked")) as again:
        assert again.offset == 0
    os.close(writing)
    os.waitpid(child, 0)


def test_many_threads_want_one_blob_and_one_writes_it(store: ContentStore) -> None:
    written: list[int] = []

    def work() -> None:
        try:
            with store.ingest(BLOB, pause=lambda _: os.sched_yield()) as ingest:
                ingest.write(DATA)
                ingest.commit()
                written.append(1)
        except AlreadyExists:
            pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [1]
    assert store.read(BLOB.digest) == DATA


def test_a_full_disk_is_unavailable_and_keeps_the_partial(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if os.fstat(fd).st_size >= 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:1000])

    monkeypatch.setattr(os, "write", write)
    with store.ingest(BLOB) as ingest, pytest.raises(Unavailable, match="no space left on device") as caught:
        ingest.write(DATA)
    assert "rmi" in (caught.value.hint or "")
    assert _partial(store).stat().st_size == 1000


def test_a_read_only_store_is_permission_denied(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(PermissionDenied, match="read-only file system"):
        store.put(DATA)


def test_a_blob_that_rotted_is_a_data_error(store: ContentStore) -> None:
    store.put(DATA)
    store.path(BLOB.digest).write_bytes(b"x" * len(DATA))
    with pytest.raises(DataError, match="damaged on disk"):
        store.read(BLOB.digest)


def test_a_large_blob_is_not_loaded(store: ContentStore) -> None:
    store.put(DATA)
    with pytest.raises(DataError, match="longer than 10 bytes"):
        store.read(BLOB.digest, limit=10)


def test_what_is_not_there_is_not_found(store: ContentStore) -> None:
    for ask in (store.read, store.size):
        with pytest.raises(NotFound, match=BLOB.digest):
            ask(BLOB.digest)


def test_removing_twice_is_fine(store: ContentStore) -> None:
    store.put(DATA)
    store.remove(BLOB.digest)
    store.remove(BLOB.digest)
    assert not store.has(BLOB.digest)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../etc/passwd", "md5:" + "a" * 32, "/etc/passwd"])
def test_a_digest_cannot_lead_out_of_the_store(store: ContentStore, digest: str) -> None:
    for ask in (store.path, store.has, store.read, store.remove):
        with pytest.raises(DataError, match="invalid digest"):
            ask(digest)


def test_cleaning_removes_what_nobody_writes(store: ContentStore) -> None:
    other = b"other" * 100
    kept = store.ingest(Descriptor("x", digest_of(other), len(other)))
    with store.ingest(BLOB) as ingest:
        ingest.write(DATA[:1000])
    assert store.clean() == 1000
    assert not _partial(store).exists()
    kept.write(other)
    kept.commit()
    assert store.has(digest_of(other))


def test_a_partial_that_is_a_symlink_is_not_followed(store: ContentStore, tmp_path: Path) -> None:
    store.put(b"")
    _partial(store).symlink_to(tmp_path / "victim")
    with pytest.raises(Unavailable):
        store.ingest(BLOB)
    assert not (tmp_path / "victim").exists()


def test_closing_releases_the_lock(store: ContentStore) -> None:
    ingest = store.ingest(BLOB)
    with _partial(store).open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ingest.close()
        ingest.close()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
