"""Run a runtime's program: one fork and execve, with the descriptors that the container's command is to have."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from swapbox.drivers.isolation import Stdio
from swapbox.errors import Unsupported
from swapbox.linux import syscalls
from swapbox.linux.process import Process

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PR_GET_CHILD_SUBREAPER = 37
_LIMIT = 1 << 20  # bytes of output that are looked at


class Said(NamedTuple):
    """How a program ended: its exit code, minus a signal's number if one killed it, and its standard output."""

    code: int
    out: bytes


def find(name: str, path: str | None = None) -> str | None:
    """Return the program's path, None when it is not installed."""
    for directory in (path or os.environ.get("PATH") or _PATH).split(":"):
        candidate = os.path.join(directory, name)
        if directory.startswith("/") and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None


def required(name: str) -> str:
    """Return the program's path.

    :raises Unsupported: it is not installed.
    """
    if (path := find(name)) is None:
        raise Unsupported(f"the program {name} is not in $PATH", hint=f"install {name}, or choose --isolation ns")
    return path


def ask(argv: Sequence[str]) -> Said:
    """Run a program for what it prints."""
    out = os.memfd_create("out")
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        code = run(argv, stdio=Stdio(null, out, null))
        return Said(code, os.pread(out, _LIMIT, 0))
    finally:
        os.close(out)
        os.close(null)


def run(
    argv: Sequence[str],
    *,
    stdio: Stdio,
    directory: str = "/",
    begun: Callable[[Process], None] | None = None,
    prepare: Callable[[], None] | None = None,
) -> int:
    """Run a program to its end and return its exit code, minus the signal if one killed it.

    It does not outlive this process: a runtime that went on alone would make a container nobody knows of.

    :param begun: told of the process before it executes the program.
    :param prepare: called in it, before.
    """
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        _become(argv, stdio, directory, ready=ready, prepare=prepare)
    os.close(ready)
    try:
        if begun is not None:
            begun(Process.of(pid))
        os.write(go, b"g")
        os.close(go)
        go = -1
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own
        os.waitpid(pid, 0)
        raise
    finally:
        if go >= 0:
            os.close(go)


def _become(
    argv: Sequence[str], stdio: Stdio, directory: str, *, ready: int, prepare: Callable[[], None] | None
) -> NoReturn:
    """Execute the program in the forked child, or end with 127."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if not os.read(ready, 1):  # the parent is gone, or has changed its mind
            os._exit(127)
        if prepare is not None:
            prepare()
        os.chdir(directory)
        # Above 2 first: a descriptor to be copied may have one of the numbers that are written to.
        high = [_above(fd) for fd in stdio]
        for target, fd in enumerate(high):
            os.dup2(fd, target)
        syscalls.close_range(3)
        syscalls.reset_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(argv[0], list(argv), dict(_environment(os.environ)))
    except BaseException as error:
        os.write(2, f"{argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)
    raise AssertionError("unreachable")


def _above(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD, 3)


def _environment(own: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what a runtime may know: where programs are; and to whom it belongs, for the rootless ones."""
    yield "PATH", own.get("PATH") or _PATH
    for name in ("XDG_RUNTIME_DIR", "HOME", "_CONTAINERS_USERNS_CONFIGURED", "_CONTAINERS_ROOTLESS_UID"):
        if name in own:
            yield name, own[name]


@contextmanager
def adopting() -> Iterator[None]:
    """Make what a runtime leaves running a child of this process, also if it is not a subreaper otherwise.

    After an error nothing is left: a dead process of the container's that nobody waits for would keep the init,
    which waits for it, from ending.
    """
    was = ctypes.c_int()
    syscalls.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(was))
    before = _children()
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    except BaseException:
        for pid in _children() - before:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise
    finally:
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, was.value)


def _children() -> set[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
        return set(map(int, file.read().split()))
