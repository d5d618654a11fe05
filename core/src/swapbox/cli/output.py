"""Files that commands write for the user: checked in Docker's words, and there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from swapbox.errors import InvalidInput, from_os_error

_NO_FILES = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link directly",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device file",
    stat.S_IFBLK: "a block device file",
}


def check_output_file(path: str) -> None:
    """Refuse what no file can be put in the place of.

    :raises InvalidInput: its directory does not exist, or there is something else.
    """
    parent = os.path.dirname(os.path.normpath(path))
    if parent and not os.path.exists(parent):
        raise InvalidInput(f"invalid output path: stat {parent}: no such file or directory")
    with contextlib.suppress(FileNotFoundError):
        kind = _NO_FILES.get(stat.S_IFMT(os.lstat(path).st_mode))
        if kind is not None:
            raise InvalidInput(f"cannot write to {kind}")


def check_output_path(path: str) -> None:
    """Refuse a place that nothing can be copied to.

    :raises InvalidInput: its directory does not exist, or it is a device.
    """
    parent = os.path.dirname(os.path.normpath(path))
    if parent and not os.path.exists(parent):
        raise InvalidInput(f'invalid output path: directory "{parent}" does not exist')
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise InvalidInput(f"stat {path}: not a directory") from None
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise InvalidInput(f'invalid output path: "{path}" must be a directory or a regular file: got a device')


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file under another name and put it in its place when the block ends well.

    :raises SwapboxError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        # As with Docker nobody else may read it: a container's files are in it, /etc/shadow among them.
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    finally:
        temporary.unlink(missing_ok=True)
