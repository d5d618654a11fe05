"""``docker cp``: between the files of a container and those of the host, or an archive on a stream.

The rules of what is copied where are Docker's: a source goes *into* a directory that exists and *by the name of* a
destination that does not; ``dir/.`` means what is in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from swapbox.containers import lookup
from swapbox.containers.events import happened
from swapbox.containers.extract import Extractor
from swapbox.containers.inside import opened
from swapbox.errors import Conflict, InvalidInput, NotFound, PermissionDenied, SwapboxError
from swapbox.images.tarstream import REGULAR, TarEntry, TarStream
from swapbox.images.tarwriter import END, Packer, TarWriter, content
from swapbox.linux import descent

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine
    from swapbox.images.compression import ByteSource


class Destination(NamedTuple):
    """Where to copy to; ``path`` ends as it was typed."""

    path: str
    exists: bool = False
    is_directory: bool = False


class Source(NamedTuple):
    """What is copied.

    :param parent: descriptor of the directory that holds it under ``base``.
    :param name: what it is called in the copy; empty when its content goes to the root of an archive.
    """

    parent: int
    base: bytes
    info: os.stat_result
    name: str

    @property
    def is_directory(self) -> bool:
        """It is a directory, not a link to one."""
        return stat.S_ISDIR(self.info.st_mode)

    def entries(self) -> Iterator[tuple[TarEntry, int]]:
        """Yield every entry with a descriptor of its content, or -1; the descriptor is closed afterwards."""
        packer, top = Packer(), os.fsencode(self.name)
        yield from _closing(packer.entry(top, self.parent, self.base, self.info))
        if self.is_directory:
            root = os.open(self.base, descent.DIRECTORY, dir_fd=self.parent)
            try:
                for node in descent.walk(root):
                    name = top + b"/" + node.path
                    yield from _closing(packer.entry(name, node.parent, node.name, node.info))
            finally:
                os.close(root)


def _closing(packed: tuple[TarEntry, int] | None) -> Iterator[tuple[TarEntry, int]]:
    if packed is not None:
        try:
            yield packed
        finally:
            if packed[1] >= 0:
                os.close(packed[1])


def placed(source: Source, destination: Destination) -> tuple[str, Source]:
    """Return the directory to write to, and the source by the name that it gets there.

    :raises Conflict: a directory would replace a file.
    :raises NotFound: a file is to go into a directory that does not exist.
    """
    if destination.exists and destination.is_directory:
        return destination.path, source
    if destination.exists and source.is_directory:
        raise Conflict("cannot copy directory")
    if not source.is_directory and lookup.asserts_directory(destination.path) and not destination.exists:
        raise NotFound("no such directory")
    directory, name = lookup.split_entry(destination.path)
    return directory, source._replace(name=name)


# -- out of a container -------------------------------------------------------------------------------------------


@contextmanager
def container_source(
    engine: Engine, container: Container, path: str, *, follow_link: bool, name: str
) -> Iterator[Source]:
    """Find what to copy out of a container.

    :param name: the container as the user calls it.
    :raises NotFound: it is not there.
    """
    with ExitStack() as stack:
        root, container = stack.enter_context(opened(engine, container, with_mounts=True))
        given = ""
        if follow_link:
            place = lookup.look_up(root, path, container=name)
            place.close()
            if place.link:
                path, given = lookup.renamed(path, place.link)
        place = lookup.look_up(root, path, container=name)
        stack.callback(place.close)
        top = given or lookup.base_name(place.path)
        yield Source(place.parent, place.base, place.info, "" if top == "/" else top)
        happened(engine, container, "archive-path")


def write_archive(source: Source, write: Callable[[bytes], object]) -> None:
    """Write a source as a tar archive."""
    archive = TarWriter(write)
    for entry, fd in source.entries():
        archive.put(entry, fd)
    archive.finish()


def copy_to_host(source: Source, path: str, *, engine: Engine) -> int:
    """Copy a source to the host; everything belongs to the caller. Return how many bytes an archive of it has.

    :param path: absolute, ending as it was typed.
    """
    directory, source = placed(source, host_destination(path))
    owner = (os.geteuid(), os.getegid())
    with Extractor(
        Path(directory), b"", shown=directory, owner=owner, unprivileged=engine.unprivileged, warn=engine.warn
    ) as target:
        return copy(source, target)


def host_destination(path: str) -> Destination:
    """Look at a destination on the host; links at its end are followed, one that dangles to where it leads.

    :raises NotFound: its directory does not exist.
    """
    for _ in range(11):
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            directory = lookup.split_entry(path)[0]
            if not os.path.isdir(directory):
                raise NotFound(f"stat {directory}: no such file or directory") from None
            return Destination(path)
        except OSError as error:
            raise InvalidInput(f"stat {path}: {_reason(error)}") from None
        if not stat.S_ISLNK(info.st_mode):
            return Destination(path, exists=True, is_directory=stat.S_ISDIR(info.st_mode))
        path = os.path.join(lookup.split_entry(path)[0], os.readlink(path))
    raise InvalidInput(f"too many symlinks in {path}")


# -- into a container ---------------------------------------------------------------------------------------------


@contextmanager
def host_source(path: str, *, follow_link: bool) -> Iterator[Source]:
    """Find what to copy on the host.

    :param path: absolute, ending as it was typed.
    :raises NotFound: it is not there.
    """
    try:
        resolved, given = _resolved(path, follow_link=follow_link)
        info = os.lstat(resolved)
        directory, base = lookup.split_entry(resolved)
        parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"lstat {os.fsdecode(error.filename)}: no such file or directory") from None
    except NotADirectoryError:
        raise InvalidInput("not a directory") from None
    except OSError as error:
        raise PermissionDenied(f"lstat {path}: {_reason(error)}") from None
    try:
        yield Source(parent, os.fsencode(base), info, given or base)
    finally:
        os.close(parent)


def _resolved(path: str, *, follow_link: bool) -> tuple[str, str]:
    if follow_link:
        return lookup.renamed(path, os.path.realpath(path, strict=True))
    directory, _, name = path.rpartition("/")
    resolved = os.path.realpath(directory or "/", strict=True).rstrip("/") + "/" + name
    given = lookup.base_name(path)
    return resolved, given if path.endswith("/") and given != lookup.base_name(resolved) else ""


def container_destination(root: int, path: str, *, name: str) -> Destination:
    """Look at a destination in a container; a link at its end is followed.

    :param name: the container as the user calls it.
    :raises InvalidInput: it is a device.
    """
    target = path
    try:
        place = lookup.look_up(root, path, container=name)
        place.close()
        if place.link:
            target = place.link
            place = lookup.look_up(root, target, container=name)
            place.close()
    except SwapboxError:
        return Destination(target)  # as good as nothing there: the copy succeeds all the same, or says why not
    if stat.S_ISCHR(place.info.st_mode) or stat.S_ISBLK(place.info.st_mode):
        raise InvalidInput(f'destination "{name}:{path}" must be a directory or a regular file: got a device')
    return Destination(target, exists=True, is_directory=place.is_directory)


@contextmanager
def container_target(
    engine: Engine, container: Container, root: int, path: str, *, owner: tuple[int, int] | None, name: str
) -> Iterator[Extractor]:
    """Open a directory of a container for writing.

    :param owner: uid and gid of everything copied; None for that of the source.
    :param name: the container as the user calls it.
    :raises NotFound: there is no such directory.
    :raises InvalidInput: it is no directory.
    :raises PermissionDenied: the container may not write there either.
    """
    try:
        resolved = lookup.follow(root, lookup.inside(path))
        place = lookup.look_up(root, resolved, container=name)
    except NotFound:
        raise NotFound(f"Could not find the file {path} in container {name}") from None
    except InvalidInput:
        raise InvalidInput("extraction point is not a directory") from None
    place.close()
    if not place.is_directory:
        raise InvalidInput("extraction point is not a directory")
    _check_writable(container, resolved)
    with Extractor(
        Path(f"/proc/self/fd/{root}"),
        os.fsencode(resolved).strip(b"/"),
        shown=resolved,
        owner=owner,
        unprivileged=engine.unprivileged,
        warn=engine.warn,
    ) as target:
        yield target
    happened(engine, container, "extract-to-dir")


def _check_writable(container: Container, path: str) -> None:
    """Refuse what is read-only for the container, in Docker's words."""
    config = container.config
    volumes = {spec.target: spec.read_only for spec in config.mounts}
    if container.state.init is not None:  # of a container that does not run, nothing on a tmpfs is left
        volumes.update(dict.fromkeys(config.tmpfs, False))
    within = [target for target in volumes if path == target or path.startswith(target + "/")]
    if within:
        if volumes[max(within, key=len)]:
            raise PermissionDenied("mounted volume is marked read-only")
    elif config.read_only:
        raise PermissionDenied("container rootfs is marked read-only")


def extract(stream: ByteSource, target: Extractor) -> None:
    """Unpack a tar archive, compressed or not, into an opened directory."""
    from swapbox.images.compression import decompress

    archive = TarStream(decompress(stream))
    for entry in archive:
        target.put(entry, iter(archive.read, b""))


def copy(source: Source, target: Extractor) -> int:
    """Copy a source into an opened directory; return how many bytes an archive of it has."""
    size = len(END)
    for entry, fd in source.entries():
        size += TarWriter.length(entry)
        target.put(entry, content(fd, entry.size) if entry.kind == REGULAR else ())
    return size


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()
