"""The errors swapbox raises: one base class, and one class per thing a caller can do about it.

A message is lower case, has no full stop and always carries the name, path or value it is about.
The hint says what to do next and is printed on a line of its own. This module imports nothing of ours.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, ENODEV, ENOSYS, EOPNOTSUPP, EPERM, EROFS


class SwapboxError(Exception):
    """Base of everything swapbox raises on purpose.

    :param message: what went wrong, with the name, path or value.
    :param hint: what the user can do about it.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message  # words may have been put before it since


class ForcedExit(BaseException):
    """The user insists that this process ends, in the middle of whatever it does; nothing of ours catches it."""


class NotFound(SwapboxError):
    """The named thing does not exist; create or pull it, or correct the name."""


class AlreadyExists(SwapboxError):
    """The name or key is taken; choose another or remove the old one."""


class InvalidInput(SwapboxError):
    """The value can never be right; correct it."""


class InvalidReference(InvalidInput):
    """It is no reference of an image; the hint says why."""


class InvalidFlag(InvalidInput):
    """An option of a command got a value that can never be right.

    :param option: the option's name, with underscores.
    :param value: what it got.
    """

    def __init__(self, message: str, *, option: str, value: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.option = option
        self.value = value


class Unsupported(SwapboxError):
    """This host, driver or version cannot do it; choose another backend."""


class PermissionDenied(SwapboxError):
    """The caller may not do it; log in, or gain the privilege."""


class Unavailable(SwapboxError):
    """A service or resource is out of reach or exhausted for now; try again later."""


class Conflict(SwapboxError):
    """The thing is in a state that forbids it; change its state first."""


class AlreadyRunning(Conflict):
    """The container runs, or is just being started by another command; to whom that is enough it is no error."""


class DataError(SwapboxError):
    """Data is not what its digest, size or format promised; never retried silently."""


class PluginError(SwapboxError):
    """A plugin is broken, missing or clashes with another; the message names its distribution."""


class CommandNotExecutable(SwapboxError):
    """The container's command could not be executed.

    :param exit_code: 127 when it was not found, 126 when it may not or cannot be executed.
    """

    def __init__(self, message: str, *, exit_code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def describe(error: BaseException) -> str:
    """Return one line about any exception: our message, or a foreign one's class and text."""
    if isinstance(error, SwapboxError):
        return error.message
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")


def from_os_error(error: OSError, doing: str) -> SwapboxError:
    """Return the error of ours that says what a system call's failure means to the caller.

    :param doing: what was tried, with the name: ``prepare snapshot x``.
    """
    text = f"cannot {doing}: {error.strerror or error}"
    if error.filename is not None:
        text += f": {error.filename!s}"
    if error.errno in (EACCES, EPERM, EROFS):
        return PermissionDenied(text)
    if error.errno in (ENOSYS, ENODEV, EOPNOTSUPP, EINVAL):
        return Unsupported(text)
    return Unavailable(text)
