"""Events: written by many, bounded, and followed without missing one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from swapbox import Event
from swapbox.store.event_filters import event_filter
from swapbox.store.events import EventLog

ID = "4fc4f0e7a0927decd8937765f864c704e1f4273c0b0390065c00357dfcc96d4a"


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events", limit=2000)


def write(log: EventLog, first: int, last: int, **attributes: str) -> None:
    for number in range(first, last + 1):
        log.append(Event("container", "start", ID, number, attributes))


def times(events: Iterator[Event]) -> list[int]:
    return [event.time for event in events]


def test_what_is_written_is_read(log: EventLog) -> None:
    event = Event("container", "exec_create: sh -c 'ä'", ID, 5, {"label": "one\ntwo", "name": "\udc80"})
    log.append(event)
    assert list(log.read()) == [event]


def test_nothing_has_happened_yet(log: EventLog) -> None:
    assert list(log.read()) == []


def test_moments_are_limits(log: EventLog) -> None:
    write(log, 1, 9)
    assert times(log.read(since=3, until=5)) == [3, 4, 5]


def test_the_files_are_private(log: EventLog, tmp_path: Path) -> None:
    write(log, 1, 1)
    assert (tmp_path / "events").stat().st_mode & 0o077 == 0
    assert (tmp_path / "events/current").stat().st_mode & 0o077 == 0


def test_a_run_root_that_the_first_event_or_reader_makes_is_private(tmp_path: Path) -> None:
    write(EventLog(tmp_path / "written/events"), 1, 1)
    list(EventLog(tmp_path / "read/events").follow(until=0))
    assert [(tmp_path / name).stat().st_mode & 0o077 for name in ("written", "read")] == [0, 0]


def test_space_is_bounded_and_the_last_events_are_there(log: EventLog, tmp_path: Path) -> None:
    write(log, 1, 500)
    assert sum(file.stat().st_size for file in (tmp_path / "events").iterdir()) < 2 * 2200
    kept = times(log.read())
    assert kept == list(range(kept[0], 501))
    assert len(kept) >= 2000 // 100


def test_a_line_that_was_cut_is_left_out(log: EventLog, tmp_path: Path) -> None:
    write(log, 1, 1)
    with (tmp_path / "events/current").open("ab") as file:
        file.write(b'["conta\n')
    write(log, 3, 3)
    assert times(log.read()) == [1, 3]


def test_many_processes_write_whole_lines_at_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events", limit=1 << 24)
    children = []
    for writer in range(4):
        if (pid := os.fork()) == 0:
            write(log, writer * 1000, writer * 1000 + 999, padding="x" * 500)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert sorted(times(log.read())) == list(range(4000))


def test_many_processes_rotate_without_losing_what_is_new(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events", limit=50_000)
    children = []
    for writer in range(4):
        if (pid := os.fork()) == 0:
            write(log, writer * 1000, writer * 1000 + 999)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    kept = times(log.read())
    assert len(kept) * 90 > 50_000  # a whole previous file, whoever made it
    assert len({*kept}) == len(kept)


class Follower:
    """Follows in a thread, and has begun when it is made."""

    def __init__(self, log: EventLog, *, until: int | None = None, since: int | None = None) -> None:
        self._seen: Queue[int] = Queue()
        self._thread = threading.Thread(target=self._run, args=(log, since, until), daemon=True)
        self._thread.start()

    def _run(self, log: EventLog, since: int | None, until: int | None) -> None:
        for event in log.follow(since=since, until=until):
            self._seen.put(event.time)

    def take(self, number: int) -> list[int]:
        return [self._seen.get(timeout=30) for _ in range(number)]

    def join(self) -> None:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        assert self._seen.empty()


def test_a_follower_misses_nothing_through_rotations(log: EventLog) -> None:
    write(log, 1, 1)
    follower = Follower(log, since=1)
    assert follower.take(1) == [1]
    for number in range(2, 300):  # each is waited for: 30 rotations
        write(log, number, number)
        assert follower.take(1) == [number]


def test_a_follower_sees_what_comes_late_to_a_file_that_was_rotated_out(log: EventLog, tmp_path: Path) -> None:
    write(log, 1, 1)
    late = os.open(tmp_path / "events/current", os.O_WRONLY | os.O_APPEND)
    follower = Follower(log, since=1)
    os.rename(tmp_path / "events/current", tmp_path / "events/previous")
    write(log, 2, 2)
    assert follower.take(2) == [1, 2]
    os.write(late, f'["container","start","{ID}",3,{{}}]\n'.encode())
    os.close(late)
    assert follower.take(1) == [3]


def test_following_ends_at_a_moment(log: EventLog) -> None:
    write(log, 1, 3)
    follower = Follower(log, since=2, until=time.time_ns() + 10**8)
    assert follower.take(2) == [2, 3]
    follower.join()


def test_a_follower_leaves_no_descriptor(log: EventLog) -> None:
    write(log, 1, 100)
    before = sorted(os.listdir("/proc/self/fd"))
    assert times(log.follow(since=90, until=1000)) == list(range(90, 101))
    assert sorted(os.listdir("/proc/self/fd")) == before


EVENTS = (
    Event("container", "start", ID, 1, {"name": "web1", "image": "localhost:5000/nginx:1", "role": "front"}),
    Event("container", "exec_create: ls /", ID, 2, {"name": "web2", "image": "nginx"}),
    Event("image", "pull", "nginx:latest", 3, {"name": "nginx"}),
    Event("network", "connect", "n1", 4, {"name": "web", "type": "bridge", "container": ID}),
    Event("volume", "create", "v1", 5, {"driver": "local"}),
    Event("container", "health_status: healthy", "a" * 64, 6, {"name": "db", "image": "sha256:abc"}),
)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"container": ["web"]}, [1, 2, 4]),  # as in Docker: what begins so, of any type
        ({"container": [ID[:12]]}, [1, 2]),
        ({"container": ["web1", "db"]}, [1, 6]),
        ({"type": ["image", "volume"]}, [3, 5]),
        ({"event": ["exec_create"]}, [2]),
        ({"event": ["health_status"]}, [6]),
        ({"event": ["health_status: healthy", "pull"]}, [3, 6]),
        ({"event": ["st"]}, []),
        ({"image": ["nginx"]}, [2, 3]),
        ({"image": ["localhost:5000/nginx"]}, [1]),
        ({"image": ["sha256:abc"]}, [6]),
        ({"label": ["role"]}, [1]),
        ({"label": ["role=front", "name=web1"]}, [1]),
        ({"label": ["role=front", "name=web2"]}, []),
        ({"volume": ["v"]}, [5]),
        ({"network": ["n1"]}, [4]),
        ({"scope": ["local"]}, [1, 2, 3, 4, 5, 6]),
        ({"scope": ["swarm"]}, []),
        ({"daemon": ["x"]}, []),
        ({"container": ["web"], "event": ["start", "die"]}, [1]),
        ({"nonsense": ["x"]}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_filters(filters: dict[str, list[str]], expected: list[int]) -> None:
    assert [event.time for event in EVENTS if event_filter(filters)(event)] == expected
