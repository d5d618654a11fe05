"""What the comparison with Docker reads, hides and excuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from swapbox.testing import oracle
from swapbox.testing.oracle import Answer, Case, Difference

CASES = """\
# a group
= one thing
$ docker ps
$ docker ps -a
= another
"""

PAGE = """\
# Differences

| What | else |
|------|------|
| x | y |

## Case by case

Words.

| Case | Docker | swapbox | Why |
|------|--------|---------|-----|
| g: one | `a \\| b` | `c\\nd` | because |
| g: two | `only Docker` |  | less |

## After

| g: no | `x` | `y` | z |
"""


def test_cases_are_names_and_commands(tmp_path: Path) -> None:
    (tmp_path / "group.txt").write_text(CASES)
    assert oracle.read_cases(tmp_path / "group.txt") == [
        Case("group", "one thing", ("docker ps", "docker ps -a")),
        Case("group", "another", ()),
    ]


@pytest.mark.parametrize("text", ["docker ps", "$ before any name", "= a\n= a"])
def test_a_group_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "group.txt").write_text(text)
    with pytest.raises(ValueError, match=r"group\.txt"):
        oracle.read_cases(tmp_path / "group.txt")


@pytest.mark.parametrize(
    ("normalize", "before", "after"),
    [
        (oracle.times, "at 2024-01-02T03:04:05.678Z and 2024-01-02T03:04:05+01:00", "at <time> and <time>"),
        (oracle.times, "2024-01-02 03:04:05 +0000 UTC", "<time>"),
        (oracle.durations, "Up About an hour (healthy), 3 weeks ago", "Up <duration> (healthy), <duration> ago"),
        (oracle.durations, "Less than a second, 30s", "<duration>, 30s"),
        (oracle.columns, "a    b c   \nd", "a  b c\nd"),
        (oracle.whose, "Error response from daemon: no", "Error: no"),
        (oracle.whose, "docker: Error response from daemon: no", "docker: no"),
        (oracle.whose, "Run 'swapbox run --help'", "Run 'docker run --help'"),
        (oracle.runtime, "OCI runtime exec failed: exec failed: why: unknown", "why"),
        (oracle.hints, "Error: x\nhint: y\nz\n", "Error: x\nz\n"),
    ],
)
def test_a_normalizer_hides_one_thing(normalize: Callable[[str], str], before: str, after: str) -> None:
    assert normalize(before) == after


def test_ids_are_numbered_in_the_order_in_which_they_are_seen() -> None:
    first, second = "0a" * 32, "1b" * 32
    answers = [
        Answer("ps", 0, f"{second[:12]} sha256:{first}", ""),
        Answer("ps", 1, "", f"{first[:12]} {second} 123456789012"),
    ]
    assert list(oracle.alike(answers, {})) == [
        Answer("ps", 0, "<id 1> sha256:<id 2>", ""),
        Answer("ps", 1, "", "<id 2> <id 1> 123456789012"),
    ]


def test_paths_get_other_names() -> None:
    (answer,) = oracle.alike([Answer("x", 0, "/tmp/a/b", "")], {"/tmp/a": "/work"})
    assert answer.out == "/work/b"


def test_differences_are_read_from_the_table_of_their_section(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    assert oracle.read_differences(tmp_path / "page.md") == [
        Difference("g: one", "a | b", "c\nd", "because"),
        Difference("g: two", "only Docker", "", "less"),
    ]


def test_a_difference_excuses_nothing_but_itself() -> None:
    listed = [Difference("g: one", "old words", "new words", "28")]
    assert oracle.excused("$ x\n[1]\n! old words", listed) == "$ x\n[1]\n! new words"
    with pytest.raises(AssertionError, match="no difference any more"):
        oracle.excused("$ x\n[1]\n! new words", listed)
