"""A container's files seen from outside, running or not, as a descriptor; no mount of it appears on the host.

A forked child enters the mount namespaces it needs, puts the tree together in one of its own, clones it as a
detached mount (open_tree(2)), sends the descriptor and ends. The mount lives as long as the descriptor, so a
killed command leaves nothing. The parent never enters a namespace, and the child executes and imports nothing
after it has: nothing of the container is ever run or loaded (CVE-2019-14271). On the clone device nodes do not
work.

A snapshot must not be mounted twice at once. A running container's is taken from where its monitor has it
mounted; that of one that does not run is mounted under :func:`swapbox.containers.files.container_lock`, which a
start takes too.
"""

from __future__ import annotations

import _socket
import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swapbox import errors
from swapbox.containers.files import container_lock, make_directory, runtime_files
from swapbox.containers.launch import rootfs_path
from swapbox.containers.mounts import oci_mounts
from swapbox.drivers.storage import Mount
from swapbox.errors import SwapboxError, from_os_error
from swapbox.linux import mounts, syscalls
from swapbox.linux.process import Process
from swapbox.store.owners import OWNER_LABEL, owner

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine

_CLONE = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC
_SEALED = syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NOEXEC


class Bind(NamedTuple):
    """One mount of a container over its root file system.

    :param target: absolute path in the container.
    :param source: on the host.
    :param made: what has to be mounted to have the source: that of a volume which is no directory of the host.
    :param subpath: what of that is bound.
    """

    target: str
    source: str
    read_only: bool = False
    made: tuple[Mount, ...] = ()
    subpath: str = ""


class Opened(NamedTuple):
    """A container whose files are open.

    :param root: descriptor (``O_PATH``) of its root directory.
    :param container: its record as it is now: since the caller read it, its snapshot may have moved to another
        storage driver, and while the files are open it cannot.
    """

    root: int
    container: Container


@contextlib.contextmanager
def opened(engine: Engine, container: Container, *, with_mounts: bool = False) -> Iterator[Opened]:
    """Open a container's root directory.

    :param with_mounts: with its bind mounts, volumes and files such as ``/etc/hosts``, and of a running one with
        its tmpfs mounts; without, as ``docker export`` and ``docker commit`` see it. Never ``/proc`` or ``/dev``.
    """
    with ExitStack() as stack:
        container, where = _settled(engine, container, stack)
        binds = bind_mounts(engine, container) if with_mounts else []
        place = engine.paths.make(engine.paths.run_root)
        if where is None:
            made = engine.selector.open("storage", made_with=container.config.storage).mounts(container.id)
            fd = _from_child(lambda: _assemble(made, place, binds), container.name)
        else:
            targets = [bind.target for bind in binds] + (container.config.tmpfs_targets if with_mounts else [])
            rootfs = rootfs_path(engine.paths.container_run(container.id))
            fd = _from_child(lambda: _take(where, rootfs, targets, place), container.name)
        stack.callback(os.close, fd)
        yield Opened(fd, container)


@contextlib.contextmanager
def image_opened(engine: Engine, container: Container) -> Iterator[int]:
    """Yield a descriptor of the root of the image that a container was made from.

    :param container: as :func:`opened` has found it.
    """
    storage = engine.selector.open("storage", made_with=container.config.storage)
    key = f"look-{os.urandom(8).hex()}"
    made = storage.view(key, container.config.top_chain or None, labels={OWNER_LABEL: owner()})
    try:
        place = engine.paths.make(engine.paths.run_root)
        fd = _from_child(lambda: _assemble(made, place, []), container.name)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        storage.remove(key)


@contextlib.contextmanager
def mounted(engine: Engine, made: Sequence[Mount], name: str) -> Iterator[int]:
    """Yield a descriptor of the root of what mounts show, of a volume for example.

    :param name: for messages.
    """
    place = engine.paths.make(engine.paths.run_root)
    fd = _from_child(lambda: _assemble(made, place, []), name)
    try:
        yield fd
    finally:
        os.close(fd)


def bind_mounts(engine: Engine, container: Container) -> list[Bind]:
    """Return what a container has bound over its root file system, outermost first."""
    directory = engine.paths.container(container.id)
    files = runtime_files(directory)
    found = oci_mounts(container.config, files, user_namespace=False, private_network=True, init=None)
    binds = [
        Bind(mount["destination"], mount["source"], "ro" in mount["options"])
        for mount in found
        if mount["type"] == "bind" or "rbind" in mount["options"]
    ]
    volumes = {spec.target: spec for spec in container.config.mounts if spec.type == "volume"}
    if not volumes:
        return binds
    from swapbox.containers.volume_mounts import volume_bind

    return [volume_bind(engine, bind, volumes[bind.target]) if bind.target in volumes else bind for bind in binds]


class _Namespaces(NamedTuple):
    """Descriptors of the mount namespaces of a running container, and of its monitor unless that was killed."""

    inner: int
    outer: int | None


def _settled(engine: Engine, container: Container, stack: ExitStack) -> tuple[Container, _Namespaces | None]:
    """Return a container's record as it is now, and where it runs.

    When it runs nowhere, it can neither be started nor be moved until the stack is closed.
    """
    while True:
        engine.containers.refresh(container)  # what a killed monitor has left undone is done now
        with ExitStack() as lock:
            lock.enter_context(container_lock(engine.paths.container(container.id)))
            found = engine.records.find(container.id)
            state = found.state
            if state.init is None:
                stack.push(lock.pop_all())
                return found, None
        if (inner := _namespace(state.init, stack)) is not None:
            return found, _Namespaces(inner, _namespace(state.monitor, stack) if state.monitor else None)


def _namespace(process: Process, stack: ExitStack) -> int | None:
    """Open a process's mount namespace; None when it is gone."""
    try:
        fd = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    stack.callback(os.close, fd)
    return fd if process.alive() else None


# -- in the child -------------------------------------------------------------------------------------------------


def _alone() -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)


def _assemble(made: Sequence[Mount], place: Path, binds: Sequence[Bind]) -> int:
    """Mount a snapshot and what belongs over it; return the clone of it all."""
    _alone()
    trees = [(bind, _clone_source(bind, place)) for bind in binds if _is_there(bind)]
    mounts.apply(made, place)
    for bind, tree in trees:
        _attach(place, bind.target, tree)
    return _clone_of(place)


def _is_there(bind: Bind) -> bool:
    """Say whether to mount it: files such as ``/etc/hosts`` are made by the first start."""
    return bool(bind.made) or os.path.lexists(bind.source)


def _clone_source(bind: Bind, place: Path) -> int:
    tree = clone_volume(bind.made, bind.subpath, place) if bind.made else _clone(bind.source)
    syscalls.mount_setattr(tree, flags=syscalls.AT_RECURSIVE, propagation=syscalls.MS_PRIVATE)
    if bind.read_only:
        syscalls.mount_setattr(tree, set=syscalls.MOUNT_ATTR_RDONLY)
    return tree


def _clone(path: Path | str) -> int:
    return syscalls.open_tree(path, _CLONE | syscalls.AT_RECURSIVE)


def clone_volume(made: Sequence[Mount], subpath: str, place: Path) -> int:
    """Mount something for a moment at ``place`` and return a detached clone of it, or of a path below its root.

    :raises OSError: (ENOENT, EXDEV) the path is not there, or leads out by a symbolic link.
    """
    mounts.apply(made, place)
    try:
        root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            below = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS
            fd = syscalls.openat2(root, subpath or ".", os.O_PATH, resolve=below)
        finally:
            os.close(root)
        try:
            return syscalls.open_tree(fd, _CLONE | syscalls.AT_RECURSIVE | syscalls.AT_EMPTY_PATH)
        finally:
            os.close(fd)
    finally:
        syscalls.umount(place, syscalls.MNT_DETACH)


def _clone_of(place: Path) -> int:
    tree = syscalls.open_tree(place, _CLONE | syscalls.AT_RECURSIVE)
    syscalls.mount_setattr(tree, flags=syscalls.AT_RECURSIVE, set=_SEALED, propagation=syscalls.MS_PRIVATE)
    return tree


def _attach(place: Path, target: str, tree: int) -> None:
    """Put a detached mount where the container has it; the way there is resolved inside the container's root."""
    root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    try:
        if is_directory:
            with contextlib.suppress(OSError, SwapboxError):
                make_directory(place, target)
        try:
            point = syscalls.openat2(root, target, os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT)
        except OSError:
            return  # never started, or the container has put something else there
        if stat.S_ISDIR(os.fstat(point).st_mode) == is_directory:
            syscalls.move_mount(tree, point)
        os.close(point)
    finally:
        os.close(root)
        os.close(tree)


def _take(where: _Namespaces, rootfs: Path, targets: Sequence[str], place: Path) -> int:
    """Clone a running container's root file system, and what it has mounted at ``targets``."""
    _alone()
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(where.inner, syscalls.CLONE_NEWNS)
    trees = list(_clones(targets))
    if where.outer is not None:
        syscalls.setns(where.outer, syscalls.CLONE_NEWNS)
    base = syscalls.open_tree("/" if where.outer is None else rootfs, _CLONE)
    syscalls.mount_setattr(base, propagation=syscalls.MS_PRIVATE)
    syscalls.setns(own, syscalls.CLONE_NEWNS)
    syscalls.move_mount(base, place)
    for target, tree in trees:
        _attach(place, target, tree)
    return _clone_of(place)


def _clones(targets: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Clone what is mounted at each place of the container whose namespace the child is in."""
    for target in targets:
        with contextlib.suppress(OSError):
            tree = syscalls.open_tree(target, _CLONE | syscalls.AT_RECURSIVE)
            syscalls.mount_setattr(tree, flags=syscalls.AT_RECURSIVE, propagation=syscalls.MS_PRIVATE)
            yield target, tree


def _from_child(build: Callable[[], int], name: str) -> int:
    """Run a function in a forked child and return the descriptor it returned.

    :raises SwapboxError: it failed.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        _report(build, theirs, name)
    theirs.close()
    try:
        data, ancillary, _, _ = ours.recvmsg(65536, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    finally:
        ours.close()
        os.waitpid(child, 0)
    for _, _, packed in ancillary:
        return int.from_bytes(packed[:4], "little")
    kind, message, hint = json.loads(data or b'["Unavailable", "a helper process was killed", null]')
    error: SwapboxError = getattr(errors, kind)(message, hint=hint)
    raise error


def _report(build: Callable[[], int], sock: _socket.socket, name: str) -> None:
    try:
        try:
            fd = build()
        except OSError as error:
            raise from_os_error(error, f"open the file system of container {name}") from error
        sock.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))])
    except SwapboxError as error:
        sock.send(json.dumps([type(error).__name__, error.message, error.hint]).encode())
    finally:
        os._exit(0)
