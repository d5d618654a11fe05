"""Find the command as Docker does: before the container starts, with the container's user, root and PATH."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from swapbox.errors import CommandNotExecutable
from swapbox_isolation_ns.failures import reason

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


def find_command(name: str, env: Sequence[str]) -> str:
    """Return the path to execute for ``name``, which is looked up in the PATH of ``env`` if it has no slash.

    :raises CommandNotExecutable: with the words, and the exit code, that Docker's users know.
    """
    if "/" in name:
        try:
            os.stat(name)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError | NotADirectoryError)
            code = _NOT_FOUND if missing else _NOT_EXECUTABLE
            raise _error(name, f"stat {name}: {reason(error)}", code) from None
        try:
            _check(name)
        except OSError as error:
            raise _error(name, reason(error), _NOT_EXECUTABLE) from None
        return name
    for directory in _search_path(env):
        path = os.path.join(directory, name)
        try:
            _check(path)
        except OSError:
            continue
        if name and directory.startswith("/"):
            return path
    raise _error(name, "executable file not found in $PATH", _NOT_FOUND)


def _search_path(env: Sequence[str]) -> list[str]:
    value = ""
    for item in env:
        if item.startswith("PATH="):
            value = item.removeprefix("PATH=")
    return value.split(":") if value else []


def _check(path: str) -> None:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "is a directory")
    # Without any x bit execve refuses even root.
    if not mode & 0o111 or not os.access(path, os.X_OK, effective_ids=True):
        raise PermissionError(13, "permission denied")


def _error(name: str, why: str, exit_code: int) -> CommandNotExecutable:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return CommandNotExecutable(f'exec: "{quoted}": {why}', exit_code=exit_code)
