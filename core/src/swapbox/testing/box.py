"""A container to play with: a bundle made from busybox, and a monitor in a mount namespace of its own.

For tests of isolation drivers: the contract suite is built on it, and so are the tests of the drivers themselves.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from swapbox.drivers.common import DriverContext
from swapbox.drivers.isolation import CreateRequest, ExecRequest, IsolationDriver, Stdio
from swapbox.errors import SwapboxError
from swapbox.linux import syscalls
from swapbox.testing.forked import in_mount_namespace

ResultT = TypeVar("ResultT")

BUSYBOX = "/bin/busybox"
APPLETS = "sh cat echo env grep head hostname id ls mkdir pwd readlink sleep stat stty true tty unshare"
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"]


OWN_STDIO = Stdio(0, 1, 2)


class Output(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


class Failure(NamedTuple):
    """An error, in a form that can be sent between processes."""

    kind: type[SwapboxError]
    message: str
    exit_code: int | None


def failure_of(function: Callable[[], object]) -> Failure:
    """Call a function that has to fail, and return its error."""
    try:
        function()
    except SwapboxError as error:
        return Failure(type(error), error.message, getattr(error, "exit_code", None))
    raise AssertionError("it did not fail")


def _nothing() -> None:
    """Prepare nothing."""


class Box:
    """A driver with one bundle in a folder.

    :param factory: makes the driver.
    :param prepare_monitor: called in each monitor, which has a mount namespace of its own.
    """

    def __init__(
        self,
        folder: Path,
        factory: Callable[[DriverContext], IsolationDriver],
        *,
        prepare_monitor: Callable[[], None] = _nothing,
    ) -> None:
        # The host's control groups are named after it, whoever else runs these tests at the same time.
        self.id = f"box{os.urandom(4).hex()}"
        self.factory = factory
        self._prepare_monitor = prepare_monitor
        self.folder = folder
        self.bundle = folder / "bundle"
        self.rootfs = self.bundle / "rootfs"
        self.context = DriverContext(folder / "root", folder / "run")
        self.driver = factory(self.context)
        self.spec = make_spec()
        """The ``config.json``; tests change it."""
        make_rootfs(self.rootfs)

    def monitored(self, function: Callable[[], ResultT]) -> ResultT:
        """Run a function as a monitor: forked, a subreaper, in its own mount namespace; nothing may be left."""

        def monitor() -> ResultT:
            os.chdir("/")
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
            self._prepare_monitor()
            before = leftovers(self.folder)
            result = function()
            after = leftovers(self.folder)
            assert after == before, f"left behind: {after} instead of {before}"
            return result

        return in_mount_namespace(monitor)

    def request(self, *args: str, stdio: Stdio = OWN_STDIO, **fields: Any) -> CreateRequest:
        """Return a request for the spec with another command."""
        spec = copy.deepcopy(self.spec)
        if args:
            spec["process"]["args"] = list(args)
        return CreateRequest(self.id, self.bundle, spec, stdio, **fields)

    def create(self, *args: str, **fields: Any) -> int:
        """Write the bundle's ``config.json`` and create the container."""
        request = self.request(*args, **fields)
        (self.bundle / "config.json").write_text(json.dumps(request.spec))
        return self.driver.create(request)

    def run(self, *args: str, **fields: Any) -> Output:
        """Create, start, wait for and delete a container."""
        return self.monitored(lambda: self.run_here(*args, **fields))

    def run_here(self, *args: str, **fields: Any) -> Output:
        """Do the same in the calling process, which is a monitor."""
        with Pipes() as pipes:
            pid = self.create(*args, stdio=pipes.stdio, **fields)
            self.driver.start(self.id)
            code = wait(pid)
            self.driver.delete(self.id)
            return Output(code, *pipes.read())

    def sh(self, script: str) -> str:
        """Run a shell script that has to succeed and return what it said."""
        output = self.run("/bin/sh", "-ec", script)
        assert output.code == 0, output
        return output.out.strip()

    def exec_here(self, *args: str, **process: Any) -> Output:
        """Run one more process in the container, from its monitor."""
        fields = {**self.spec["process"], "args": list(args), **process}
        with Pipes() as pipes:
            pid = self.driver.exec(ExecRequest(self.id, fields, pipes.stdio))
            return Output(wait(pid), *pipes.read())

    def while_running(self, function: Callable[[int], ResultT], *args: str) -> ResultT:
        """Call a function in a monitor with the init's pid while the container sleeps."""

        def act() -> ResultT:
            pid = self.create(*(args or ("/bin/sleep", "1000")))
            self.driver.start(self.id)
            try:
                return function(pid)
            finally:
                self.driver.delete(self.id, force=True)
                wait(pid)

        return self.monitored(act)

    def fails(self, kind: type[SwapboxError], *args: str, **fields: Any) -> Failure:
        """Expect the creation to fail and to leave nothing, and return the error."""

        error = self.monitored(lambda: failure_of(lambda: self.create(*args, **fields)))
        assert issubclass(error.kind, kind), error
        assert list(self.context.run_root.glob("*")) == []
        return error

    def mount(self, destination: str, source: Path | str, *options: str, type: str = "bind") -> None:
        """Add a mount to the spec."""
        self.spec["mounts"].append(
            {"destination": destination, "source": str(source), "type": type, "options": list(options)}
        )

    def namespace(self, kind: str, path: str | None = None) -> None:
        """Replace a namespace of the spec by an existing one, or by the caller's own."""
        namespaces = [item for item in self.spec["linux"]["namespaces"] if item["type"] != kind]
        self.spec["linux"]["namespaces"] = namespaces + ([{"type": kind, "path": path}] if path else [])


class Pipes:
    """Descriptors for a command's stdio; what it says is kept in memory files, so it never has to wait."""

    def __enter__(self) -> Pipes:
        self._fds = [os.open("/dev/null", os.O_RDONLY), os.memfd_create("out"), os.memfd_create("err")]
        self.stdio = Stdio(*self._fds)
        return self

    def read(self) -> tuple[str, str]:
        """Return what came on stdout and stderr."""
        out, err = (os.pread(fd, 1 << 20, 0).decode(errors="replace") for fd in self._fds[1:])
        return out, err

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)


def wait(pid: int) -> int:
    """Wait for a child and return its exit code, minus the signal if one killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def leftovers(folder: Path) -> tuple[list[str], int, int]:
    """Return what a driver might forget: descriptors, mounts that name a folder, children of this process."""
    fds = sorted(os.listdir("/proc/self/fd"))
    # Only the folder's: whatever else is mounted on the host meanwhile arrives here, too.
    mounts = Path("/proc/self/mountinfo").read_text().count(os.fspath(folder))
    children = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    return fds, mounts, children


def make_rootfs(root: Path) -> None:
    """Make a tiny image: busybox under the names that tests use."""
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in APPLETS.split():
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")


def make_spec() -> dict[str, Any]:
    """Return a small ``config.json`` with everything a container usually has but cgroups and seccomp."""
    return {
        "ociVersion": "1.1.0",
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "box",
        "process": {
            "args": ["/bin/true"],
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "network", "cgroup")],
            "maskedPaths": ["/proc/keys", "/proc/acpi", "/sys/firmware", "/proc/not-there"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"],
        },
    }


def missing() -> str | None:
    """Return what is missing here to make a box, or None."""
    if os.geteuid() != 0:
        return "root"
    return None if Path(BUSYBOX).exists() else f"{BUSYBOX} of the package busybox-static"
