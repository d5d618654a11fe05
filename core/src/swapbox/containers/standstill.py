"""A container that runs stands still while its files are read, and goes on whatever happens to the reader."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from swapbox.errors import Conflict, NotFound, Unsupported

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine


@contextlib.contextmanager
def standing_still(engine: Engine, container: Container) -> Iterator[None]:
    """Pause a container that runs, and let it go on whatever happens to this process."""
    guard = None
    if container.state.status == "running":
        guard = _guard(engine, container)
        try:
            engine.containers.pause(container)
        except (Conflict, NotFound):  # it has just ended, or is paused
            _dismiss(guard)
            guard = None
        except Unsupported as error:
            _dismiss(guard)
            guard = None
            engine.warn(f"{error.message}; it goes on while it is committed")
    try:
        yield
    finally:
        if guard is not None:
            _go_on(engine, container)
            _dismiss(guard)


def _go_on(engine: Engine, container: Container) -> None:
    with contextlib.suppress(Conflict, NotFound):  # it was killed, or somebody else has done it
        engine.containers.unpause(engine.records.find(container.id))


def _guard(engine: Engine, container: Container) -> tuple[int, int]:
    """Fork a process that unpauses the container when this one dies; return its pid and the pipe that holds it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()  # what is typed at the terminal is for the command
            os.close(writer)
            if os.read(reader, 1) == b"":
                _go_on(engine.reopened(), container)
        finally:
            os._exit(0)
    os.close(reader)
    return pid, writer


def _dismiss(guard: tuple[int, int]) -> None:
    pid, writer = guard
    os.write(writer, b".")
    os.close(writer)
    os.waitpid(pid, 0)
