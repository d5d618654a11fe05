"""From the forked monitor to the lean one, and back to the whole of swapbox when the command has ended."""

from __future__ import annotations

import marshal
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapbox.containers.container_run import ContainerRun
from swapbox.containers.launch import log_info, open_log
from swapbox.containers.runs import Run, resumed, stay
from swapbox.containers.session import Session, restore
from swapbox.engine import Engine
from swapbox.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGES = ("swapbox", "swapbox.containers")


def hand_over(run: Run) -> Session:
    """Execute ``lean.py`` in this process; return the session when that is impossible."""
    logged = run if isinstance(run, ContainerRun) else None
    try:
        recipe = _log_recipe(logged) if logged else None
    except Exception:  # a faulty plugin, or one that was removed since: nothing more is wanted of it
        recipe = None
    if logged and recipe is None:
        return run.session
    state: dict[str, Any] = {
        **interpreter(),
        "session": run.session.export(),
        "recipe": recipe,
        "engine": run.engine.settings,
        "identity": run.identity,
    }
    fd = memory_file(state)
    os.set_inheritable(fd, True)  # noqa: FBT003
    script = os.fspath(Path(__file__).with_name("lean.py"))
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", script, str(fd), run.identity[0]])
    except OSError:  # the interpreter is gone, as in the middle of an upgrade: go on as we are
        os.close(fd)
        return restore(state["session"], writer=open_log(logged.engine, logged.container) if logged else None)


def interpreter() -> dict[str, Any]:
    """Return what a bare interpreter (``python -I -S``) needs to find swapbox's modules."""
    packages = {name: os.fspath(Path(sys.modules[name].__file__ or "").parent) for name in _PACKAGES}
    return {"path": sys.path, "packages": packages}


def memory_file(state: Mapping[str, Any]) -> int:
    """Return a descriptor of a file in memory that holds plain values, marshalled."""
    fd = os.memfd_create("swapbox")
    data = marshal.dumps(dict(state))
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _log_recipe(run: ContainerRun) -> tuple[str, str, tuple[Any, ...]] | None:
    engine, container = run.engine, run.container
    choice = engine.selector.choose("logging", made_with=container.config.logging)
    if "recipe" not in choice.offer.spec.capabilities:
        return None
    driver: Any = engine.selector.open("logging", made_with=container.config.logging)
    recipe = driver.recipe(log_info(engine, container), container.config.log_opts)
    return (os.fspath(recipe.source), recipe.function, recipe.arguments)


def finish(state: Mapping[str, Any], session: Session, status: int) -> None:
    """Go on in the lean interpreter, which has imported swapbox only now, after the end of the command."""

    def warn(message: str) -> None:
        for client in session.clients:
            client.send(b"M" + message.encode())

    engine = Engine.from_settings(state["engine"], warn=warn)
    try:
        run = resumed(engine, state["identity"], session)
    except NotFound:  # the container was removed, and with it whatever would be to clean up
        session.end(status)
        return
    stay(run.end(status))
