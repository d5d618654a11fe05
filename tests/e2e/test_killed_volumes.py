"""Commands and monitors killed while they make, fill, mount or remove volumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

PATCHED = """
import importlib, os, signal, sys
from functools import reduce
from swapbox.cli import main

place, when, *arguments = sys.argv[1:]
module, _, name = place.partition(":")
*owners, name = name.split(".")
owner = reduce(getattr, owners, importlib.import_module(module))
original = getattr(owner, name)

def patched(*args, **options):
    if when == "after":
        original(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, patched)
main(arguments)
"""
"""A command in which whoever calls a function is killed before or after its work."""

SERVICE = "swapbox.volumes.service:Volumes"
RECORDS = "swapbox.volumes.records:VolumeRecords"
MOUNTS = "swapbox.containers.volume_mounts"
DRIVER = "swapbox_volume_local.driver"
COPY = "swapbox.volumes.copying"

MAKING = [f"{RECORDS}.add", f"{DRIVER}:Driver.create", f"{DRIVER}:_fill", f"{DRIVER}:_rename_new"]
MAKING += [f"{RECORDS}.set_state", f"{RECORDS}.use"]
FILLING = [f"{MOUNTS}:settle", f"{MOUNTS}:fill", f"{MOUNTS}:copy_into"]
FILLING += [f"{COPY}:_copy_metadata", f"{COPY}:copy_data"]
ENDING = [f"{MOUNTS}:mounted", f"{MOUNTS}:tell_unmounted", f"{MOUNTS}:unmount", f"{MOUNTS}:release"]
REMOVING = [f"{RECORDS}.set_state", f"{DRIVER}:Driver.remove", f"{DRIVER}:remove_tree", f"{RECORDS}.remove"]

TMPFS = "dst=/tmpfs,volume-opt=type=tmpfs,volume-opt=device=tmpfs"


def killed(swapbox: Sandbox, place: str, when: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-P", "-c", PATCHED, place, when, *swapbox.argv(*arguments)[1:]]
    return subprocess.run(argv, capture_output=True, timeout=60, env=swapbox.environment, stdin=subprocess.DEVNULL)


@pytest.fixture(autouse=True)
def _nothing_is_left(swapbox: Sandbox) -> Iterator[None]:
    yield
    swapbox.remove_containers()
    swapbox.ok("volume", "prune", "-af")
    assert swapbox.ok("volume", "ls", "-q") == ""
    assert os.listdir(swapbox.root / "volume/local") == []
    assert not list(swapbox.run_root.glob("containers/*/volumes"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", [*MAKING, *FILLING, *ENDING])
def test_a_killed_run_leaves_volumes_that_the_next_one_finishes(swapbox: Sandbox, place: str, when: str) -> None:
    options = ("--rm", "-v", "data:/etc", "-v", "/anonymous", "--mount", TMPFS)
    outcome = killed(swapbox, place, when, "run", *options, "busybox", "true")
    assert outcome.returncode == 125, outcome.stderr
    swapbox.remove_containers()
    script = "cat /data/passwd; ls -A /data | grep partial; stat -c %a /data"
    found = swapbox.ok("run", "--rm", "-v", "data:/etc", "-v", "data:/data", "busybox", "sh", "-c", script)
    assert found == swapbox.ok("run", "--rm", "busybox", "sh", "-c", "cat /etc/passwd; stat -c %a /etc")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", MAKING[:-1])
def test_a_killed_creation_is_finished_by_another(swapbox: Sandbox, place: str, when: str) -> None:
    outcome = killed(swapbox, place, when, "volume", "create", "--label", "a=b", "data")
    assert outcome.returncode == -signal.SIGKILL
    assert swapbox.ok("volume", "ls", "-q") in ("", "data")
    assert swapbox.ok("volume", "create", "data") == "data"
    assert swapbox.ok("volume", "ls", "-q") == "data"
    assert swapbox.ok("run", "--rm", "-v", "data:/x:nocopy", "busybox", "ls", "-A", "/x") == ""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", REMOVING)
def test_what_a_killed_removal_left_never_comes_back(swapbox: Sandbox, place: str, when: str) -> None:
    swapbox.ok("run", "--rm", "-v", "data:/x", "busybox", "touch", "/x/secret")
    outcome = killed(swapbox, place, when, "volume", "rm", "data")
    assert outcome.returncode == -signal.SIGKILL
    there = swapbox.ok("volume", "ls", "-q")
    assert there == ("data" if place == REMOVING[0] else "")  # that is inside a transaction
    found = swapbox.ok("run", "--rm", "-v", "data:/x", "busybox", "ls", "-A", "/x")
    assert found == ("secret" if there else "")


def test_a_volume_that_a_killed_process_was_about_to_use_can_be_removed(swapbox: Sandbox) -> None:
    killed(swapbox, f"{MOUNTS}:settle", "after", "create", "-v", "data:/x", "busybox", "true")
    assert swapbox.ok("volume", "ls", "-q") == "data"
    assert swapbox.ok("volume", "rm", "data") == "data"


def test_a_killed_monitor_leaves_no_mount(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "one", "--mount", TMPFS, "busybox", "sleep", "1000")
    os.kill(swapbox.wait_lean("one"), signal.SIGKILL)
    assert swapbox.ok("exec", "one", "stat", "-fc", "%T", "/tmpfs") == "tmpfs"
    swapbox.ok("rm", "-fv", "one")
    swapbox.assert_no_leaks()
