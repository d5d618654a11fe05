"""``history``: the steps of an image, as a real Docker tells them."""

from __future__ import annotations

import pytest

from swapbox.testing import images, publish
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def reference(registry: str) -> str:
    image = images.layered_image(2)
    return publish.push(registry, "told", "1", image)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--no-trunc",
        "-q",
        "-q --no-trunc",
        "-H=false",
        "--format json",
        "--format {{.ID}}|{{.CreatedSince}}|{{.CreatedAt}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}}",
        "-q --format {{.Size}}",
        "--format {{.Foo}}",
    ],
)
def test_the_steps_are_told_as_by_docker(
    empty_swapbox: Sandbox, docker: Engine, reference: str, options: str
) -> None:
    answers = []
    for engine in (empty_swapbox, docker):
        engine.ok("pull", "-q", reference)
        answers.append(engine("history", *options.split(), reference))
    ours, theirs = answers
    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert ours.err == theirs.err


def test_an_image_that_is_not_there(swapbox: Sandbox) -> None:
    swapbox("history", "nosuch").fails(1, "No such image: nosuch:latest")
