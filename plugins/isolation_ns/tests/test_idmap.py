"""Id maps written by an ordinary user."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from swapbox.linux import syscalls
from swapbox.testing.box import Failure, failure_of
from swapbox.testing.forked import Forked
from swapbox_isolation_ns.idmap import read_maps, write_maps
from swapbox_isolation_ns.plan import IdMap

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become an ordinary user"),
]

USER = 12345
OWN = [IdMap(0, USER, 1)]


def mapped_by_a_user(maps: list[IdMap]) -> tuple[Failure | None, tuple[IdMap, ...], str]:
    """Map a new user namespace as an ordinary user; return the error, the map, and what became of setgroups."""

    def act() -> tuple[Failure | None, tuple[IdMap, ...], str]:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        # Changing the user has closed /proc/<child> to ourselves, which execve would undo in real life.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        ready, tell = os.pipe()
        wait, go = os.pipe()
        child = os.fork()
        if child == 0:
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            os.write(tell, b"x")
            os.read(wait, 1)
            os._exit(0)
        os.read(ready, 1)
        failure = None
        try:
            write_maps(child, maps, maps)
        except Exception:
            failure = failure_of(lambda: write_maps(child, maps, maps))
        result = failure, read_maps(child), Path(f"/proc/{child}/setgroups").read_text().strip()
        os.write(go, b"x")
        os.waitpid(child, 0)
        return result

    return Forked(act).result()


def test_a_user_maps_their_own_id_and_gives_setgroups_up() -> None:
    assert mapped_by_a_user(OWN) == (None, tuple(OWN), "deny")


def test_a_range_needs_the_package_uidmap_and_permission() -> None:
    failure, maps, _ = mapped_by_a_user([IdMap(0, 1, 2)])
    assert failure
    assert maps == ()
    assert "newgidmap" in failure.message
    assert ("without" in failure.message) == (shutil.which("newgidmap") is None)
