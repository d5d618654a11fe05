"""Run an engine's command as a user does, and find whatever it left behind on the host."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, TypeVar

ResultT = TypeVar("ResultT")

_POLL = 0.02


class Result(NamedTuple):
    """How a command ended; ``code`` is negative when a signal killed it."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        """Standard output as text without the last newline."""
        return self.stdout.decode(errors="replace").removesuffix("\n")

    @property
    def err(self) -> str:
        """Standard error as text without the last newline."""
        return self.stderr.decode(errors="replace").removesuffix("\n")

    def check(self) -> Result:
        """Return the result itself.

        :raises AssertionError: the command failed; the message has its output.
        """
        assert self.code == 0, f"{' '.join(self.argv)} -> {self.code}\n{self.out}\n{self.err}"
        return self

    def fails(self, code: int, *words: str) -> Result:
        """Expect this exit code and an error with all ``words`` (in any case), and return the result itself.

        :raises AssertionError: it is otherwise, or the error is a traceback.
        """
        shown = f"{' '.join(self.argv)} -> {self.code}\n{self.out}\n{self.err}"
        assert self.code == code, shown
        assert self.err, f"no error said\n{shown}"
        assert "Traceback" not in self.err, shown
        for word in words:
            assert word.lower() in self.err.lower(), f"{word!r} is not in the error\n{shown}"
        return self


class Engine:
    """A container engine's command with its global options.

    :param prefix: program and global options, put before the arguments of every call.
    :param environment: the whole environment of every call.
    """

    def __init__(self, *prefix: str | Path, environment: Mapping[str, str]) -> None:
        self.prefix = tuple(map(str, prefix))
        self.environment = dict(environment)

    def __call__(
        self, *arguments: str | Path, stdin: bytes = b"", timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> Result:
        """Run to the end and return how it went.

        :param env: added to the environment.
        :raises subprocess.TimeoutExpired: it did not end within ``timeout`` seconds.
        """
        argv = self.argv(*arguments)
        done = subprocess.run(
            argv, input=stdin, capture_output=True, timeout=timeout, env={**self.environment, **(env or {})}
        )
        return Result(argv, done.returncode, done.stdout, done.stderr)

    def ok(
        self, *arguments: str | Path, stdin: bytes = b"", timeout: float = 60, env: Mapping[str, str] | None = None
    ) -> str:
        """Run, expect success and return the output without its last newline."""
        return self(*arguments, stdin=stdin, timeout=timeout, env=env).check().out

    def start(
        self, *arguments: str | Path, stdin: int | IO[bytes] = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start in the background with both outputs on pipes; the caller waits for it."""
        return _Started(
            self.argv(*arguments),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )

    def argv(self, *arguments: str | Path) -> tuple[str, ...]:
        """Return the whole command line."""
        return (*self.prefix, *map(str, arguments))


class _Started(subprocess.Popen[bytes]):
    """A command that a failing test does not wait for."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, value, traceback)


def wait_until(condition: Callable[[], ResultT], what: str, *, timeout: float = 15) -> ResultT:
    """Poll ``condition`` until it is true, and return its value.

    :raises AssertionError: it was never true within ``timeout`` seconds; the message says ``what``.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(_POLL)
    return value


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process(NamedTuple):
    """One process of the host."""

    pid: int
    command: str


def processes_naming(token: str) -> list[Process]:
    """Return every other process that refers to ``token``: in its command, environment, files or mounts.

    The token is a path's unguessable part, so whoever has it works for the engine whose root that is.
    """
    return [Process(pid, _command(pid)) for pid in _pids() if pid != os.getpid() and _names(pid, token.encode())]


def mounts_naming(token: str) -> list[str]:
    """Return the mountinfo lines that contain ``token``, of each mount namespace a process is in."""
    tables = {}
    for pid in _pids():
        namespace = _link(Path(f"/proc/{pid}/ns/mnt"))
        if namespace not in tables:
            tables[namespace] = _read(Path(f"/proc/{pid}/mountinfo"))
    lines = b"".join(tables.values()).decode(errors="replace").splitlines()
    return sorted({line for line in lines if token in line})


def cgroups(name: str) -> set[Path]:
    """Return the groups below those called ``name`` at the top of each mounted hierarchy."""
    found: set[Path] = set()
    for line in _read(Path("/proc/self/mountinfo")).decode().splitlines():
        if " - cgroup" in line:
            top = Path(line.split()[4]) / name
            found.update(path for path in top.glob("*") if path.is_dir())
    return found


def pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes: memory shared by n processes counts 1/n."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no Pss in /proc/{pid}/smaps_rollup")


def rss(pid: int) -> int:
    """Return the resident set size of a process in bytes, 0 for one that has ended."""
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if fields else 0


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _names(pid: int, token: bytes) -> bool:
    folder = Path(f"/proc/{pid}")
    if any(token in _read(folder / name) for name in ("cmdline", "environ")):
        return True
    # A mount in the host's namespace is everybody's, and says nothing about this process.
    namespace = _link(folder / "ns/mnt")
    if namespace not in (b"", _link(Path("/proc/self/ns/mnt"))) and token in _read(folder / "mountinfo"):
        return True
    if token in _link(folder / "cwd"):
        return True
    try:
        return any(token in _link(path) for path in (folder / "fd").iterdir())
    except OSError:
        return False


def _command(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/cmdline")).replace(b"\0", b" ").decode(errors="replace").strip()


def _read(path: Path) -> bytes:
    # A process may end at any moment, and a kernel thread has nothing to read.
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _link(path: Path) -> bytes:
    try:
        return os.fsencode(path.readlink())
    except OSError:
        return b""
