"""Files swapbox makes for a container: hosts, hostname and resolv.conf, and its working directory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from swapbox.containers.records import Container
from swapbox.errors import Conflict
from swapbox.linux.syscalls import RESOLVE_IN_ROOT, openat2

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


class RuntimeFiles(NamedTuple):
    """Files on the host that are bind-mounted over those in ``/etc`` of the container."""

    hosts: Path
    hostname: Path
    resolv_conf: Path


def write_runtime_files(directory: Path, container: Container, *, private: bool) -> RuntimeFiles:
    """Write the files of a container into its directory and return where they are.

    :param private: the container has a network namespace of its own; without one it sees the host's names.
    """
    files = RuntimeFiles(directory / "hosts", directory / "hostname", directory / "resolv.conf")
    hostname = container.config.hostname or (container.short_id if private else os.uname().nodename)
    files.hostname.write_text(f"{hostname}\n")
    files.hosts.write_text(_HOSTS if private else _read("/etc/hosts") or _HOSTS)
    files.resolv_conf.write_text(_read("/etc/resolv.conf"))
    return files


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def make_marker(rootfs: Path) -> None:
    """Make the empty file by which programs know that they run in a container, as Docker does."""
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A file or link of that name in the image is left alone; a view in a dry run cannot be written.
        with contextlib.suppress(OSError):
            os.close(os.open(".dockerenv", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755, dir_fd=root))
    finally:
        os.close(root)


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
