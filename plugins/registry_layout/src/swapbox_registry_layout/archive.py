"""A tar archive whose files are read where they are in it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

from swapbox import TarStream, decompress
from swapbox.descriptors import MANIFEST_LIMIT
from swapbox.errors import DataError, NotFound, Unavailable, Unsupported, from_os_error
from swapbox.layouts import File, blob_name
from swapbox_registry_layout.parts import Part

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
_MAX_RATIO = 200
_ENTRIES = 100_000
_LINKS = 40
_REGULAR, _HARDLINK, _SYMLINK = ord("0"), ord("1"), ord("2")


class _Place(NamedTuple):
    offset: int
    size: int


class Archive:
    """Keeps :class:`swapbox.layouts.Contents`.

    :param scratch: where a compressed archive is unpacked, without a name.
    :raises NotFound: there is no such file.
    :raises DataError: it is no tar archive, or a hostile one.
    """

    def __init__(self, path: Path, *, scratch: Path) -> None:
        self._path = path
        self._places: dict[str, _Place] = {}
        self._links: dict[str, str] = {}
        self._described: dict[str, File] = {}
        self._file = _opened(path)
        try:
            self._file = _plain(self._file, path, scratch)
            self._index()
        except BaseException:
            self._file.close()
            raise

    def _index(self) -> None:
        """Note where every file is."""
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)
        archive = TarStream(self._file, seek=lambda count: self._file.seek(count, os.SEEK_CUR))
        for entry in archive:
            name = posixpath.normpath(os.fsdecode(entry.name))
            if entry.kind == _SYMLINK:
                self._links[name] = posixpath.join(posixpath.dirname(name), os.fsdecode(entry.link))
            elif entry.kind == _HARDLINK:
                self._links[name] = os.fsdecode(entry.link)
            elif entry.kind == _REGULAR and entry.sparse is None:
                self._places[name] = _Place(archive.offset, entry.size)
                if archive.offset + entry.size > size:
                    raise DataError(f"{self._path}: truncated tar archive")
            if len(self._places) + len(self._links) > _ENTRIES:
                raise DataError(f"{self._path} has more than {_ENTRIES} files")

    def part(self, name: str) -> Part:
        """Return where a file is, opened; raises as :meth:`read`."""
        place = self._place(name)
        try:
            return Part(os.dup(self._file.fileno()), place.offset, place.size)
        except ValueError:
            raise Unavailable(f"{self._path} was changed while it was read") from None

    def read(self, name: str) -> bytes:
        """Return a document."""
        with self.part(name) as part:
            if part.size > MANIFEST_LIMIT:
                raise DataError(f"{name!r} in {self._path} is longer than {MANIFEST_LIMIT} bytes")
            return part.whole()

    def file(self, name: str) -> File:
        """Describe a file, which means to read all of it; it is remembered."""
        if name not in self._described:
            hashed = hashlib.sha256()
            with self.part(name) as part:
                head = part.read(4)
                part.at(0)
                while piece := part.read():
                    hashed.update(piece)
            self._described[name] = File(f"sha256:{hashed.hexdigest()}", part.size, head)
        return self._described[name]

    def blob(self, digest: str) -> str:
        """Return the name of a blob's file: that of an image layout, or one that was described."""
        for name, file in self._described.items():
            if file.digest == digest:
                return name
        return blob_name(digest)

    def _place(self, name: str) -> _Place:
        here = posixpath.normpath(name)
        for _ in range(_LINKS):
            if here not in self._links:
                break
            here = posixpath.normpath(self._links[here])
        if here not in self._places:
            raise NotFound(f"there is no {name!r:.200} in {self._path}")
        return self._places[here]

    def close(self) -> None:
        """Close the file; calling it twice is fine."""
        self._file.close()


def _opened(path: Path) -> BinaryIO:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound(f"no such file: {path}") from error
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Unsupported(f"{path} is not a plain file", hint="an image layout in a directory is oci:/path")
    return os.fdopen(fd, "rb", buffering=0)


def _plain(file: BinaryIO, path: Path, scratch: Path) -> BinaryIO:
    """Return the archive uncompressed: itself, or a temporary file without a name."""
    head = os.pread(file.fileno(), 6, 0)
    if not head.startswith(_COMPRESSED):
        return file
    try:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        plain = tempfile.TemporaryFile(dir=scratch, buffering=0)  # noqa: SIM115
        try:
            source = decompress(file, max_ratio=_MAX_RATIO)
            while piece := source.read():
                plain.write(piece)
        except BaseException:
            plain.close()
            raise
    except OSError as error:
        raise from_os_error(error, f"unpack {path} below {scratch}") from error
    file.close()
    return plain
