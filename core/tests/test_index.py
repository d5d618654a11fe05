"""The index is used only while it is right and nobody else could have written it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from swapbox.plugins import index
from swapbox.plugins.index import Entry

ENTRIES = (
    Entry("a", "module_a", "dist-a", "1.0", ("swapbox_event",), validated=True),
    Entry("b", "module_b", "dist-b", "2"),
)
LONG_AGO = 1_600_000_000


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """A directory that was last changed long ago."""
    directory = tmp_path / "site"
    directory.mkdir()
    os.utime(directory, (LONG_AGO, LONG_AGO))
    return directory


@pytest.fixture
def cache(tmp_path: Path, watched: Path) -> Path:
    """A cache with an index of ``ENTRIES`` that depends on ``watched``."""
    index.write(tmp_path / "cache", ENTRIES, index.stamps([str(watched)]))
    return tmp_path / "cache"


def only_file(cache: Path) -> Path:
    (file,) = cache.iterdir()
    return file


def test_what_was_written_is_read_back(cache: Path) -> None:
    assert index.read(cache) == ENTRIES


def test_a_missing_index_is_no_index(tmp_path: Path) -> None:
    assert index.read(tmp_path) is None


def test_a_change_of_a_nanosecond_makes_it_stale(cache: Path, watched: Path) -> None:
    os.utime(watched, ns=(0, LONG_AGO * 10**9 + 1))
    assert index.read(cache) is None


def test_a_directory_that_appears_makes_it_stale(tmp_path: Path) -> None:
    index.write(tmp_path, ENTRIES, index.stamps([str(tmp_path / "later")]))
    assert index.read(tmp_path) == ENTRIES
    (tmp_path / "later").mkdir()
    assert index.read(tmp_path) is None


def test_a_file_replaced_with_the_same_mtime_and_size_makes_it_stale(tmp_path: Path) -> None:
    module, other = tmp_path / "module.py", tmp_path / "other.py"
    for file in module, other:
        file.write_text("same size")
        os.utime(file, (LONG_AGO, LONG_AGO))
    index.write(tmp_path / "cache", ENTRIES, index.stamps([str(module)]))
    other.rename(module)
    assert index.read(tmp_path / "cache") is None


def test_what_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    """A second change within one tick of the file system's clock would leave the same mtime."""
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    index.write(tmp_path / "cache", ENTRIES, index.stamps([str(fresh)]))
    assert index.read(tmp_path / "cache") is None


def test_another_search_path_has_an_index_of_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, "/elsewhere"])
        assert index.read(cache) is None
        index.write(cache, (), {})
    assert index.read(cache) == ENTRIES


def test_an_index_of_what_is_gone_is_removed_when_another_is_written(
    cache: Path, watched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, "/elsewhere"])
        index.write(cache, (), {})
        assert len([*cache.iterdir()]) == 2
        watched.rmdir()
        index.write(cache, (), {})
    assert len([*cache.iterdir()]) == 1


def test_an_index_takes_the_place_of_another_releases(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = only_file(cache)
    monkeypatch.setattr(index, "__version__", "999")
    index.write(cache, (), {})
    assert only_file(cache) != before


def test_half_an_index_is_left_to_who_writes_it_for_a_minute(cache: Path) -> None:
    half = cache / "plugins-00000000.json.1"
    half.write_text("{")
    index.write(cache, (), {})
    assert half.exists()
    os.utime(half, (LONG_AGO, LONG_AGO))
    index.write(cache, (), {})
    assert not half.exists()


def test_another_release_does_not_read_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(only_file(cache).read_text())
    document["key"][1] = "0.0.1"
    only_file(cache).write_text(json.dumps(document))
    assert index.read(cache) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"key": 1}', "\x00\xff"])
def test_an_unreadable_index_is_no_index(cache: Path, content: str) -> None:
    only_file(cache).write_text(content)
    assert index.read(cache) is None


def test_malformed_entries_are_no_index(cache: Path) -> None:
    document = json.loads(only_file(cache).read_text())
    document["entries"] = [["too", "short"], [1, 2, 3, 4, 5, 6, 7, 8, 9]]
    only_file(cache).write_text(json.dumps(document))
    assert index.read(cache) is None


def test_a_directory_that_others_may_write_is_not_trusted(cache: Path) -> None:
    cache.chmod(0o777)
    assert index.read(cache) is None


def test_a_directory_that_others_may_write_is_not_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    index.write(tmp_path, ENTRIES, {})
    assert [*tmp_path.iterdir()] == []


def test_a_file_that_others_may_write_is_not_trusted(cache: Path) -> None:
    only_file(cache).chmod(0o622)
    assert index.read(cache) is None


def test_a_link_to_an_index_is_not_followed(cache: Path, tmp_path: Path) -> None:
    moved = only_file(cache).rename(tmp_path / "moved.json")
    (cache / moved.name).unlink(missing_ok=True)
    file = cache / index_name(cache)
    file.symlink_to(moved)
    assert index.read(cache) is None


def index_name(cache: Path) -> str:
    index.write(cache, ENTRIES, {})
    name = only_file(cache).name
    only_file(cache).unlink()
    return name


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_an_index_of_another_user_is_not_trusted(cache: Path) -> None:
    os.chown(only_file(cache), 12345, 12345)
    assert index.read(cache) is None


def test_an_unwritable_place_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    index.write(tmp_path / "file", ENTRIES, {})
    index.write(tmp_path / "file/below", ENTRIES, {})
    assert index.read(tmp_path / "file") is None


def test_no_temporary_file_is_left(cache: Path) -> None:
    index.write(cache, ENTRIES, {})
    assert only_file(cache).suffix == ".json"


def test_a_failure_is_not_remembered_for_long(tmp_path: Path) -> None:
    """What a plugin lacked may have been installed outside Python since."""
    index.write(tmp_path, (ENTRIES[0]._replace(error="no such library"),), {})
    assert index.read(tmp_path) is not None
    os.utime(only_file(tmp_path), (LONG_AGO, LONG_AGO))
    assert index.read(tmp_path) is None
