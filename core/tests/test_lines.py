from __future__ import annotations

import random

import pytest

from swapbox.containers.lines import LIMIT, LineSplitter


def _records(chunks: list[bytes]) -> list[bytes]:
    return [record for chunk in chunks for record in chunk.splitlines(keepends=True)]


def test_one_read_of_many_lines_is_one_chunk() -> None:
    assert LineSplitter().feed(b"a\nb\nc\n") == [b"a\nb\nc\n"]


def test_an_incomplete_line_waits_for_its_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"a\nb") == [b"a\n"]
    assert splitter.pending == b"b"
    assert splitter.feed(b"c") == []
    assert splitter.feed(b"d\n") == [b"bcd\n"]
    assert splitter.pending == b""


def test_flush_gives_the_incomplete_line_once() -> None:
    splitter = LineSplitter()
    splitter.feed(b"prompt> ")
    assert splitter.flush() == [b"prompt> "]
    assert splitter.flush() == []


def test_a_handover_goes_on_in_the_middle_of_a_line() -> None:
    first = LineSplitter()
    first.feed(b"half")
    assert LineSplitter(first.pending).feed(b"way\n") == [b"halfway\n"]


@pytest.mark.parametrize(
    ("length", "parts"), [(LIMIT - 1, [LIMIT]), (LIMIT, [LIMIT, 1]), (2 * LIMIT + 5, [LIMIT, LIMIT, 6])]
)
def test_a_long_line_is_cut_where_docker_cuts_it(length: int, parts: list[int]) -> None:
    chunks = LineSplitter().feed(b"x" * length + b"\n")
    assert [len(chunk) for chunk in chunks] == parts


def test_lines_around_a_long_one_stay_whole() -> None:
    long = b"x" * LIMIT + b"tail\n"
    assert LineSplitter().feed(b"a\nb\n" + long + b"c\n") == [b"a\nb\n", b"x" * LIMIT, b"tail\nc\n"]


def test_a_character_is_never_cut_in_two() -> None:
    line = "é".encode() * LIMIT
    chunks = LineSplitter().feed(b"x" + line + b"\n")
    assert b"".join(chunks) == b"x" + line + b"\n"
    for chunk in chunks:
        chunk.decode()


def test_bytes_that_are_no_characters_are_cut_too() -> None:
    assert [len(chunk) for chunk in LineSplitter().feed(b"\x80" * (LIMIT + 1) + b"\n")] == [LIMIT, 2]


@pytest.mark.parametrize("seed", range(8))
def test_the_records_do_not_depend_on_how_the_bytes_arrive(seed: int) -> None:
    chance = random.Random(seed)
    lines = [b"%d" % seed * chance.choice([0, 1, 80, LIMIT - 1, LIMIT, 50_000]) + b"\n" for _ in range(30)]
    data = b"".join(lines)
    whole, pieces = LineSplitter(), LineSplitter()
    expected = _records(whole.feed(data))
    got: list[bytes] = []
    position = 0
    while position < len(data):
        size = chance.choice([1, 7, 1000, 16384, 65536])
        got += _records(pieces.feed(data[position : position + size]))
        position += size
    assert got == expected
    assert b"".join(got) == data
