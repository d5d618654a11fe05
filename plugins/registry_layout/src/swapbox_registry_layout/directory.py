"""An image layout in a directory."""

from __future__ import annotations

import os
from pathlib import Path

from swapbox.descriptors import MANIFEST_LIMIT
from swapbox.errors import DataError, NotFound, from_os_error
from swapbox.layouts import File
from swapbox_registry_layout.parts import Part


class Directory:
    """Keeps :class:`swapbox.layouts.Contents`; every name is one that the layout's own rules make."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def part(self, name: str) -> Part:
        """Return where a file is, opened.

        :raises NotFound: there is no such file.
        """
        path = self._path / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"no such file: {path}") from error
        except OSError as error:
            raise from_os_error(error, f"read {path}") from error
        return Part(fd, 0, os.fstat(fd).st_size)

    def read(self, name: str) -> bytes:
        """Return a document."""
        with self.part(name) as part:
            if part.size > MANIFEST_LIMIT:
                raise DataError(f"{self._path / name} is longer than {MANIFEST_LIMIT} bytes")
            return part.whole()

    def file(self, name: str) -> File:
        """Describe a file; only archives have files that are not named for their digests."""
        raise NotFound(f"no such file: {self._path / name}")

    def blob(self, digest: str) -> str:
        """Return the name of a blob's file."""
        return f"blobs/{digest.replace(':', '/')}"

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""
