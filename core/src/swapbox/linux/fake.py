"""A recording fake of the kernel: tests of order and flags need neither root nor namespaces.

Inside ``with recording() as calls`` every function of :mod:`swapbox.linux.syscalls`, and those of ``os`` that
change what the kernel thinks of the process, only append themselves to ``calls`` and return something plausible: a
fresh descriptor number or 0. What reads files goes to the real system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from swapbox.linux import syscalls

_OS = (
    "chdir chroot close dup2 fchdir fchown mkdir mknod setgid setgroups setresgid setresuid setsid setuid symlink"
    " umask unlink"
)
_DESCRIPTORS = frozenset({"open_tree", "openat2", "fsopen", "fsmount"})
_FIRST_FD = 1000


class Call(NamedTuple):
    """One recorded call, for example ``Call("mount", ("proc", "/proc"), {"fstype": "proc"})``."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Calls(list[Call]):
    """What was called, in order."""

    failures: dict[str, OSError]

    def __init__(self) -> None:
        super().__init__()
        self.failures = {}

    @property
    def names(self) -> list[str]:
        """The names alone."""
        return [call.name for call in self]

    def of(self, *names: str) -> list[Call]:
        """Return the calls of some functions, in order."""
        return [call for call in self if call.name in names]

    def fail(self, name: str, error: OSError) -> None:
        """Make every later call of ``name`` raise ``error``, after it is recorded."""
        self.failures[name] = error


@contextmanager
def recording() -> Iterator[Calls]:
    """Record kernel calls instead of making them; only for a test's process, and not from several threads."""
    calls = Calls()
    places: list[tuple[Any, str]] = [(os, name) for name in _OS.split()]
    places += [(syscalls, name) for name, value in vars(syscalls).items() if _is_call(name, value)]
    originals = [(place, name, getattr(place, name)) for place, name in places]
    for place, name in places:
        setattr(place, name, _recorder(calls, name))
    try:
        yield calls
    finally:
        for place, name, original in originals:
            setattr(place, name, original)


def _is_call(name: str, value: object) -> bool:
    return not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == syscalls.__name__


def _recorder(calls: Calls, name: str) -> Callable[..., Any]:
    def record(*args: Any, **kwargs: Any) -> Any:
        calls.append(Call(name, args, kwargs))
        if name in calls.failures:
            raise calls.failures[name]
        if name in _DESCRIPTORS:
            return _FIRST_FD + len(calls)
        return (0, 0, 0) if name == "capget" else 0

    return record
