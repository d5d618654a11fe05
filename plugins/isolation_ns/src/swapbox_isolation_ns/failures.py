"""Errors: from the kernel's numbers to swapbox's classes, and from a container's first process to its creator."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from swapbox import errors
from swapbox.errors import CommandNotExecutable, SwapboxError

_CLASSES: dict[int, type[SwapboxError]] = {
    errno.EPERM: errors.PermissionDenied,
    errno.EACCES: errors.PermissionDenied,
    errno.EROFS: errors.PermissionDenied,
    errno.ENOENT: errors.NotFound,
    errno.ENOTDIR: errors.InvalidInput,
    errno.EISDIR: errors.InvalidInput,
    errno.ELOOP: errors.InvalidInput,
    errno.ENAMETOOLONG: errors.InvalidInput,
    errno.EINVAL: errors.Unsupported,
    errno.ENODEV: errors.Unsupported,
    errno.ENOSYS: errors.Unsupported,
    errno.EOPNOTSUPP: errors.Unsupported,
    errno.EAGAIN: errors.Unavailable,
    errno.EMFILE: errors.Unavailable,
    errno.ENFILE: errors.Unavailable,
    errno.ENOMEM: errors.Unavailable,
    errno.ENOSPC: errors.Unavailable,
    errno.EUSERS: errors.Unavailable,
}


@contextmanager
def doing(what: str, *, hint: str | None = None) -> Iterator[None]:
    """Turn an ``OSError`` inside into swapbox's error: ``WHAT: no such file or directory``."""
    try:
        yield
    except OSError as error:
        raise translate(error, what, hint=hint) from error


def translate(error: OSError, what: str, *, hint: str | None = None) -> SwapboxError:
    """Return the error to raise for ``error``, which happened while doing ``what``."""
    kind = _CLASSES.get(error.errno or 0, SwapboxError)
    return kind(f"{what}: {reason(error)}", hint=hint)


def reason(error: OSError) -> str:
    """Return the kernel's words, lower case, as Go prints them too."""
    return (error.strerror or str(error)).lower()


READY = b"+"
"""Written to the report pipe when only execve(2) is left."""


class Report:
    """The child's end of the pipe to its creator; ``fd`` follows when the descriptor is moved."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def ready(self) -> None:
        """Say that all is set up; if execve fails after this, an error follows."""
        os.write(self.fd, READY)

    def move(self, pid: int) -> None:
        """Say that the child goes on as another process, before that one says anything."""
        os.write(self.fd, b"%d " % pid)

    def fail(self, error: BaseException) -> None:
        """Send the error that ends the child."""
        os.write(self.fd, dump(error))


def dump(error: BaseException) -> bytes:
    """Return an error as bytes for :func:`load`."""
    if not isinstance(error, SwapboxError):
        error = SwapboxError(f"setting the container up failed: {type(error).__name__}: {error}")
    record = [type(error).__name__, error.message, error.hint, getattr(error, "exit_code", None)]
    return json.dumps(record).encode()


def load(data: bytes) -> SwapboxError:
    """Return the error that :func:`dump` wrote."""
    name, message, hint, exit_code = json.loads(data)
    if exit_code is not None:
        return CommandNotExecutable(message, exit_code=exit_code, hint=hint)
    kind: type[SwapboxError] = getattr(errors, name)
    return kind(message, hint=hint)


def ended(info: os.waitid_result) -> SwapboxError:
    """Return the error for a child that ended before it could say why."""
    how = "exited with" if info.si_code == os.CLD_EXITED else "was killed by signal"
    how = f"{how} {info.si_status}"
    return SwapboxError(f"the container's first process {how} while it was being set up")
