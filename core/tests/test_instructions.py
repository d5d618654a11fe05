"""Dockerfile instructions as text; what they do is compared with Docker in ``tests/e2e/test_commit.py``."""

from __future__ import annotations

import pytest

from swapbox.errors import InvalidInput
from swapbox.images.instructions import apply_changes, parse
from swapbox.images.words import expand, words


def test_lines_are_joined_and_comments_left_out() -> None:
    text = "# first\nRUN one \\\n  # inside\n\n  two\n\nCMD x\n"
    assert [tuple(instruction) for instruction in parse(text)] == [("RUN", "one   two"), ("CMD", "x")]


def test_a_line_that_goes_on_at_the_end_is_a_line() -> None:
    assert [tuple(instruction) for instruction in parse("CMD x \\")] == [("CMD", "x")]


def test_words_are_split_where_nothing_is_quoted() -> None:
    assert words("a 'b c' \"d e\" f\\ g h'i 'j") == ["a", "'b c'", '"d e"', "f\\ g", "h'i 'j"]
    assert words("'open") == ["'open"]
    assert words("end\\") == ["end\\"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$a", "1"),
        ("${a}2", "12"),
        ("$none", ""),
        ("${none:-x$a}", "x1"),
        ("${a:+other}", "other"),
        ("${none:+other}", ""),
        ("'$a'", "$a"),
        ('"$a b"', "1 b"),
        ("\\$a", "$a"),
        ('"\\$a\\n"', "$a\\n"),
        ("a$", "a$"),
        ("", ""),
    ],
)
def test_variables_and_quotes(word: str, value: str) -> None:
    assert expand(word, {"a": "1"}) == value


@pytest.mark.parametrize("word", ["${a", "${}", "${a:?x}", "${a:-x"])
def test_what_is_no_substitution_is_refused(word: str) -> None:
    with pytest.raises(InvalidInput):
        expand(word, {"a": "1"})


def test_a_configuration_is_not_changed_in_place() -> None:
    before = {"Env": ["A=1"], "Labels": {"a": "1"}}
    after = apply_changes(before, ["ENV B=2", "LABEL b=2"])
    assert before == {"Env": ["A=1"], "Labels": {"a": "1"}}
    assert after == {"Env": ["A=1", "B=2"], "Labels": {"a": "1", "b": "2"}}


def test_nothing_asked_for_changes_nothing() -> None:
    assert apply_changes({"Cmd": ["x"]}, []) == {"Cmd": ["x"]}
