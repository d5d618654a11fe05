"""What the parts of the suite share: the controller under test, a group, processes inside; and a fake kernel."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from swapbox.drivers.cgroup import CgroupController, CgroupHandle
from swapbox.errors import NotFound
from swapbox.linux.cgroupfs import Cgroupfs

MEGABYTE = 1 << 20


class FakeCgroupfs(Cgroupfs):
    """A kernel for a temporary folder: gives new groups files, and remembers what is written.

    :param files: what each new group has.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self.writes: list[tuple[str, str]] = []

    def mkdir(self, group: str) -> None:
        """Make a group with files."""
        super().mkdir(group)
        for name, text in self._files.items():
            (Path(group) / name).write_text(text)

    def rmdir(self, group: str) -> None:
        """Remove a group with its files."""
        for entry in Path(group).iterdir():
            if entry.is_file():
                entry.unlink()
        super().rmdir(group)

    def write(self, file: str, *values: str) -> None:
        """Remember the values by the file's name."""
        for value in values:
            self.writes.append((Path(file).name, value))
            super().write(file, value)


class Inmate:
    """A process inside a group that echoes bytes until it is released."""

    def __init__(self, handle: CgroupHandle) -> None:
        request, self._requests = os.pipe()
        self._answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _echo(handle, request, answer, self._requests)
        os.close(request)
        os.close(answer)
        self._status: int | None = None
        assert os.read(self._answers, 1) == b"+", "the process could not join"

    def ask(self) -> None:
        """Send a byte to echo."""
        os.write(self._requests, b"?")

    def answers(self, timeout: float) -> bool:
        """Say whether the echo comes within so many seconds."""
        return bool(select.select([self._answers], [], [], timeout)[0]) and os.read(self._answers, 1) == b"?"

    def wait(self) -> int:
        """Wait for the end and return the exit code, negative for a signal."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def end(self) -> None:
        """Kill it if it still lives, and clean up."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        for fd in (self._requests, self._answers):
            os.close(fd)


def _echo(handle: CgroupHandle, request: int, answer: int, other_end: int) -> None:
    try:
        os.close(other_end)
        handle.join()
        os.write(answer, b"+")
        while byte := os.read(request, 1):
            os.write(answer, byte)
    finally:
        os._exit(0)


class Base:
    """How the controller is made; cases about groups need the capability ``track``."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"track"})

    @pytest.fixture
    def controller(self) -> CgroupController:
        """Return the controller under test."""
        raise NotImplementedError

    @pytest.fixture
    def parent(self, controller: CgroupController) -> Iterator[str]:
        """Return the path below which this test makes its groups."""
        parent = f"swapbox-test-{os.getpid()}"
        yield parent
        for path in (*controller.walk(parent), parent):
            with suppress(NotFound):
                handle = controller.open(path)
                handle.kill()
                handle.delete()

    @pytest.fixture
    def create(self, controller: CgroupController, parent: str) -> Iterator[Callable[..., CgroupHandle]]:
        """Return a function that makes the test's group."""
        handles: list[CgroupHandle] = []

        def create(**resources: Any) -> CgroupHandle:
            for key, reason in controller.missing(resources).items():
                pytest.skip(f"{key} cannot be set here: {reason}")
            handles.append(controller.create(f"{parent}/group", resources))
            return handles[-1]

        yield create
        for handle in handles:
            handle.close()

    @pytest.fixture
    def start(self) -> Iterator[Callable[[CgroupHandle], Inmate]]:
        """Return a function that starts a process in a group."""
        inmates: list[Inmate] = []

        def start(handle: CgroupHandle) -> Inmate:
            inmates.append(Inmate(handle))
            return inmates[-1]

        yield start
        for inmate in inmates:
            inmate.end()

    @pytest.fixture(autouse=True)
    def _tracks(self, request: pytest.FixtureRequest) -> None:
        if "track" not in self.capabilities and "start" in request.fixturenames:
            pytest.skip("the controller has no capability 'track'")
