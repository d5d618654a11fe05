"""What the command's main function does before anything else."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from swapbox import cli
cli._import_pathlib()
assert "urllib.parse" not in sys.modules
from pathlib import Path
assert Path("/a b/\\u00fc").as_uri() == "file:///a%20b/%C3%BC"
import urllib.parse
assert urllib.parse.urlsplit("http://host/x").netloc == "host"
"""


def test_pathlib_without_urllib_is_whole_and_urllib_comes_when_it_is_wanted() -> None:
    subprocess.run([sys.executable, "-I", "-c", SCRIPT], check=True)
