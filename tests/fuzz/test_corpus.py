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


pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="atheris has no wheels for this machine")


def fuzz(target: str, tmp_path: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run the fuzzer; an input that fails stays below ``tmp_path``: into the corpus only ``make fuzz`` writes."""
    found = tmp_path / "found"
    found.mkdir()
    command = [
        sys.executable,
        str(FUZZER),
        target,
        str(found),
        f"-artifact_prefix={tmp_path}/",
        *options,
        "-seed=1",
    ]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=200)


@pytest.mark.parametrize(
    ("target", "runs"),
    [("reference", 2000), ("manifest", 1000), pytest.param("layer", 300, marks=pytest.mark.root)],
)
def test_inputs_of_the_corpus_and_such_as_are_made_from_them_are_no_surprise(
    target: str, runs: int, tmp_path: Path
) -> None:
    """The same runs each time, so that a failure can be had again."""
    done = fuzz(target, tmp_path, f"-runs={runs}")
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-4000:]
    assert b"Done " in done.stdout


def test_a_failing_input_is_not_written_into_the_checkout(tmp_path: Path) -> None:
    before = sorted(FUZZER.with_name("corpus").rglob("*"))
    done = fuzz("reference", tmp_path, "-rss_limit_mb=1")
    assert done.returncode != 0
    assert list(tmp_path.glob("oom-*"))
    assert sorted(FUZZER.with_name("corpus").rglob("*")) == before
