"""Id maps written by an ordinary user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from swapbox.errors import PermissionDenied
from swapbox.linux import syscalls
from swapbox.testing.forked import Forked
from swapbox_isolation_ns.idmap import IdMap, read_maps, write_maps

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become an ordinary user"),
]

USER = 12345
OWN = [IdMap(0, USER, 1)]


def mapped_by_a_user(maps: list[IdMap]) -> tuple[str, tuple[IdMap, ...], str]:
    """Map a new user namespace as an ordinary user; return the error, the map, and what became of setgroups."""

    def act() -> tuple[str, tuple[IdMap, ...], str]:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        # Changing the user has closed /proc/<child> to ourselves, which execve would undo in real life.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        wait, go = os.pipe()
        child = syscalls.clone(syscalls.CLONE_NEWUSER)
        if child == 0:
            os.close(go)
            os.read(wait, 1)
            os._exit(0)
        try:
            write_maps(child, maps, maps)
            message = ""
        except PermissionDenied as error:
            message = error.message
        try:
            return message, read_maps(child), Path(f"/proc/{child}/setgroups").read_text().strip()
        finally:
            os.close(go)
            os.waitpid(child, 0)

    return Forked(act).result()


def test_a_user_maps_their_own_id_and_gives_setgroups_up() -> None:
    assert mapped_by_a_user(OWN) == ("", tuple(OWN), "deny")


def test_a_range_needs_the_package_uidmap_and_permission() -> None:
    message, maps, _ = mapped_by_a_user([IdMap(0, 1, 2)])
    assert maps == ()
    assert "newgidmap" in message
    assert ("without" in message) == (shutil.which("newgidmap") is None)
