"""The ledger: what the storage contract does not show of it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from swapbox.drivers.ledger import Ledger
from swapbox.errors import AlreadyExists, DataError, InvalidInput, NotFound, Unavailable
from swapbox.testing.forked import Forked


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def commit(ledger: Ledger, *keys: str) -> list[int]:
    """Make a chain of committed snapshots."""
    numbers, parent = [], None
    for key in keys:
        numbers.append(ledger.add("active", "active", parent))
        ledger.commit(key, "active")
        parent = key
    return numbers


def test_a_chain_goes_from_the_snapshot_to_the_first_layer(ledger: Ledger) -> None:
    one, two, three = commit(ledger, "one", "two", "three")
    top = ledger.add("top", "view", "three")
    assert ledger.chain("top") == [
        (top, "top", "view"),
        (three, "three", "committed"),
        (two, "two", "committed"),
        (one, "one", "committed"),
    ]
    with pytest.raises(NotFound, match="unknown"):
        ledger.chain("unknown")


def test_a_number_is_never_used_again(ledger: Ledger) -> None:
    first = ledger.add("key", "active", None)
    assert ledger.remove("key") == first
    assert ledger.add("key", "active", None) > first


def test_an_error_undoes_the_whole_transaction(ledger: Ledger) -> None:
    def add_two(fails: Exception | None) -> None:
        with ledger.transaction():
            ledger.add("one", "active", None)
            if fails:
                raise fails
            ledger.add("one", "active", None)

    with pytest.raises(AlreadyExists):
        add_two(None)
    with pytest.raises(OSError, match="disk"):
        add_two(OSError("disk"))
    assert list(ledger.walk()) == []


def test_a_parent_given_at_commit_may_not_contradict(ledger: Ledger) -> None:
    commit(ledger, "one", "two")
    ledger.add("bound", "active", "one")
    with pytest.raises(InvalidInput, match="builds on one, not on two"):
        ledger.commit("name", "bound", parent="two")
    ledger.commit("name", "bound", parent="one")
    assert ledger.get("name").parent == "one"


def test_forgetting_takes_all_that_builds_on_it(ledger: Ledger) -> None:
    numbers = commit(ledger, "one", "two", "three")
    ledger.add("beside", "active", "one")
    ledger.add("above", "active", "three")
    ledger.forget({numbers[1], 4711})
    assert [info.key for info in ledger.walk()] == ["one", "beside"]


def test_several_processes_make_one_file_and_lose_nothing(tmp_path: Path) -> None:
    def add(worker: int) -> list[int]:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        return [ledger.add(f"{worker}-{number}", "active", None) for number in range(20)]

    workers = [Forked(partial(add, worker)) for worker in range(4)]
    numbers = sorted(number for worker in workers for number in worker.result())
    assert numbers == list(range(1, 81))
    assert Ledger(tmp_path / "ledger.sqlite").numbers() == set(numbers)


def test_a_child_forked_while_the_file_is_open_loses_nothing(ledger: Ledger, tmp_path: Path) -> None:
    # As SQLite is by itself, the child's second commit would go to a log that the parent has deleted.
    ledger.add("parent", "active", None)
    answers, go = (os.pipe() for _ in range(2))

    def add_twice() -> None:
        other = Ledger(tmp_path / "ledger.sqlite")
        other.add("first", "active", None)
        os.write(answers[1], b"x")
        os.read(go[0], 1)
        other.add("second", "active", None)

    child = Forked(add_twice)
    os.read(answers[0], 1)
    assert len(ledger.numbers()) == 2
    ledger.close()
    os.write(go[1], b"x")
    child.result()
    for descriptor in (*answers, *go):
        os.close(descriptor)
    assert [info.key for info in ledger.walk()] == ["parent", "first", "second"]


def test_a_child_forked_inside_a_transaction_is_told_so(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.add("parent", "active", None)
        with pytest.raises(AssertionError, match="was forked inside a transaction"):
            Forked(ledger.numbers).result()
    assert len(ledger.numbers()) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_the_transactions_of_other_threads(ledger: Ledger) -> None:
    begun = threading.Event()
    ended: list[str] = []

    def work() -> None:
        with ledger.transaction():
            ledger.add("thread", "active", None)
            begun.set()
            for number in range(200):
                ledger.add(str(number), "active", None)
            ended.append("thread")

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    assert len(Forked(ledger.numbers).result()) == 201
    assert ended == ["thread"]
    thread.join()


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    def add(worker: int) -> None:
        for number in range(20):
            ledger.add(f"{worker}-{number}", "active", None)

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.numbers()) == 80


def test_a_file_that_stays_locked_is_unavailable(ledger: Ledger, tmp_path: Path) -> None:
    impatient = Ledger(tmp_path / "ledger.sqlite", timeout=0.01)
    with ledger.transaction():
        assert impatient.numbers() == set()  # readers do not wait
        with pytest.raises(Unavailable, match=r"ledger\.sqlite"):
            impatient.add("key", "active", None)
    impatient.add("key", "active", None)
    impatient.close()


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_text("not a database, and long enough to be looked at" * 100)
    with pytest.raises(DataError, match=r"ledger\.sqlite"):
        Ledger(path).numbers()


def test_a_file_of_a_newer_version_is_left_alone(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add("key", "active", None)
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(DataError, match="version 99"):
        ledger.numbers()
