"""Users and groups: Docker's ``--user`` looked up in a container's own files, and ids for user namespaces.

The image's files are hostile. They are opened with openat2(2) inside the root file system, so that a symbolic link
cannot lead to the host's ``/etc/passwd``; only regular files of a sane size are read. The host's users are never
asked.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swapbox.containers.config import IdMapping
from swapbox.errors import DataError, InvalidInput, NotFound
from swapbox.linux import syscalls

if TYPE_CHECKING:
    from swapbox.linux.idmaps import IdRange

_MAXIMUM_ID = 2**31 - 1
_MAXIMUM_SIZE = 16 * 1024 * 1024
_RESERVED_RANGE = IdMapping(0, 524_288, 65_536)


class User(NamedTuple):
    """Who a process runs as; ``additional_gids`` starts with ``gid``, as in Docker."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str


class _Account(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class _Group(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


def resolve_user(rootfs: Path, user: str, *, group_add: Iterable[str] = ()) -> User:
    """Find the user ``name|uid[:group|gid]`` in the passwd and group files of ``rootfs``; empty is uid 0.

    A number needs no entry. Without a group given, the user is in every group that lists the name.

    :raises NotFound: a name is not there, with Docker's words.
    :raises InvalidInput: a number is out of range.
    """
    name, _, group = user.partition(":")
    added = tuple(group_add)
    account = _find_account(_accounts(_read(rootfs, "etc/passwd")), name)
    groups = list(_groups(_read(rootfs, "etc/group"))) if group or account.name or added else []
    gid = account.gid
    others: tuple[int, ...] = ()
    if group:
        gid = _find_group(groups, group, f"unable to find group {group}: no matching entries in group file")
    elif account.name:
        others = tuple(item.gid for item in groups if account.name in item.members)
    extra = tuple(
        _find_group(groups, item, f"Unable to find group {item}: no matching entries in group file")
        for item in added
    )
    return User(account.uid, gid, tuple(dict.fromkeys((gid, *others, *extra))), account.home or "/")


def _find_account(accounts: Iterable[_Account], name: str) -> _Account:
    number = _number(name or "0")
    for account in accounts:
        if (name and account.name == name) or account.uid == number:
            return account
    if number is None:
        raise NotFound(f"unable to find user {name}: no matching entries in passwd file")
    return _Account("", _in_range(number), 0, "/")


def _find_group(groups: Iterable[_Group], name: str, missing: str) -> int:
    number = _number(name)
    for group in groups:
        if group.name == name or group.gid == number:
            return group.gid
    if number is None:
        raise NotFound(missing)
    return _in_range(number)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _in_range(number: int) -> int:
    if number > _MAXIMUM_ID:
        raise InvalidInput(f"uids and gids must be in range 0-{_MAXIMUM_ID}")
    return number


def _accounts(text: str) -> Iterator[_Account]:
    """Yield the entries of passwd(5); a line that has no valid ids is left out."""
    for line in text.splitlines():
        name, _, uid, gid, _, home, *_ = *line.strip().split(":"), *[""] * 6
        numbers = _number(uid), _number(gid)
        if numbers[0] is not None and numbers[1] is not None and max(numbers[0], numbers[1]) <= _MAXIMUM_ID:
            yield _Account(name, numbers[0], numbers[1], home)


def _groups(text: str) -> Iterator[_Group]:
    """Yield the entries of group(5); a line that has no valid id is left out."""
    for line in text.splitlines():
        name, _, gid, members, *_ = *line.strip().split(":"), *[""] * 4
        number = _number(gid)
        if number is not None and number <= _MAXIMUM_ID:
            yield _Group(name, number, tuple(members.split(",")))


def _read(rootfs: Path, path: str) -> str:
    """Return a file of the root file system; "" when it is not there, or not a regular file."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        place = syscalls.openat2(root, path, os.O_PATH)
    except OSError:
        return ""
    finally:
        os.close(root)
    try:
        status = os.fstat(place)
        # Looked at before it is opened: an image may have a FIFO here, or a device.
        if not stat.S_ISREG(status.st_mode):
            return ""
        if status.st_size > _MAXIMUM_SIZE:
            raise DataError(f"/{path} of the image has {status.st_size} bytes, more than {_MAXIMUM_SIZE}")
        with open(f"/proc/self/fd/{place}", "rb") as file:
            return file.read(_MAXIMUM_SIZE).decode(errors="surrogateescape")
    finally:
        os.close(place)


def private_mappings(etc: Path = Path("/etc")) -> tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]:
    """Return the uid and gid mappings of ``--userns private`` for an engine that is root.

    They are the ranges of the user ``swapbox`` in subuid(5) and subgid(5), or else 65536 ids from 524288 on: above
    what useradd(8) hands out first, where systemd-nspawn(1) has its containers too.
    """
    from swapbox.linux.idmaps import subordinate

    uids, gids = (_mappings(subordinate(etc / name, ("swapbox",))) for name in ("subuid", "subgid"))
    return uids or (_RESERVED_RANGE,), gids or (_RESERVED_RANGE,)


def _mappings(ranges: "Iterable[IdRange]") -> tuple[IdMapping, ...]:
    """Line ranges of the host's ids up, from the container's 0 on."""
    mappings: list[IdMapping] = []
    for first, size in ranges:
        start = mappings[-1].container_id + mappings[-1].size if mappings else 0
        mappings.append(IdMapping(start, first, size))
    return tuple(mappings)
