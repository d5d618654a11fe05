"""Modules are imported without others that hardly any command needs, and are whole all the same."""

from __future__ import annotations

import subprocess
import sys

PATHLIB = """
import sys
from swapbox.cli.light import import_pathlib
import_pathlib()
assert "urllib.parse" not in sys.modules
from pathlib import Path
assert Path("/a b/\\u00fc").as_uri() == "file:///a%20b/%C3%BC"
import urllib.parse
assert urllib.parse.urlsplit("http://host/x").netloc == "host"
"""

LIGHT_CLICK = """
import sys
from swapbox.cli.light import import_click
import_click()
assert not {"inspect", "ast", "dis", "tokenize", "uuid", "platform", "gettext", "locale"} & set(sys.modules)
"""

CLICK = """
import click

LONG = '''One.

    Two.
      Three.
'''

@click.command(help=LONG, epilog="   Short.  ")
@click.option("--number", help=LONG, default=lambda: 3, show_default=True)
@click.option("--one", help="  A\\tline.  ")
@click.option("--id", type=click.UUID)
def command(number, one, id):
    print(number, id.int)

command.main(["--id", "00000000-0000-0000-0000-000000000007"], standalone_mode=False)
command.main(["--help"], standalone_mode=False)
import inspect, uuid
assert inspect.cleandoc("  a") == "a"
assert uuid.UUID(int=7).int == 7
"""


def printed(script: str) -> bytes:
    return subprocess.run([sys.executable, "-I", "-c", script], check=True, capture_output=True).stdout


def test_pathlib_is_whole_and_urllib_comes_when_it_is_wanted() -> None:
    assert printed(PATHLIB) == b""


def test_click_is_whole_and_prints_the_same() -> None:
    assert b"Three." in printed(CLICK)
    assert printed(LIGHT_CLICK + CLICK) == printed(CLICK)
