"""What fuzzers have found stays found: each input of the corpus is tried, and some made from them.

``make fuzz`` looks for more; see ``run.py``.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("run.py")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="atheris has no wheels for this machine")
@pytest.mark.parametrize(
    ("target", "runs"),
    [("reference", 2000), ("manifest", 1000), pytest.param("layer", 300, marks=pytest.mark.root)],
)
def test_inputs_of_the_corpus_and_such_as_are_made_from_them_are_no_surprise(
    target: str, runs: int, tmp_path: Path
) -> None:
    """The same runs each time: a failure can be had again, and its input is in the corpus then."""
    command = [sys.executable, str(FUZZER), target, str(tmp_path), f"-runs={runs}", "-seed=1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-4000:]
    assert b"Done " in done.stdout
