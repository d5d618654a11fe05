"""Docker's ``config.json``: read, and changed without touching what is not ours."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from swapbox.errors import DataError, from_os_error

_NOBODY = 65534


def config_path(environ: Mapping[str, str]) -> Path:
    """Return where the file is: ``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``."""
    directory = environ.get("DOCKER_CONFIG")
    home = Path(environ.get("HOME") or Path("~").expanduser())
    return (Path(directory) if directory else home / ".docker") / "config.json"


def change(path: Path, edit: Callable[[str], str]) -> bool:
    """Change the file by a function of its text; return whether that made a difference.

    A link stays one. The file is replaced as a whole, keeps its owner, and nobody else may read it; commands
    that do this at the same time wait for each other.

    :raises DataError: what is there is no JSON object; it is left alone.
    :raises SwapboxError: it cannot be read or written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        real = _resolved(path)
        with _locked(real.parent):
            old = real.read_bytes() if real.exists() else b""
            new = edit(_document(old, path)).encode()
            if new == old or (not old and new == b"{}"):
                return False
            _replace(real, new)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    return True


def _resolved(path: Path) -> Path:
    real = Path(os.path.realpath(path))
    if real.is_symlink():  # it leads back to itself, which Path.resolve makes a RuntimeError of
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return real


def _document(data: bytes, path: Path) -> str:
    try:
        text = data.decode() if data.strip() else "{}"
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"cannot change {path}: {error}", hint="correct it, or move it away") from error
    if not isinstance(value, dict):
        raise DataError(f"cannot change {path}: it is no JSON object", hint="correct it, or move it away")
    return text


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, data: bytes) -> None:
    """Put a new file in the place of the old one; what killed commands have left goes first."""
    for left in path.parent.glob(f".{path.name}.swapbox-*"):
        left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.swapbox-{os.urandom(4).hex()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            _keep_owner(path, file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _keep_owner(path: Path, descriptor: int) -> None:
    """Give a new file to the owner of the old one, as far as this process may."""
    with contextlib.suppress(OSError):  # there is none yet, or it is not ours to give away
        status = path.stat()
        # In a user namespace that number stands for whoever has none there, and would be somebody else.
        if _NOBODY not in (status.st_uid, status.st_gid):
            os.fchown(descriptor, status.st_uid, status.st_gid)
