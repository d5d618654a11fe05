"""Many small scripts on swapbox and on a real Docker: the same outputs and exit codes, or a difference listed.

Docker's client may be newer than its daemon; where they disagree, swapbox follows the client's release.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.testing.oracle import Case, Pair, excused, read_cases, read_differences, transcript

pytestmark = [pytest.mark.root, pytest.mark.debian]

DIFFERENCES = read_differences(Path(__file__).parents[2] / "docs/differences.md")
CASES = [case for file in Path(__file__).parent.glob("cases/*.txt") for case in read_cases(file)]


def test_swapbox_says_what_docker_says(group: Pair, case: Case) -> None:
    ours, theirs = group.run(case)
    listed = [difference for difference in DIFFERENCES if difference.case == case.title]
    assert transcript(ours) == excused(transcript(theirs), listed)


def test_every_difference_is_one_of_a_case_and_has_a_reason() -> None:
    titles = {case.title for case in CASES}
    for difference in DIFFERENCES:
        assert difference.case in titles
        assert difference.why
        assert difference.theirs != difference.ours
