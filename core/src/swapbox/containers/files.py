"""Files swapbox makes for a container: hosts, hostname and resolv.conf, and its working directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swapbox.containers.records import Container
from swapbox.errors import Conflict, NotFound
from swapbox.linux.syscalls import RESOLVE_IN_ROOT, openat2

if TYPE_CHECKING:
    from swapbox.drivers.network import Endpoint

# Static ones first: the image need not have their libraries.
_INITS = ("tini-static", "catatonit", "docker-init", "tini")
_HOSTS = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)

RUNTIME_FILES = {
    "/.dockerenv": "file",
    "/dev": "directory",
    "/dev/console": "file",
    "/dev/pts": "directory",
    "/dev/shm": "directory",
    "/etc": "directory",
    "/etc/hostname": "file",
    "/etc/hosts": "file",
    "/etc/mtab": "/proc/mounts",
    "/etc/resolv.conf": "file",
    "/proc": "directory",
    "/sys": "directory",
}
"""What every container has, if not from its image: ``directory``, ``file``, or where a symbolic link leads.

It is nobody's change: neither ``diff`` nor ``commit`` tells of it.
"""


class RuntimeFiles(NamedTuple):
    """Files on the host that are bind-mounted over those in ``/etc`` of the container."""

    hosts: Path
    hostname: Path
    resolv_conf: Path


def write_runtime_files(
    directory: Path,
    container: Container,
    *,
    private: bool,
    endpoints: Sequence[Endpoint] = (),
    servers: Sequence[str] = (),
    linked: str = "",
) -> RuntimeFiles:
    """Write the files of a container into its directory and return where they are.

    :param private: the container has a network namespace of its own; without one it sees the host's names.
    :param endpoints: its places in networks.
    :param servers: the name servers of those networks.
    :param linked: lines of ``/etc/hosts`` about other containers.
    """
    config = container.config
    files = runtime_files(directory)
    hostname = container.config.hostname or (container.short_id if private else os.uname().nodename)
    files.hostname.write_text(f"{hostname}\n")
    hosts, resolv_conf = _HOSTS if private else _read("/etc/hosts") or _HOSTS, _read("/etc/resolv.conf")
    if endpoints or config.extra_hosts or config.dns or config.dns_search or config.dns_options:
        from swapbox.containers import network_files

        hosts += network_files.hosts_lines(config, endpoints, linked)
        resolv_conf = network_files.resolv_conf(config, resolv_conf, networked=bool(endpoints), servers=servers)
    files.hosts.write_text(hosts)
    files.resolv_conf.write_text(resolv_conf)
    if config.has_endpoints:
        written_resolv_conf(directory).write_text(resolv_conf)
    return files


def runtime_files(directory: Path) -> RuntimeFiles:
    """Return where the files of a container are, given its directory."""
    return RuntimeFiles(directory / "hosts", directory / "hostname", directory / "resolv.conf")


def written_resolv_conf(directory: Path) -> Path:
    """Return where it says what a container in networks was given, whatever it has made of its own file since."""
    return directory / "resolv.conf.written"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def make_marker(rootfs: Path) -> None:
    """Make what Docker makes in every container: mount points, links, and the file that says it is a container.

    What the image has is left alone, and a view in a dry run cannot be written.
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path, kind in RUNTIME_FILES.items():
            with contextlib.suppress(OSError):
                _make_missing(root, path, kind)
    finally:
        os.close(root)


def _make_missing(root: int, path: str, kind: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.close(openat2(root, path, os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_IN_ROOT))
        return
    above, _, name = path.rpartition("/")
    parent = openat2(root, above or "/", os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT)
    try:
        if kind == "directory":
            os.mkdir(name, 0o755, dir_fd=parent)
        elif kind == "file":
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755, dir_fd=parent))
        else:
            os.symlink(kind, name, dir_fd=parent)
    finally:
        os.close(parent)


def make_directory(rootfs: Path, path: str) -> None:
    """Make a directory and its parents inside a root file system; links in it cannot lead outside (openat2(2)).

    :raises Conflict: something that is no directory is in the way.
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    here = "."
    try:
        for part in filter(None, path.split("/")):
            parent, here = here, f"{here}/{part}"
            _make_one(root, parent, part, path)
    finally:
        os.close(root)


def _make_one(root: int, parent: str, name: str, path: str) -> None:
    flags = os.O_PATH | os.O_DIRECTORY
    with contextlib.suppress(FileNotFoundError):
        try:
            os.close(openat2(root, f"{parent}/{name}", flags, resolve=RESOLVE_IN_ROOT))
        except NotADirectoryError:
            raise Conflict(
                f"cannot make working directory {path}: {parent[1:]}/{name} is not a directory"
            ) from None
        return
    directory = openat2(root, parent, flags, resolve=RESOLVE_IN_ROOT)
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        raise Conflict(f"cannot make working directory {path}: {parent[1:]}/{name} is a broken link") from None
    finally:
        os.close(directory)


def find_init() -> Path | None:
    """Return the host's init for ``--init``: tini or one like it, on PATH."""
    for name in _INITS:
        for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
            path = Path(directory) / name
            if os.access(path, os.X_OK):
                return path
    return None


@contextlib.contextmanager
def container_lock(directory: Path) -> Iterator[None]:
    """Keep two from mounting a container's snapshot, recovering it, freezing it or changing its limits at once.

    :param directory: the container's own.
    :raises NotFound: it was removed.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"No such container: {directory.name}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        # Explicitly: a forked child that inherited the descriptor must not keep the lock.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
