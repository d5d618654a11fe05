"""What the whole-system tests share: swapbox as installed, registries, and a real Docker to compare with."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from swapbox.errors import Unsupported
from swapbox.testing import images, publish, servers
from swapbox.testing.process import Engine
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox, sandbox, scratch

BUSYBOX = "busybox"
"""The local name of the test image, in swapbox and Docker alike."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of Debian's registry, or of our own where that is not installed."""
    try:
        with servers.docker_registry(tmp_path_factory.mktemp("registry")) as address:
            yield address
    except Unsupported:
        with RegistryServer() as server:
            yield server.host


@pytest.fixture
def fake_registry() -> Iterator[RegistryServer]:
    """An empty registry that can be told to misbehave."""
    with RegistryServer() as server:
        yield server


@pytest.fixture(scope="session")
def busybox_image() -> images.Image:
    """An image of busybox."""
    try:
        return images.busybox_image()
    except Unsupported as error:
        pytest.skip(f"{error}: {error.hint}")


@pytest.fixture(scope="session")
def busybox_ref(registry: str, busybox_image: images.Image) -> str:
    """The reference of busybox in the registry."""
    return publish.push(registry, BUSYBOX, "latest", busybox_image)


_SHARED = pytest.StashKey[list[Engine | Sandbox]]()
"""The engines that files of tests share; each file finds nothing in them but busybox."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SHARED] = []
    # A shell's background job ignores interrupts, and so would every command that the tests start and interrupt.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def _shared(engine: Engine | Sandbox, busybox_ref: str, config: pytest.Config) -> Iterator[None]:
    engine.ok("pull", busybox_ref)
    engine.ok("tag", busybox_ref, BUSYBOX)
    config.stash[_SHARED].append(engine)
    yield
    config.stash[_SHARED].remove(engine)


@pytest.fixture(scope="session")
def _stocked(busybox_ref: str, pytestconfig: pytest.Config) -> Iterator[Sandbox]:
    with sandbox() as made, _shared(made, busybox_ref, pytestconfig):
        yield made


@pytest.fixture
def swapbox(_stocked: Sandbox) -> Iterator[Sandbox]:
    """Swapbox with the image ``busybox``; afterwards its containers are removed, and nothing may be left."""
    yield _stocked
    _stocked.remove_containers()
    _stocked.assert_no_leaks()


@pytest.fixture
def empty_swapbox() -> Iterator[Sandbox]:
    """Swapbox that has nothing yet, for tests that change images or break things."""
    with sandbox() as made:
        yield made


@pytest.fixture(scope="session")
def docker(busybox_ref: str, pytestconfig: pytest.Config) -> Iterator[Engine]:
    """A real Docker with the image ``busybox``."""
    try:
        with (
            scratch("docker-") as directory,
            servers.dockerd(directory) as engine,
            _shared(engine, busybox_ref, pytestconfig),
        ):
            yield engine
    except Unsupported as error:
        pytest.skip(f"no Docker to compare with: {error}")


@pytest.fixture(scope="module", autouse=True)
def _tidy(pytestconfig: pytest.Config) -> Iterator[None]:
    """Remove at its end what a file of tests has left in the engines it shares with others."""
    yield
    for engine in pytestconfig.stash[_SHARED]:
        _remove_all_but_busybox(engine)


def _remove_all_but_busybox(engine: Engine | Sandbox) -> None:
    if containers := engine.ok("ps", "-aq").split():
        engine.ok("rm", "-fv", *containers)
    names = engine.ok("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
    others = [line.split() for line in names if not line.split()[0].endswith(f"{BUSYBOX}:latest")]
    for name, identity in others:
        engine("rmi", "-f", identity if "<none>" in name else name)
