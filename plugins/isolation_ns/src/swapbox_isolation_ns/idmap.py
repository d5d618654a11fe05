"""The id maps of a new user namespace (user_namespaces(7)), written by the process outside of it."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from swapbox.drivers.isolation import Stdio
from swapbox.errors import PermissionDenied
from swapbox_isolation_ns.failures import doing


class IdMap(NamedTuple):
    """One line of user_namespaces(7)'s ``uid_map``."""

    container: int
    host: int
    size: int


def write_maps(pid: int, uids: Sequence[IdMap], gids: Sequence[IdMap]) -> None:
    """Give the user namespace of ``pid`` its ids.

    Root writes the files itself. So may anybody for a single id, their own, when the namespace gives setgroups(2)
    up. For more, the programs newuidmap and newgidmap (package uidmap) act within /etc/subuid and /etc/subgid.

    :raises PermissionDenied: these ids do not belong to the caller.
    """
    if os.geteuid() != 0 and _is_only(gids, os.getegid()):
        _write(pid, "setgroups", "deny")
    _map(pid, "gid", gids)
    _map(pid, "uid", uids)


def read_maps(pid: int) -> tuple[IdMap, ...]:
    """Return the user ids of a running process's user namespace."""
    with open(f"/proc/{pid}/uid_map", encoding="utf-8") as file:
        return tuple(IdMap(*map(int, line.split())) for line in file)


def give_pipes(stdio: Stdio | None, uid: int, maps: Sequence[IdMap]) -> None:
    """Let pipes belong to a mapped user, who could not reopen /dev/stdout otherwise.

    Only from outside: to a process in the user namespace a pipe of the host's root belongs to nobody.
    """
    host = next((item.host + uid - item.container for item in maps if 0 <= uid - item.container < item.size), None)
    if stdio is None or host is None:
        return
    for fd in set(stdio):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            with suppress(PermissionError):
                os.fchown(fd, host, -1)


def _is_only(maps: Sequence[IdMap], own: int) -> bool:
    return len(maps) == 1 and maps[0].host == own and maps[0].size == 1


def _map(pid: int, kind: str, maps: Sequence[IdMap]) -> None:
    text = "".join(f"{item.container} {item.host} {item.size}\n" for item in maps)
    with doing(f"write {kind}_map {text.strip()!r}"):
        with suppress(PermissionError):
            _write(pid, f"{kind}_map", text)
            return
    _run_helper(f"new{kind}map", pid, text)


def _write(pid: int, name: str, text: str) -> None:
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())  # The kernel takes the whole map in one write, once.
    finally:
        os.close(fd)


def _run_helper(program: str, pid: int, text: str) -> None:
    hint = "install the package uidmap, and give the user a range in /etc/subuid and /etc/subgid"
    try:
        helper = os.posix_spawnp(program, [program, str(pid), *text.split()], os.environ)
    except FileNotFoundError:
        raise PermissionDenied(f"cannot map ids without {program}", hint=hint) from None
    _, status = os.waitpid(helper, 0)
    if status != 0:
        raise PermissionDenied(f"{program} refused to map {text.strip()!r}", hint=hint)
