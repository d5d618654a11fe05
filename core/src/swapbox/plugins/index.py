"""The index: which plugins are installed and which hooks each implements, remembered between commands.

Scanning the installed distributions and validating their plugins takes stevedore, ``importlib.metadata`` and
pluggy about 100 ms. The index keeps the outcome in one small JSON file. It is right for one interpreter, one
``sys.path`` and one state of the files it was made from: each entry of ``sys.path`` and each plugin's own modules,
known by nanosecond mtime, size and inode. When anything differs the file is as good as absent.

The file says which modules get imported, so it is used only when nobody else could have written it.
"""

import json
import os
import stat
import sys
import time
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from swapbox import __version__

GROUP = "swapbox.plugins"
BUILTIN = "swapbox"
"""The distribution whose plugins are the built-in ones."""

FORMAT = 1
SETTLED_NS = 2_000_000_000
"""A file changed this recently may change again without a new mtime: the coarsest file system counts 2 s steps."""
RETRY_NS = 60_000_000_000
"""How long a plugin's failure is remembered: what it lacked may have been installed since."""

Stamp = list[int]


class Entry(NamedTuple):
    """One installed entry point.

    :param name: the plugin's name.
    :param value: where it is: ``module`` or ``module:attribute``.
    :param hooks: the hooks it implements; empty until it was validated.
    :param error: why it is unusable; empty when it is fine.
    :param validated: it was imported and checked.
    """

    name: str
    value: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()
    error: str = ""
    validated: bool = False

    @property
    def builtin(self) -> bool:
        """Whether it comes with swapbox itself."""
        return self.distribution == BUILTIN

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other: distribution and name."""
        return self.distribution, self.name


def read(directory: Path) -> tuple[Entry, ...] | None:
    """Return the entries if there is a trustworthy index that is still right; otherwise None."""
    try:
        _check_private(os.lstat(directory), stat.S_ISDIR)
        with open(_file(directory), "rb", opener=_open_no_follow) as file:
            _check_private(status := os.fstat(file.fileno()), stat.S_ISREG)
            document = json.load(file)
        if document["key"] != _key() or document["stamps"] != stamps(document["stamps"]):
            return None
        entries = tuple(_entry(item) for item in document["entries"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if any(entry.error for entry in entries) and time.time_ns() - status.st_mtime_ns > RETRY_NS:
        return None
    return entries


def write(directory: Path, entries: Iterable[Entry], stamps: Mapping[str, Stamp]) -> None:
    """Keep the entries for later commands; do nothing when the directory cannot be written or is not private.

    :param stamps: the files the entries depend on, as they were *before* the scan.
    """
    now = time.time_ns()
    if any(0 <= now - stamp[0] < SETTLED_NS for stamp in stamps.values() if stamp):
        return
    document = {"key": _key(), "stamps": stamps, "entries": list(entries)}
    target = _file(directory)
    temporary = f"{target}.{os.getpid()}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _check_private(os.lstat(directory), stat.S_ISDIR)
        with open(temporary, "x", opener=_open_private) as file:
            json.dump(document, file)
        os.rename(temporary, target)
        _remove_dead(directory, kept=target)
    except OSError:
        remove_quietly(temporary)


def _remove_dead(directory: Path, *, kept: str) -> None:
    """Remove the indexes that are right for nobody any more, so that they do not pile up."""
    for file in os.scandir(directory):
        if file.name.startswith("plugins-") and file.path != kept and _is_dead(file):
            remove_quietly(file.path)


def _is_dead(file: "os.DirEntry[str]") -> bool:
    """Say whether another release has taken an index's place, or what it was made from is gone or has changed."""
    try:
        with open(file.path, "rb", opener=_open_no_follow) as stream:
            document = json.load(stream)
        return bool(document["key"][3:] == _key()[3:] or document["stamps"] != stamps(document["stamps"]))
    except OSError:
        return False
    except (ValueError, TypeError, KeyError, AttributeError):  # damaged, or still being written
        return time.time_ns() - file.stat(follow_symlinks=False).st_mtime_ns > RETRY_NS


def stamps(paths: Iterable[str]) -> dict[str, Stamp]:
    """Return what tells whether a file or directory has changed; an empty stamp when it is not there."""
    return {path: _stamp(path) for path in paths}


def remove_quietly(path: str) -> None:
    """Remove a file that may not be there or not be ours."""
    try:
        os.unlink(path)
    except OSError:
        return


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _key() -> list[Any]:
    """Return what an index is for: this release, interpreter, environment and module search path."""
    return [FORMAT, __version__, sys.hexversion, sys.prefix, sys.path]


def _file(directory: Path) -> str:
    """Return the index's path; each search path has a file, so that two environments do not evict each other."""
    return f"{directory}/plugins-{zlib.crc32(repr(_key()).encode()):08x}.json"


def _entry(item: list[Any]) -> Entry:
    entry = Entry(*item)
    return entry._replace(hooks=tuple(entry.hooks))


def _open_no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _check_private(status: os.stat_result, is_type: Any) -> None:
    """Refuse what somebody else owns or may write."""
    if not is_type(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"not private: owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):o}")
