"""Paths of ``docker cp``: their endings, which mean something, and what they lead to inside a container.

``dir/`` asserts a directory, ``dir/.`` means what is in it. A path in a container is resolved with the container's
root as ``/``: names are worked out by :func:`follow`, and what is then opened by them is opened by openat2(2) with
``RESOLVE_IN_ROOT``, so a container that swaps directories for links meanwhile only ever gets its own files.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import NamedTuple

from swapbox.errors import InvalidInput, NotFound
from swapbox.linux.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_LINKS_LIMIT = 255


class Place(NamedTuple):
    """Something a path leads to.

    :param path: absolute in the container, ending as it was typed.
    :param parent: descriptor of the directory that holds it under ``base``; the caller's to close.
    :param link: where a symbolic link leads in the end, an absolute path in the container; else empty.
    """

    path: str
    parent: int
    base: bytes
    info: os.stat_result
    link: str

    @property
    def is_directory(self) -> bool:
        """It is a directory, not a link to one."""
        return stat.S_ISDIR(self.info.st_mode)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.parent)


def look_up(root: int, path: str, *, container: str) -> Place:
    """Find a path in a container; a link at its end is not followed unless a ``/`` comes after it.

    :param root: descriptor of the container's root directory.
    :raises NotFound: with Docker's words.
    :raises InvalidInput: something on the way is no directory, or it is a loop of links.
    """
    if not path:
        raise InvalidInput("bad parameter: pathcannot be empty")
    absolute = inside(path)
    directory, _, name = absolute.rpartition("/")
    resolved = follow(root, directory)
    try:
        parent = openat2(root, resolved, os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE)
        base = os.fsencode(name) or b"."
        try:
            info = os.stat(base, dir_fd=parent, follow_symlinks=False)
            link = follow(root, absolute) if stat.S_ISLNK(info.st_mode) else ""
        except BaseException:
            os.close(parent)
            raise
    except FileNotFoundError:
        raise NotFound(f"Could not find the file {path} in container {container}") from None
    except NotADirectoryError:
        raise InvalidInput(f"lstat {posixpath.join(resolved, name)}: not a directory") from None
    return Place(absolute, parent, base, info, link)


def follow(root: int, path: str) -> str:
    """Return a path in a container with every link resolved; what does not exist stays as it is named.

    :raises InvalidInput: a loop of links.
    """
    todo, done, links = path.split("/")[::-1], list[str](), 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
        elif part not in ("", "."):
            link = _link(root, "/".join(("", *done, part)))
            if link is None:
                done.append(part)
                continue
            links += 1
            if links > _LINKS_LIMIT:
                raise InvalidInput(f"evalSymlinksInScope: too many links in {path}")
            if link.startswith("/"):
                done.clear()
            todo += link.split("/")[::-1]
    return "/" + "/".join(done)


def _link(root: int, path: str) -> str | None:
    try:
        fd = openat2(root, path, os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE)
    except OSError:
        return None
    try:
        return os.readlink("", dir_fd=fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def inside(path: str) -> str:
    """Return a path as an absolute one, ending as it was typed."""
    return keep_ending(clean("/" + path), path)


def clean(path: str) -> str:
    """Return a path without ``.``, ``..`` and repeated slashes."""
    normal = posixpath.normpath(path)
    return normal[1:] if normal.startswith("//") else normal


def base_name(path: str) -> str:
    """Return the last part, ``.`` and ``/`` included."""
    bare = path.rstrip("/")
    return bare.rpartition("/")[2] if bare else path[:1] or "."


def keep_ending(cleaned: str, typed: str) -> str:
    """Give a cleaned path the ``/`` or ``/.`` that it had at its end."""
    if base_name(typed) == "." != base_name(cleaned):
        cleaned = cleaned.rstrip("/") + "/."
    return cleaned if cleaned.endswith("/") or not typed.endswith("/") else cleaned + "/"


def split_entry(path: str) -> tuple[str, str]:
    """Return the directory of a path, and the name in it: ``.`` when the path ends with that."""
    cleaned = clean(path)
    if base_name(path) == ".":
        cleaned += "/."
    directory = cleaned[: cleaned.rfind("/") + 1]
    return clean(directory) if directory else ".", base_name(cleaned)


def asserts_directory(path: str) -> bool:
    """Say whether a path can be a directory's only."""
    return path.endswith("/") or base_name(path) == "."


def renamed(typed: str, resolved: str) -> tuple[str, str]:
    """Return where a followed link leads, ending as it was typed, and the name asked for if that differs."""
    resolved = keep_ending(resolved, typed)
    name = base_name(typed)
    return resolved, "" if name == base_name(resolved) else name
