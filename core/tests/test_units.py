"""Sizes, durations, times and tables look like docker's."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from swapbox.cli import tables, units
from swapbox.cli.tabwriter import align
from swapbox.durations import parse_duration
from swapbox.errors import InvalidInput

SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (450 * 10**6, "Less than a second"),
        (SECOND, "1 second"),
        (59 * SECOND, "59 seconds"),
        (MINUTE, "About a minute"),
        (119 * SECOND, "About a minute"),
        (35 * MINUTE + 40 * SECOND, "35 minutes"),
        (59 * MINUTE, "59 minutes"),
        (HOUR + 29 * MINUTE, "About an hour"),
        (HOUR + 31 * MINUTE, "2 hours"),
        (36 * HOUR, "36 hours"),
        (2 * DAY, "2 days"),
        (13 * DAY + 5 * HOUR, "13 days"),
        (14 * DAY, "2 weeks"),
        (30 * DAY, "4 weeks"),
        (44 * DAY, "6 weeks"),
        (60 * DAY, "2 months"),
        (720 * DAY, "24 months"),
        (734 * DAY, "2 years"),
        (1155 * DAY, "3 years"),
        (-HOUR, "Less than a second"),
    ],
)
def test_a_duration_is_told_in_dockers_words(duration: int, words: str) -> None:
    assert units.human_duration(duration) == words
    assert units.age(duration) == f"{words} ago"


@pytest.mark.parametrize(
    ("size", "four", "three"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (1536, "1.536kB", "1.54kB"),
        (93_190_000, "93.19MB", "93.2MB"),
        (999_950, "1000kB", "1e+03kB"),
        (7_800_000_000, "7.8GB", "7.8GB"),
    ],
)
def test_a_size_has_decimal_units_and_so_many_digits(size: int, four: str, three: str) -> None:
    assert (units.human_size(size), units.human_size(size, precision=3)) == (four, three)


def test_a_memory_size_has_binary_units() -> None:
    assert [units.binary_size(size) for size in (512 << 20, 3 << 29, 100)] == ["512MiB", "1.5GiB", "100B"]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("10m", 10 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("-3ms", -3_000_000),
        ("+2us", 2000),
        ("7µs", 7000),
        ("12ns", 12),
        ("0", 0),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "-", "5", "1m30", "1h0", "1hm", "s", ".s", "1.2.3s", "1d", "-+1s"])
def test_a_duration_that_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="invalid duration"):
        parse_duration(text)


@pytest.fixture
def local_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is five hours behind UTC, all year."""
    monkeypatch.setenv("TZ", "LOC5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456789Z"),
        ("2024-02-29T00:00:00+02:00", "2024-02-28T22:00:00Z"),
        ("2024-01-02T03:04:05.5-07:00", "2024-01-02T10:04:05.5Z"),
        ("2024-01-02T03:04:05", "2024-01-02T08:04:05Z"),
        ("2024-01-02T03:04", "2024-01-02T08:04:00Z"),
        ("2024-01-02T03", "2024-01-02T08:00:00Z"),
        ("2024-01-02", "2024-01-02T05:00:00Z"),
        ("2024-01-02Z", "2024-01-02T00:00:00Z"),
        ("1999-12-31T23:59:59Z", "1999-12-31T23:59:59Z"),
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("1700000000.000000001", "2023-11-14T22:13:20.000000001Z"),
    ],
)
@pytest.mark.usefixtures("local_zone")
def test_a_moment_is_a_time_in_the_local_zone_unless_it_names_one(text: str, utc: str) -> None:
    assert units.format_time(units.parse_moment(text, now=0)) == utc


def test_a_moment_can_be_a_duration_before_now() -> None:
    assert units.parse_moment("10m", now=HOUR) == 50 * MINUTE


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2024-02-30", "2023-02-29", "2024-13-01", "2024-01-02T25", "2024-01-02T03:61", "-", "1.x"],
)
def test_what_is_no_moment_is_refused_with_dockers_words(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        units.parse_moment(text, now=0)
    assert caught.value.message == f'failed to parse value as time or duration: "{text}"'


def test_log_times_have_nine_digits() -> None:
    assert units.format_time(1_500_000_000, digits=9) == "1970-01-01T00:00:01.500000000Z"


def test_a_column_has_at_least_ten_characters_and_three_spaces_between() -> None:
    assert align("A\tB\tC\nlonger than ten\tb\tc\n") == (
        "A                 B         C\nlonger than ten   b         c\n"
    )


def test_a_line_with_fewer_cells_ends_a_column() -> None:
    assert align("a\tlong cell here\tx\nplain\nb\tc\tx\n") == (
        "a         long cell here   x\nplain\nb         c         x\n"
    )


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"status": "created"}, "Created"),
        ({"status": "running", "started": 55 * SECOND}, "Up 5 seconds"),
        ({"status": "running", "started": 55 * SECOND, "health": "healthy"}, "Up 5 seconds (healthy)"),
        ({"status": "running", "started": 55 * SECOND, "health": "starting"}, "Up 5 seconds (health: starting)"),
        ({"status": "paused", "started": 55 * SECOND, "health": "healthy"}, "Up 5 seconds (Paused)"),
        ({"status": "restarting", "finished": 56 * SECOND, "exit_code": 1}, "Restarting (1) 4 seconds ago"),
        ({"status": "exited", "finished": 59 * SECOND}, "Exited (0) 1 second ago"),
        ({"status": "removing"}, "Removal In Progress"),
        ({"status": "dead"}, "Dead"),
    ],
)
def test_the_status_is_told_in_dockers_words(state: dict[str, str | int], text: str) -> None:
    assert tables.status_text(now=MINUTE, **state) == text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "literal"),
    [('say "hi"\n', r'"say \"hi\"\n"'), ("back\\slash", r'"back\\slash"'), ("\x1b", r'"\x1b"'), ("ü…", '"ü…"')],
)
def test_a_command_is_quoted_as_a_go_string(text: str, literal: str) -> None:
    assert tables.quote(text) == literal


def test_the_size_column_tells_the_image_apart() -> None:
    assert tables.size_text(2, 21_500_000) == "2B (virtual 21.5MB)"
