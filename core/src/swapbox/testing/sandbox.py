"""A swapbox of its own for a test or benchmark: the installed command over fresh roots, and a check for leaks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swapbox.linux import syscalls
from swapbox.testing.process import (
    Engine,
    cgroups,
    mounts_naming,
    processes_naming,
    wait_until,
)
from swapbox.testing.servers import plain_environment

CGROUP_PARENT = "swapbox"


def console_script() -> Path:
    """Return the installed command that belongs to this interpreter."""
    return Path(sys.executable).parent / "swapbox"


def scratch_directory() -> Path:
    """Return where roots are made: ``SWAPBOX_TEST_ROOT``, else tmpfs where there is one, else the disk."""
    shm = Path("/dev/shm")
    return Path(os.environ.get("SWAPBOX_TEST_ROOT") or (shm if shm.is_dir() else tempfile.gettempdir()))


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Make a directory with an unguessable name where roots are made, and remove it with everything in it.

    What is mounted below is detached first: engines keep mounts of their own in their roots.
    """
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=scratch_directory()))
    try:
        yield directory
    finally:
        targets = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for target in reversed([target for target in targets if target.startswith(f"{directory}/")]):
            syscalls.umount(target, syscalls.MNT_DETACH)
        shutil.rmtree(directory, ignore_errors=True)


class Sandbox(Engine):
    """The ``swapbox`` command with ``--root`` and ``--run-root`` below ``directory``.

    :param directory: its last part must be unguessable: whatever names it is taken for this sandbox's.
    :param network: the default network driver; ``none`` costs least and touches nothing of the host.
    :param enter: the beginning of every command line, for a command that lives in a namespace.
    """

    def __init__(self, directory: Path, *, network: str = "none", enter: Sequence[str] = ()) -> None:
        self.directory = directory
        self.root, self.run_root = directory / "root", directory / "run"
        super().__init__(
            *enter,
            console_script(),
            *("--root", self.root, "--run-root", self.run_root),
            environment={
                **plain_environment(directory),
                **_chosen(),
                **({"SWAPBOX_NETWORK_DRIVER": network} if network else {}),
            },
        )

    def names(self, *options: str) -> list[str]:
        """Return the container names that ``ps`` lists."""
        return [line.split()[-1] for line in self.ok("ps", *options).splitlines()[1:]]

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what ``inspect`` says of one container or image."""
        document: list[dict[str, Any]] = json.loads(self.ok("inspect", name))
        return document[0]

    def state(self, name: str) -> dict[str, Any]:
        """Return a container's ``State``."""
        state: dict[str, Any] = self.inspect(name)["State"]
        return state

    def wait_exited(self, name: str) -> int:
        """Wait until a container has ended and return its exit code."""
        state = wait_until(lambda: (s := self.state(name))["Status"] == "exited" and s, f"{name} has ended")
        assert state
        code: int = state["ExitCode"]
        return code

    def wait_lean(self, name: str) -> int:
        """Wait until a running container's monitor is the lean process it turns into, and return its pid."""
        status = Path(f"/proc/{self.state(name)['Pid']}/status").read_text()
        pid = int(status.split("PPid:")[1].split()[0])
        wait_until(
            lambda: b"lean.py" in Path(f"/proc/{pid}/cmdline").read_bytes(), f"the monitor of {name} is lean"
        )
        return pid

    def wait_log(self, name: str, text: str) -> str:
        """Wait until a container's log has ``text``, and return the log."""

        def log_with_text() -> str:
            log = self.ok("logs", name)
            return log if text in log else ""

        return wait_until(log_with_text, f"{text!r} in the log of {name}")

    def remove_containers(self) -> None:
        """Remove every container, running or not."""
        if ids := self._containers():
            self.ok("rm", "-f", *ids)

    def _containers(self) -> list[str]:
        """Return the ids of all containers, from the database: a command takes a hundred times as long."""
        try:
            with contextlib.closing(self._database()) as database:
                return [row[0] for row in database.execute("SELECT id FROM containers")]
        except sqlite3.Error:  # not made yet, or damaged by a test
            return self.ok("ps", "-a", "-q", "--no-trunc").split()

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.root / 'db.sqlite'}?mode=ro", uri=True)

    def leaks(self) -> list[str]:
        """Return what of this sandbox is alive on the host: processes, mounts, cgroups.

        With every container removed there must be nothing. Cgroups bear no owner's name: those count that have
        the id of a container of which there was an event here.
        """
        token = self.directory.name
        found = [f"process {process.pid}: {process.command}" for process in processes_naming(token)]
        found += [f"mount {line}" for line in mounts_naming(token)]
        return found + [f"cgroup {path}" for path in self._cgroups()]

    def _cgroups(self) -> list[Path]:
        groups = cgroups(CGROUP_PARENT)
        events = "".join(file.read_text() for file in (self.run_root / "events").glob("*")) if groups else ""
        return [path for path in groups if f'"{path.name}"' in events]

    def assert_no_leaks(self) -> None:
        """Wait for the last teardown, then expect the host to be as before."""
        try:
            wait_until(lambda: not self.leaks(), "the host is clean", timeout=5)
        except AssertionError:
            leaks = self.leaks()
            self._sweep()
            assert leaks == [], "left behind"

    def _sweep(self) -> None:
        # So that one test's leak does not fail all that follow.
        for process in processes_naming(self.directory.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def sandbox(*, network: str = "none", enter: Sequence[str] = ()) -> Iterator[Sandbox]:
    """Make a sandbox, and at the end remove its containers, expect no leak, and remove its files.

    The parameters are those of :class:`Sandbox`.
    """
    with scratch("sbx-") as directory:
        made = Sandbox(directory, network=network, enter=enter)
        try:
            yield made
            made.remove_containers()
            made.assert_no_leaks()
        finally:
            made._sweep()


def _chosen() -> dict[str, str]:
    """Return what makes all tests run on another isolation driver: ``SWAPBOX_TEST_ISOLATION=runc``."""
    name = os.environ.get("SWAPBOX_TEST_ISOLATION")
    return {"SWAPBOX_ISOLATION": name} if name else {}
