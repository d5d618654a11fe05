"""Templates over the same data with swapbox and with the real docker client: the same text, the same mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.errors import Unsupported
from swapbox.templates import Template, TemplateError
from swapbox.testing.docker_api import replayed
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import scratch

pytestmark = pytest.mark.debian

DATA: dict[str, Any] = {
    "Zz": 1,
    "S": "abc",
    "U": "über €",
    "L": ["a", "b"],
    "M": {"b": 2, "a": 1, "n": None},
    "F": 1.5,
    "B": True,
    "E": [],
    "EM": {},
    "N": None,
    "D": {"x": {"y": [{"z": "deep"}, {"z": "er"}]}},
    "Num": [1, 2, 3],
    "Str": "<a href='x'>&\"</a>\n",
}
CASES = [
    line.replace("\\N", "\n")
    for line in Path(__file__).with_name("template_cases.txt").read_text().splitlines()
    if line and not line.startswith("# ")
]
UNTYPED = "{{$_ := .Zz}}"
"""A field that no type of docker's has: it then executes the template over the plain JSON."""


@pytest.fixture(scope="module")
def client() -> Iterator[Engine]:
    """The real docker client over a daemon that knows one container, ``x``."""
    try:
        with scratch("docker-") as directory, replayed(directory, {"containers/x/json": DATA}) as engine:
            yield engine
    except Unsupported as error:
        pytest.skip(f"no docker to compare with: {error}")


@pytest.mark.parametrize("template", CASES)
def test_a_template_prints_what_docker_prints(client: Engine, template: str) -> None:
    text = template + UNTYPED
    theirs = client("inspect", "--type", "container", "-f", text, "x")
    try:
        ours = (Template(text).render(DATA, strict=True), "")
    except TemplateError as error:
        ours = ("", f"template parsing error: {error.message}")
    assert ours == ("" if theirs.err else theirs.out, theirs.err)
