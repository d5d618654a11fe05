"""Swapbox and a real Docker with the same images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.testing import images, publish
from swapbox.testing.oracle import SETUP, Case, Pair, Shell, read_cases, transcript
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import sandbox, scratch

CASES = Path(__file__).parent / "cases"

IMAGES = {
    "busybox": {},
    "rich": {
        "Entrypoint": ["/bin/sh", "-c"],
        "Cmd": ["exec sleep 1000"],
        "Env": [images.PATH, "COLOUR=blue"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Labels": {"maker": "swapbox", "com.example.kind": "rich"},
        "StopSignal": "SIGKILL",
        "User": "app",
        "WorkingDir": "/home/app",
    },
}
"""What the images are called, and their configurations."""


@pytest.fixture(scope="session")
def pair(docker: Engine, registry: str, busybox_image: images.Image) -> Iterator[Pair]:
    """Both engines with the images, and without containers."""
    with sandbox() as swapbox, scratch("oracle-") as ours, scratch("oracle-") as theirs:
        for name, config in IMAGES.items():
            reference = publish.push(registry, name, "latest", images.busybox_image(config=config))
            for engine in (swapbox, docker):
                engine.ok("pull", "-q", reference)
                engine.ok("tag", reference, name)
        variables = {"REGISTRY": registry, "FROM_HOST": "a value"}
        yield Pair(Shell(swapbox, ours, variables), Shell(docker, theirs, variables))
        for name in IMAGES.keys() - {"busybox"}:
            docker("rmi", "-f", name, f"{registry}/{name}")


@pytest.fixture(scope="module")
def group(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Pair]:
    """Both engines with the containers that the case ``setup`` of a file makes."""
    setup = [case for case in read_cases(CASES / f"{request.param}.txt") if case.name == SETUP]
    try:
        for case in setup:
            ours, theirs = pair.run(case, keep=True)
            assert transcript(ours) == transcript(theirs)
        yield pair
    finally:
        pair.remove_containers()


def all_cases() -> list[Case]:
    return [case for file in sorted(CASES.glob("*.txt")) for case in read_cases(file)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        cases = [case for case in all_cases() if case.name != SETUP]
        parameters = [pytest.param(case.group, case, id=case.title) for case in cases]
        metafunc.parametrize(("group", "case"), parameters, indirect=["group"], scope="module")
