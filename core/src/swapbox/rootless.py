"""An ordinary user's engine: the command enters a user namespace in which its user is root.

::

    command, uid 1000 ──unshare──▶ uid 0 ──fork──▶ monitor, containers
       └─fork─▶ helper: newuidmap, newgidmap      (still outside, where the ids may be given away)

With ranges in ``/etc/subuid`` and ``/etc/subgid`` (subuid(5)) and the programs of the package uidmap, the user's
own ids become 0 and the ranges follow. Without them there is one id only.

Two namespaces of the same user have the same ids and yet no power over each other's processes. So there is one at
a time: a file in the user's run directory lists the processes in it, commands, monitors and inits, and a command
joins a living one (setns(2)) before it makes a new one.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from swapbox.errors import SwapboxError, Unavailable, Unsupported
from swapbox.linux import syscalls
from swapbox.linux.idmaps import IdRange, subordinate
from swapbox.linux.process import Process
from swapbox.paths import USER_VARIABLE, Paths, user_run_root

_HINT = (
    "run swapbox as root, or allow user namespaces (sysctl user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
)


class Member(NamedTuple):
    """A process in the user's namespace, which has an inode number."""

    process: Process
    namespace: int


def enter(environment: MutableMapping[str, str]) -> None:
    """Become root in the user's namespace, and note in ``environment`` who the user is outside.

    The process must have one thread.

    :raises Unsupported: this host does not allow it.
    :raises PermissionDenied: the run directory is not the user's alone.
    """
    uid = os.geteuid()
    # Locked all the time: two commands at once must not make two namespaces.
    with _members(environment, uid) as (file, members):
        try:
            if not any(_join(member) for member in members):
                _make(uid, os.getegid())
        except OSError as error:
            raise _refused(error) from error
        _write(file, [*members, _member(os.getpid())])
    environment[USER_VARIABLE] = str(uid)


def register(environment: Mapping[str, str], *pids: int) -> None:
    """Add processes to those by which later commands find the namespace that the calling one is in.

    :param pids: one that has ended, or has a user namespace of its own, is left out.
    """
    own = _member(os.getpid()).namespace
    with _members(environment, int(environment[USER_VARIABLE])) as (file, members):
        for pid in pids:
            with suppress(ProcessLookupError, FileNotFoundError):
                member = _member(pid)
                members += [member] if member.namespace == own else []
        _write(file, members)


# -- the processes in the namespace -------------------------------------------------------------------------------


@contextmanager
def _members(environment: Mapping[str, str], uid: int) -> Iterator[tuple[int, list[Member]]]:
    """Lock the list of processes; yield a descriptor of its file, and those that are alive."""
    directory = user_run_root(environment, uid)
    paths = Paths(directory, directory)
    paths.check()
    path = paths.make(directory) / "namespace"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot open {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = os.read(file, os.fstat(file).st_size).splitlines()
        yield file, [member for line in lines if (member := _parse(line)) and member.process.alive()]
    finally:
        os.close(file)


def _parse(line: bytes) -> Member | None:
    try:
        pid, start, namespace = map(int, line.split())
    except ValueError:  # half a line: its writer was killed
        return None
    return Member(Process(pid, start), namespace)


def _write(file: int, members: Sequence[Member]) -> None:
    text = b"".join(b"%d %d %d\n" % (*member.process, member.namespace) for member in members)
    try:
        os.pwrite(file, text, 0)
        os.ftruncate(file, len(text))
    except OSError as error:
        raise Unavailable(f"cannot write to the run directory: {error.strerror}") from error


def _member(pid: int) -> Member:
    return Member(Process.of(pid), os.stat(f"/proc/{pid}/ns/user").st_ino)


# -- entering -----------------------------------------------------------------------------------------------------


def _join(member: Member) -> bool:
    """Go into a process's namespace; False when that is impossible, as when it has just ended."""
    try:
        namespace = os.open(f"/proc/{member.process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Only now it is sure whose namespace this is; and a container's root may have left for one of its own.
        if not member.process.alive() or os.fstat(namespace).st_ino != member.namespace:
            return False
        syscalls.setns(namespace, syscalls.CLONE_NEWUSER)
    except OSError:
        return False
    finally:
        os.close(namespace)
    return True


def _make(uid: int, gid: int) -> None:
    """Go into a new namespace, with all ids that the user may have."""
    names = _names(uid)
    uids, gids = (subordinate(Path("/etc", name), names) for name in ("subuid", "subgid"))
    if uids and gids:
        with _helper(uid_map=_arguments(uid, uids), gid_map=_arguments(gid, gids)):
            syscalls.unshare(syscalls.CLONE_NEWUSER)
    else:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
    _map_own("gid", gid)
    _map_own("uid", uid)


def _names(uid: int) -> tuple[str, ...]:
    import pwd

    with suppress(KeyError):
        return (pwd.getpwuid(uid).pw_name, str(uid))
    return (str(uid),)


def _arguments(own: int, ranges: Sequence[IdRange]) -> list[str]:
    """Return the map for newuidmap(1): the user is 0, the ranges follow."""
    arguments = ["0", str(own), "1"]
    start = 1
    for first, size in ranges:
        arguments += [str(start), str(first), str(size)]
        start += size
    return arguments


@contextmanager
def _helper(*, uid_map: Sequence[str], gid_map: Sequence[str]) -> Iterator[None]:
    """Fork a process that stays outside and, once the block has succeeded, has the ids mapped if it can."""
    pid = os.getpid()
    asked, ask = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(ask)  # else it would never see the end of file that says that there is nothing to do
        _help(pid, asked, uid_map, gid_map)
    os.close(asked)
    try:
        yield
        os.write(ask, b"m")
    finally:
        os.close(ask)
        os.waitpid(helper, 0)


def _help(pid: int, asked: int, uid_map: Sequence[str], gid_map: Sequence[str]) -> NoReturn:
    try:
        if os.read(asked, 1) and _run("newgidmap", pid, gid_map):
            _run("newuidmap", pid, uid_map)
    finally:
        os._exit(0)


def _run(program: str, pid: int, arguments: Sequence[str]) -> bool:
    # What it has to say is not printed: without it there is one id, and whoever needs more says so.
    silence = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    try:
        child = os.posix_spawnp(program, [program, str(pid), *arguments], os.environ, file_actions=[silence])
    except OSError:
        return False
    return os.waitpid(child, 0)[1] == 0


def _map_own(kind: str, id: int) -> None:
    """Make an id 0 unless the helper has done so: the one map that needs no privilege (user_namespaces(7))."""
    path = Path(f"/proc/self/{kind}_map")
    if path.read_bytes():
        return
    if kind == "gid":
        Path("/proc/self/setgroups").write_text("deny")
    path.write_text(f"0 {id} 1")


def _refused(error: OSError) -> SwapboxError:
    reason = error.strerror
    if error.errno == errno.ENOSPC:
        reason = "the limit of user namespaces is reached"
    return Unsupported(f"an ordinary user needs a user namespace, which cannot be made here: {reason}", hint=_HINT)
