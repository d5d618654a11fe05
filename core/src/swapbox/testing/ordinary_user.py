"""The ``swapbox`` command as an ordinary user runs it, on a machine where there may be none: root drops to a uid.

Every command gets a mount namespace of its own, in which the machine's user database has the user, and in which
this interpreter and its modules can be read even when they lie in root's home.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from swapbox.errors import Unsupported
from swapbox.testing.sandbox import Sandbox, console_script, scratch
from swapbox.testing.servers import plain_environment, require

UID = 61234
"""Who the user is; a number that nobody has."""

FIRST_SUBORDINATE = 700_000
"""The first of the user's 65536 subordinate ids, where it has any."""

_NAME = "swapbox-user"
_FILES = ("passwd", "subuid", "subgid")


class UserSandbox(Sandbox):
    """The command of an ordinary user, with the default root and run root in its home.

    :param directory: belongs to the user.
    :param setup: shell commands that prepare the mount namespace.
    """

    def __init__(self, directory: Path, setup: Iterable[str]) -> None:
        super().__init__(directory)
        home = directory / "home"
        self.root, self.run_root = home / ".local/share/swapbox", directory / "run/swapbox"
        self.environment = plain_environment(home) | {"XDG_RUNTIME_DIR": str(directory / "run")}
        drop = f'exec setpriv --reuid {UID} --regid {UID} --clear-groups "$@"'
        script = directory / "etc/as-user"
        script.write_text("\n".join(["set -e", *setup, drop, ""]))
        self.prefix = ("unshare", "--mount", "sh", str(script), str(console_script()))


@contextlib.contextmanager
def user_sandbox(*, subordinate_ids: bool) -> Iterator[UserSandbox]:
    """Make a sandbox, and at the end remove its containers, expect no leak, and remove its files.

    :param subordinate_ids: whether ``/etc/subuid`` and ``/etc/subgid`` give the user a range.
    :raises Unsupported: a program or file is missing.
    """
    for program in ("setpriv", "unshare"):
        require(program, "util-linux")
    if subordinate_ids:
        require("newuidmap", "uidmap")
        if not all(Path("/etc", name).is_file() for name in _FILES):
            raise Unsupported("no /etc/subuid and /etc/subgid here to put others over", hint="make them, empty")
    with scratch("sbx-") as directory:
        for name in ("home", "run", "etc", "moved"):
            (directory / name).mkdir(mode=0o755)
        _write_user_database(directory, subordinate_ids=subordinate_ids)
        for path in (directory, directory / "home", directory / "run"):
            os.chown(path, UID, UID)
        made = UserSandbox(directory, _setup(directory))
        try:
            yield made
            made.remove_containers()
            made.assert_no_leaks()
        finally:
            made._sweep()


def _write_user_database(directory: Path, *, subordinate_ids: bool) -> None:
    known = Path("/etc/passwd").read_text()
    (directory / "etc/passwd").write_text(f"{known}{_NAME}:x:{UID}:{UID}::{directory}/home:/bin/sh\n")
    for name in ("subuid", "subgid"):
        (directory / "etc" / name).write_text(f"{_NAME}:{FIRST_SUBORDINATE}:65536\n" if subordinate_ids else "")


def _setup(directory: Path) -> Iterator[str]:
    """Yield the commands. What they make lies on a tmpfs of their own: no path of the machine is written to."""
    for name in _FILES:
        if Path("/etc", name).is_file():
            yield shlex.join(("mount", "--bind", f"{directory}/etc/{name}", f"/etc/{name}"))
    closed: dict[Path, list[Path]] = {}
    for path in _needed():
        if (top := _closed_parent(path)) is not None:
            closed.setdefault(top, []).append(path)
    for number, (top, paths) in enumerate(closed.items()):
        yield from _open_up(top, paths, directory / "moved" / str(number))


def _needed() -> list[Path]:
    """Return the directories of this interpreter and its modules, none inside another."""
    entries = {Path(entry).resolve() for entry in (sys.base_prefix, sys.prefix, *sys.path) if entry}
    found = {path for path in entries if path.is_dir()}
    return sorted(path for path in found if not found.intersection(path.parents))


def _closed_parent(path: Path) -> Path | None:
    """Return the topmost directory on the way to ``path`` that others may not enter."""
    return next((parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001), None)


def _open_up(top: Path, paths: Iterable[Path], moved: Path) -> Iterator[str]:
    """Cover a closed directory with an open one that has nothing but ``paths``."""
    moved.mkdir()
    yield shlex.join(("mount", "--rbind", str(top), str(moved)))
    yield shlex.join(("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(top)))
    for path in paths:
        yield shlex.join(("mkdir", "-p", str(path)))
        yield shlex.join(("mount", "--rbind", str(moved / path.relative_to(top)), str(path)))
