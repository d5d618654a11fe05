"""A SQLite file is upgraded when an older swapbox has written it, and left alone when a newer one has."""

from __future__ import annotations

import sqlite3
from multiprocessing import get_context
from pathlib import Path

import pytest

from swapbox.errors import DataError
from swapbox.linux.wal import WalFile
from swapbox.store.database import Database

OLD = ("CREATE TABLE things (name TEXT)",)
NEW = (*OLD, "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7", "CREATE TABLE others (id INTEGER)")


def put(path: Path, schema: tuple[str, ...], sql: str) -> None:
    file = WalFile(path, schema=schema)
    with file.connection() as db:
        db.execute(sql)
    file.close()


def look(path: Path) -> list[tuple[object, ...]]:
    file = WalFile(path, schema=NEW)
    with file.connection() as db:
        rows: list[tuple[object, ...]] = db.execute("SELECT * FROM things").fetchall()
    file.close()
    return rows


def test_an_older_file_gets_what_is_new_and_keeps_what_it_has(tmp_path: Path) -> None:
    put(tmp_path / "db", OLD, "INSERT INTO things VALUES ('kept')")
    assert look(tmp_path / "db") == [("kept", 7)]
    assert look(tmp_path / "db") == [("kept", 7)]


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path / "db", NEW, "INSERT INTO things VALUES ('newer', 1)")
    with pytest.raises(DataError, match="has version 3, not 1"):
        put(tmp_path / "db", OLD, "SELECT 1")
    assert look(tmp_path / "db") == [("newer", 1)]


def test_processes_that_upgrade_at_once_do_it_once(tmp_path: Path) -> None:
    put(tmp_path / "db", OLD, "INSERT INTO things VALUES ('kept')")
    processes = [get_context("fork").Process(target=look, args=(tmp_path / "db",)) for _ in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 5


def test_the_metadata_of_every_version_is_upgraded_to_the_same(tmp_path: Path) -> None:
    from swapbox.store.database import _SCHEMA

    def tables(path: Path) -> list[tuple[object, ...]]:
        Database(path).rows("SELECT 1")
        with sqlite3.connect(path) as db:
            return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()

    fresh = tables(tmp_path / "fresh")
    for version in range(1, len(_SCHEMA)):
        put(tmp_path / f"v{version}", _SCHEMA[:version], "SELECT 1")
        assert tables(tmp_path / f"v{version}") == fresh


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    put(tmp_path / "db", OLD, "INSERT INTO things VALUES ('secret')")
    file = WalFile(tmp_path / "db", schema=NEW)
    with file.connection() as db:
        db.execute("INSERT INTO things VALUES ('more', 1)")
        assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    file.close()
