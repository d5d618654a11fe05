"""From a runtime's words to swapbox's errors.

Runtimes agree on operations and files, not on messages. So what a caller acts on is found out from the container's
state wherever that is possible (``driver.py``); words are only read for the command that cannot be executed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from swapbox.errors import (
    CommandNotExecutable,
    InvalidInput,
    PermissionDenied,
    SwapboxError,
    Unavailable,
    Unsupported,
)

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
# runc and runsc say it as Go does: exec: "x": executable file not found in $PATH
_GO = re.compile(r'exec: "(?P<name>(?:[^"\\]|\\.)*)": (?P<why>.+)', re.DOTALL)
# crun: executable file `x` not found in $PATH: No such file or directory; open executable: Permission denied
_MISSING = re.compile(r"executable\b.* not found")
_REFUSED = re.compile(r"open executable: (?P<why>.+)")
_CLASSES: tuple[tuple[str, type[SwapboxError]], ...] = (
    (r"(not|un)[- ]?support|not implemented", Unsupported),
    (r"operation not permitted|permission denied", PermissionDenied),
    (r"not a directory|must be mounted on|unmapped user|cannot unmarshal|json:", InvalidInput),
    (r"invalid|unknown|must be|unable to find user", InvalidInput),
)


def read_log(log: Path) -> str:
    """Return the last error in a log of JSON lines; empty when there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
            if entry["level"].lower() in ("error", "fatal"):
                return str(entry["msg"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return ""


def error_of(program: str, verb: str, message: str, code: int, *, command: str = "") -> SwapboxError:
    """Return the error for a call that failed.

    :param message: the runtime's own, if it said something.
    :param code: its exit code, minus the signal if one killed it.
    :param command: the first argument of the command that was to be executed.
    """
    if not message:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        return Unavailable(f"{program} {verb} {how} and did not say why")
    if found := _not_executable(message, command):
        return found
    for pattern, kind in _CLASSES:
        if re.search(pattern, message, re.IGNORECASE):
            return kind(f"{program}: {message}")
    return Unavailable(f"{program}: {message}")


def _not_executable(message: str, command: str) -> CommandNotExecutable | None:
    if match := _GO.search(message):
        return _refusal(match["name"], match["why"].splitlines()[0])
    if match := _REFUSED.search(message):
        return _refusal(command, match["why"].lower())
    if _MISSING.search(message):
        missing = f"stat {command}: no such file or directory"
        return _refusal(command, missing if "/" in command else "executable file not found in $PATH")
    return None


def _refusal(name: str, why: str) -> CommandNotExecutable:
    missing = re.search("not found|no such file|not a directory", why)
    return CommandNotExecutable(f'exec: "{name}": {why}', exit_code=_NOT_FOUND if missing else _NOT_EXECUTABLE)
