"""Commands that are killed, or held, at a function of swapbox: what a crash at this very place would do."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox

_PATCHED = """
import importlib, os, signal, sys
from swapbox.cli import main

place, what, *arguments = sys.argv[1:]
module, _, name = place.partition(":")
owner = importlib.import_module(f"swapbox.containers.{module}")
*outer, name = name.split(".")
for part in outer:
    owner = getattr(owner, part)
original, command = getattr(owner, name), os.getpid()

def patched(*args, **options):
    if what == "fail":
        raise KeyError(name)
    if what == "wait":
        open(os.environ["GATE"]).read()
        return original(*args, **options)
    if what.startswith("after"):
        original(*args, **options)
    if what.endswith("both"):
        os.kill(command, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, patched)
main(arguments)
"""


def patched(swapbox: Engine, place: str, what: str, *arguments: str) -> list[str]:
    """Return the command line of a swapbox in which a function is deadly, or waits.

    :param place: ``module:function`` or ``module:Class.method``, the module in ``swapbox.containers``.
    :param what: ``before`` or ``after`` kills whoever calls it, the command or its monitor, before or after the
        function's work; ``before both`` and ``after both`` kill the command with its monitor; with ``fail`` it
        raises a KeyError; with ``wait`` it waits until the FIFO that the variable ``GATE`` names was opened for
        writing and closed.
    """
    return [sys.executable, "-P", "-c", _PATCHED, place, what, *swapbox.argv(*arguments)[1:]]


class Gate:
    """Holds processes at a function; see :func:`held`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def wait(self) -> None:
        """Wait until a process has come there."""
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)

    def open(self) -> None:
        """Let it go on."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


@contextlib.contextmanager
def held(
    swapbox: Sandbox, directory: Path, place: str, *arguments: str
) -> Iterator[tuple[subprocess.Popen[bytes], Gate]]:
    """Start a command that is held whenever it, or its monitor, comes to a function; give it with the gate.

    :param directory: where the FIFO is made.
    """
    fifo = directory / f"gate-{os.urandom(4).hex()}"
    os.mkfifo(fifo)
    gate = Gate(fifo)
    command = subprocess.Popen(
        patched(swapbox, place, "wait", *arguments),
        env={**swapbox.environment, "GATE": str(fifo)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with command:
        try:
            yield command, gate
        finally:
            gate.open()
            if command.poll() is None:
                command.kill()


def files(swapbox: Sandbox) -> set[Path]:
    """Return what is below the roots; SQLite's files come and go."""
    paths = {path for top in (swapbox.root, swapbox.run_root) for path in top.rglob("*")}
    return {path for path in paths if ".sqlite" not in path.name}


def monitor_pid(swapbox: Sandbox, name: str) -> int:
    """Return the pid of the monitor that is recorded for a container; 0 for none."""
    with contextlib.closing(sqlite3.connect(swapbox.root / "db.sqlite", timeout=30)) as db:
        (text,) = db.execute("SELECT state FROM containers WHERE name = ?", (name,)).fetchone()
    monitor = json.loads(text)["monitor"]
    return int(monitor[0]) if monitor else 0
