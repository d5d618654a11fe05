"""The same commands on swapbox and on a real Docker, and what may differ in their answers.

A group of cases is a text file. A case is a line ``= NAME`` and lines ``$ COMMAND`` below it, each run by a shell
in which ``docker`` is the engine; ``#`` begins a comment. There is no expected output: Docker gives it. A case
called ``setup`` runs first, and its containers are there for all cases of its file; those that another case makes
are removed after it. The shell also knows

- ``await COMMAND``: run it quietly until it succeeds;
- ``$REGISTRY``: where the images come from; ``$FROM_HOST``: a variable of the host's.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from swapbox.testing.process import Engine

SETUP = "setup"

_SECONDS = 60

_AWAIT = """\
#!/bin/sh
for _ in $(seq 500); do "$@" >/dev/null 2>&1 && exit; sleep 0.02; done
echo "never: $*" >&2
exit 1
"""


class Case(NamedTuple):
    """Commands that are run one after another."""

    group: str
    name: str
    commands: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name that ``docs/differences.md`` uses."""
        return f"{self.group}: {self.name}"


def read_cases(file: Path) -> list[Case]:
    """Read a group of cases.

    :raises ValueError: a line is none of the three kinds, or a name is there twice.
    """
    cases: list[Case] = []
    for line in file.read_text().splitlines():
        kind, _, text = line.partition(" ")
        if kind == "=":
            cases.append(Case(file.stem, text, ()))
        elif kind == "$" and cases:
            cases[-1] = cases[-1]._replace(commands=(*cases[-1].commands, text))
        elif line and kind != "#":
            raise ValueError(f"{file.name}: neither a name nor a command: {line}")
    if len({case.name for case in cases}) < len(cases):
        raise ValueError(f"{file.name}: two cases with one name")
    return cases


# -- running ------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What one command said."""

    command: str
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        parts = [f"$ {self.command}", f"[{self.code}]", self.out, *(f"! {line}" for line in self.err.splitlines())]
        return "\n".join(part for part in parts if part)


class Shell:
    """A shell in which ``docker`` is one of the engines, with a directory of its own.

    :param directory: empty; its path is unguessable.
    :param variables: for the environment of every command.

    ``kept`` are the containers that stay after a case.
    """

    def __init__(self, engine: Engine, directory: Path, variables: Mapping[str, str]) -> None:
        self.engine = engine
        self.kept: set[str] = set()
        self.directory = directory / "work"
        programs = directory / "bin"
        for made in (self.directory, programs):
            made.mkdir()
        _program(programs / "await", _AWAIT)
        _program(programs / "docker", f'#!/bin/sh\nexec {" ".join(engine.prefix)} "$@"\n')
        path = f"{programs}:{engine.environment['PATH']}"
        self._environment = {**engine.environment, **variables, "PATH": path}

    def __call__(self, case: Case) -> list[Answer]:
        """Run the commands of a case."""
        return [self._run(command) for command in case.commands]

    def _run(self, command: str) -> Answer:
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd=self.directory,
                env=self._environment,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return Answer(command, -1, "", f"did not end within {_SECONDS} s")
        return Answer(
            command, done.returncode, *(text.decode(errors="replace") for text in (done.stdout, done.stderr))
        )


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


class Pair:
    """Swapbox and Docker side by side."""

    def __init__(self, ours: Shell, theirs: Shell) -> None:
        self._shells = (ours, theirs)

    def run(self, case: Case, *, keep: bool = False) -> tuple[list[Answer], list[Answer]]:
        """Run a case on both at once; return the answers of swapbox and of Docker, made alike.

        :param keep: the containers that it makes stay.
        """
        with ThreadPoolExecutor(2) as pool:
            ours, theirs = pool.map(lambda shell: self._run(shell, case, keep=keep), self._shells)
        return ours, theirs

    def remove_containers(self) -> None:
        """Remove every container of both."""
        for shell in self._shells:
            shell.kept = set()
            _remove(shell.engine, _containers(shell.engine))

    @staticmethod
    def _run(shell: Shell, case: Case, *, keep: bool) -> list[Answer]:
        try:
            return list(alike(shell(case), {str(shell.directory): "/work"}))
        finally:
            there = _containers(shell.engine)
            if keep:
                shell.kept = there
            _remove(shell.engine, there - shell.kept)


def _containers(engine: Engine) -> set[str]:
    return set(engine.ok("ps", "-aq", "--no-trunc").split())


def _remove(engine: Engine, containers: set[str]) -> None:
    if containers:
        engine("rm", "-f", "-v", *sorted(containers))


# -- making alike -------------------------------------------------------------------------------------------------


def times(text: str) -> str:
    """Hide points in time."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} \w+", "<time>", text)


def durations(text: str) -> str:
    """Hide how long something took or is ago."""
    return re.sub(
        r"\b(Less than a second|About an? (minute|hour)|\d+ (second|minute|hour|day|week)s?)\b", "<duration>", text
    )


def columns(text: str) -> str:
    """Make columns two spaces apart, whatever is in them."""
    return re.sub(r" {2,}", "  ", re.sub(r" +$", "", text, flags=re.MULTILINE))


def whose(text: str) -> str:
    """Hide which of the two speaks: the command's name, and that Docker has a daemon."""
    text = text.replace("Error response from daemon: ", "Error: ").replace("docker: Error: ", "docker: ")
    return re.sub(r"\bswapbox\b(?!/)", "docker", text)


def runtime(text: str) -> str:
    """Leave out through whose hands a message of Docker's runtime came."""
    text = re.sub(
        r"(failed to create (shim )?task( for container)?: )?OCI runtime (create|exec) failed: ", "", text
    )
    text = re.sub(r"runc (create|exec) failed: |unable to start container process: |exec failed: ", "", text)
    return re.sub(r": unknown(?=\r?$)", "", text, flags=re.MULTILINE)


def hints(text: str) -> str:
    """Leave out the lines that swapbox adds to errors."""
    return re.sub(r"^hint: .*\n", "", text, flags=re.MULTILINE)


NORMALIZERS: Sequence[Callable[[str], str]] = (times, durations, columns, whose, runtime, hints)
"""What is done to every output; ids are numbered besides, by :func:`alike`."""


def alike(answers: Sequence[Answer], paths: Mapping[str, str]) -> Iterator[Answer]:
    """Yield answers without what differs between two runs of one command.

    Ids become numbers in the order in which they are first seen, short and long ones alike.

    :param paths: directories, and what they are called instead.
    """
    ids: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return ids.setdefault(match[0][:12], f"<id {len(ids) + 1}>")

    def plain(text: str) -> str:
        for path, name in paths.items():
            text = text.replace(path, name)
        for normalize in NORMALIZERS:
            text = normalize(text)
        return re.sub(r"\b(?=\d*[a-f])([0-9a-f]{64}|[0-9a-f]{12})\b", number, text)

    for answer in answers:
        yield answer._replace(out=plain(answer.out), err=plain(answer.err))


# -- differences --------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Where swapbox says something else than Docker, on purpose."""

    case: str
    theirs: str
    ours: str
    why: str


def read_differences(page: Path) -> list[Difference]:
    """Read the table below the heading ``Case by case``: the case, Docker's text, ours, and the reason.

    Texts are in backquotes; an empty cell is no text.
    """
    _, _, section = page.read_text().partition("\n## Case by case\n")
    rows = [
        line.strip().strip("|") for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")
    ]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows[1:]]
    return [Difference(case, _text(theirs), _text(ours), why) for case, theirs, ours, why in cells]


def _text(cell: str) -> str:
    return (
        cell.removeprefix("`")
        .removesuffix("`")
        .replace("\\|", "|")
        .replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\t", "\t")
    )


def transcript(answers: Sequence[Answer]) -> str:
    """Return answers as one text."""
    return "\n".join(map(str, answers))


def excused(theirs: str, differences: Sequence[Difference]) -> str:
    """Return what swapbox is to say where Docker says ``theirs``.

    :raises AssertionError: Docker does not say what a difference says that it does.
    """
    for difference in differences:
        assert difference.theirs in theirs, f"no difference any more: Docker does not say {difference.theirs!r}"
        theirs = theirs.replace(difference.theirs, difference.ours)
    return theirs
