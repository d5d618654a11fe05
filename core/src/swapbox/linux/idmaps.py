"""The ids of a user namespace: those that this process has, and those that a user may map into a new one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from swapbox.errors import Unsupported


class IdRange(NamedTuple):
    """``size`` ids from ``first`` on."""

    first: int
    size: int


def subordinate(path: Path, names: Sequence[str]) -> tuple[IdRange, ...]:
    """Return the ranges that a file in the format of subuid(5) gives to a user, in their order.

    :param names: the user's names in the file: login name, number.
    :raises Unsupported: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise Unsupported(f"cannot read {path}: {os.strerror(error.errno or 0).lower()}") from None
    found = []
    for name, first, size, *_ in ((*line.split(":"), "", "", "") for line in lines):
        if name in names and _is_number(first) and _is_number(size) and int(size):
            found.append(IdRange(int(first), int(size)))
    return tuple(found)


def maps_gid(gid: int) -> bool:
    """Say whether a group id means something in this process's user namespace."""
    return any(first <= gid < first + size for first, size in _mapped("gid"))


def has_one_id() -> bool:
    """Say whether root is the only user in this process's user namespace."""
    return sum(size for _, size in _mapped("uid")) == 1


def may_set_groups() -> bool:
    """Say whether setgroups(2) is allowed in this process's user namespace."""
    try:
        with open("/proc/self/setgroups", encoding="ascii") as file:
            return file.read().strip() != "deny"
    except FileNotFoundError:  # a kernel without user namespaces
        return True


def _mapped(kind: str) -> tuple[IdRange, ...]:
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:  # a kernel without user namespaces
        return (IdRange(0, 2**32 - 1),)
    return tuple(IdRange(int(first), int(size)) for first, _, size in lines)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
