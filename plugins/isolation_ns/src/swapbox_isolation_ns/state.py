"""What is remembered of a container: one directory below the run root, with ``state.json`` and the start gate.

Whether it is created, running or stopped is not remembered but asked of the kernel: the process is alive or not,
and the gate's FIFO has somebody waiting at it or not.
"""

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from swapbox.drivers.isolation import ContainerState, Status
from swapbox.errors import AlreadyExists, Conflict, DataError, InvalidInput, NotFound
from swapbox.linux.process import Process
from swapbox_isolation_ns.seccomp import Filter

_GATE = "start"
_FILE = "state.json"
_SECCOMP = "seccomp.bpf"
_EARLY = "early"


class Record(NamedTuple):
    """The content of ``state.json``; ``created`` in nanoseconds since the epoch."""

    process: Process
    bundle: Path
    created: int
    seccomp_flags: int
    allows_execveat: bool


class StateDir:
    """One container's directory.

    :raises InvalidInput: the id cannot be the name of a directory.
    """

    def __init__(self, run_root: Path, id: str) -> None:
        if not id or id in (".", "..") or "/" in id or "\0" in id:
            raise InvalidInput(f"invalid container id {id!r}")
        self.id = id
        self.path = run_root / id
        self.gate = self.path / _GATE

    def create(self) -> None:
        """Make the directory and the gate.

        :raises AlreadyExists: the id is taken.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            raise AlreadyExists(f"container {self.id} already exists in {self.path.parent}") from None
        try:
            os.mkfifo(self.gate, 0o600)
        except BaseException:
            self.path.rmdir()
            raise

    def announce(self, pid: int) -> None:
        """Name the process that becomes the init, before it does anything: a creator that dies has told of it."""
        (self.path / _EARLY).write_text("{} {}".format(*Process.of(pid)))

    def announced(self) -> Process | None:
        """Return the process that was to become the init; None when it did not come so far."""
        try:
            pid, start = map(int, (self.path / _EARLY).read_text().split())
        except (FileNotFoundError, ValueError):  # not written, or cut off while it was: then nobody said go
            return None
        return Process(pid, start)

    def write(self, pid: int, bundle: Path, seccomp: Filter | None) -> None:
        """Remember the container's init, and the filter that exec sessions get too."""
        record = Record(
            process=Process.of(pid),
            bundle=bundle,
            created=time.time_ns(),
            seccomp_flags=seccomp.flags if seccomp else 0,
            allows_execveat=seccomp is None or seccomp.allows_execveat,
        )
        if seccomp is not None:
            (self.path / _SECCOMP).write_bytes(seccomp.program)
        value = {**record._asdict(), "bundle": str(bundle)}
        # Nothing is synced: the run root is gone after a reboot anyway. The rename keeps readers from half a file.
        new = self.path / f".{_FILE}"
        new.write_text(json.dumps(value))
        new.rename(self.path / _FILE)

    def read(self) -> Record | None:
        """Return what is remembered; None while the container is being created.

        :raises NotFound: there is no such container.
        :raises DataError: the file was damaged.
        """
        try:
            value = json.loads((self.path / _FILE).read_bytes())
            value["process"], value["bundle"] = Process(*value["process"]), Path(value["bundle"])
            return Record(**value)
        except FileNotFoundError:
            if self.path.is_dir():
                return None
            raise NotFound(f"no such container: {self.id}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.path / _FILE} is damaged: {error}") from None

    def seccomp(self, record: Record) -> Filter | None:
        """Return the filter that the container was made with."""
        try:
            program = (self.path / _SECCOMP).read_bytes()
        except FileNotFoundError:
            return None
        return Filter(program, record.seccomp_flags, record.allows_execveat)

    def state(self) -> ContainerState:
        """Return the OCI state."""
        record = self.read()
        if record is None:
            return ContainerState(self.id, "creating", 0, Path())
        if not record.process.alive():
            return ContainerState(self.id, "stopped", 0, record.bundle)
        status: Status = "created" if self._is_waiting() else "running"
        return ContainerState(self.id, status, record.process.pid, record.bundle)

    def _is_waiting(self) -> bool:
        try:
            os.close(self._open_gate())
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        return True

    def _open_gate(self) -> int:
        # Without O_NONBLOCK the open would wait for a reader; with it, no reader is ENXIO (fifo(7)).
        return os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def open_gate(self) -> None:
        """Let the init pass the gate.

        :raises Conflict: nobody waits there.
        """
        conflict = Conflict(f"container {self.id} is not in the state created")
        try:
            fd = self._open_gate()
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                raise conflict from None
            raise
        try:
            os.write(fd, b"s")
            self.gate.unlink()  # Of two callers at once, the one who removes it has started the container.
        except (BrokenPipeError, FileNotFoundError):
            raise conflict from None
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Forget the container; what is gone already is fine."""
        for name in (_GATE, _EARLY, _SECCOMP, f".{_FILE}", _FILE):
            with suppress(FileNotFoundError):
                (self.path / name).unlink()
        with suppress(FileNotFoundError):
            self.path.rmdir()
