"""``top``: what the host's ps(1) says of a container's processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from swapbox.containers.events import happened
from swapbox.containers.processes import pids
from swapbox.errors import Conflict, InvalidInput, Unavailable, Unsupported

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine

DEFAULT = ("-ef",)
_RENAMED = re.compile(r"\s+(\S*)=\s*(PID\S*)")
_SPACE = re.compile(r"[ \t\n\v\f\r]+")  # what ps puts between columns, unlike a space of another alphabet


class Table(NamedTuple):
    """What ps printed: the titles of its columns, and as many cells per process."""

    titles: list[str]
    rows: list[list[str]]


def top(engine: Engine, container: Container, options: Sequence[str]) -> Table:
    """Return a table of a container's processes; costs one run of ps, whatever their number.

    :param options: for ps; ``-ef`` when there are none.
    :raises Conflict: it does not run.
    :raises InvalidInput: ps refuses the options, or they leave out the column PID.
    :raises Unsupported: there are options, and this host has no ps.
    """
    container = engine.containers.refresh(container)
    if container.state.status == "restarting":
        raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
    if not container.state.running:
        raise Conflict(f"container {container.id} is not running")
    _check(" ".join(options))
    table = _table(options or DEFAULT, pids(engine, container))
    happened(engine, container, "top")
    return table


def _check(options: str) -> None:
    """Refuse to let another column pass for the one with the pids."""
    for name, title in _RENAMED.findall(f" {options}"):
        if name != "pid":
            raise InvalidInput(f'specifying "{name}={title}" is not allowed')


def _table(options: Sequence[str], wanted: set[int]) -> Table:
    program = shutil.which("ps")
    if program is None and tuple(options) == DEFAULT:
        from swapbox.containers.ps import table

        return Table(*table(wanted))
    if program is None:
        raise Unsupported("no ps here", hint="without it, top takes no options; install the package procps")
    return parse(_output(program, " ".join(options).split(" "), wanted), wanted)


def _output(program: str, options: Sequence[str], wanted: set[int]) -> str:
    """Run ps for these processes alone; with an option that does not go with that, for all."""
    only = f"-q{','.join(map(str, sorted(wanted)))}"
    done = _run(program, *options, only)
    if done.returncode:
        done = _run(program, *options)
    if done.returncode:
        first = done.stderr.partition("\n")[0]
        if first:
            raise InvalidInput(f"ps: {first}")
        raise Unavailable(f"ps: exit status {done.returncode}")
    return done.stdout


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PS_FORMAT")}
    environment["LC_ALL"] = "C.UTF-8"
    try:
        return subprocess.run(argv, env=environment, capture_output=True, text=True, errors="surrogateescape")
    except OSError as error:
        raise Unavailable(f"cannot run {argv[0]}: {(error.strerror or '').lower()}") from error


def parse(output: str, wanted: set[int]) -> Table:
    """Read what ps printed, and keep the lines of some processes, threads included."""
    first, *lines = output.split("\n")
    titles = _cells(first)
    if "PID" not in titles:
        raise InvalidInput("Couldn't find PID field in ps output")
    return Table(titles, list(_rows(lines, wanted, titles.index("PID"), len(titles))))


def _rows(lines: Sequence[str], wanted: set[int], place: int, columns: int) -> Iterator[list[str]]:
    mine = False
    for line in filter(None, lines):
        cells = _cells(line)
        if len(cells) <= place:  # a process may have no name, or a blank one
            raise InvalidInput(f"Unexpected line without a pid: '{line}'")
        if cells[place] == "-":  # a thread of the process before
            if not mine:
                continue
        elif not cells[place].isdecimal():
            raise InvalidInput(f"Unexpected pid '{cells[place]}'")
        else:
            mine = int(cells[place]) in wanted
        if mine:
            yield [*cells[: columns - 1], " ".join(cells[columns - 1 :])]


def _cells(line: str) -> list[str]:
    return [cell for cell in _SPACE.split(line) if cell]
