"""Swapbox and a real Docker with the same images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.testing import images, publish, servers
from swapbox.testing.hosts import Host, host
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


NETWORKED = ("network", "port")
"""The groups whose engines live on hosts of their own."""


@pytest.fixture(scope="session")
def networked_pair(registry: str) -> Iterator[Pair]:
    """Both engines, each on a host of its own where it may make networks."""
    with (
        host() as one,
        host() as other,
        sandbox(network="bridge", enter=one.enter) as swapbox,
        scratch("oracle-") as ours,
        scratch("oracle-") as theirs,
        scratch("docker-") as directory,
        _dockerd(directory, other) as docker,
    ):
        outside = Engine(*swapbox.prefix[len(one.enter) :], environment=swapbox.environment)
        for name, config in IMAGES.items():  # the registry is on the real host, and Docker on another
            reference = publish.push(registry, name, "latest", images.busybox_image(config=config))
            outside.ok("pull", "-q", reference)
            outside.ok("tag", reference, name)
            outside.ok("save", "-o", directory / name, name)
            docker.ok("load", "-i", directory / name)
        yield Pair(Shell(swapbox, ours, {}), Shell(docker, theirs, {}))


@contextmanager
def _dockerd(directory: Path, place: Host) -> Iterator[Engine]:
    try:
        with servers.dockerd(directory, enter=place.enter) as engine:
            yield engine
    except Unsupported as error:
        pytest.skip(f"no Docker to compare with: {error}")


@pytest.fixture(scope="module")
def group(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both engines with the containers that the case ``setup`` of a file makes."""
    pair: Pair = request.getfixturevalue("networked_pair" if request.param in NETWORKED else "pair")
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
