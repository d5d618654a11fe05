"""Isolation: the OCI runtime operations over a bundle.

The contract is the OCI runtime specification's ``config.json``: whatever runs such a bundle can be a driver. The
life of a container is ``create`` (everything is set up, the command is not run yet), ``start`` (the command
runs), ``kill``, ``delete``. Between ``create`` and ``start`` the caller connects networks.

The calling process is the container's *monitor*: a child subreaper, so the container's init is or becomes its
child and the caller waits for it. A driver keeps what it must remember under ``context.run_root``, one directory
per container, so that another process with its own driver object can ``state``, ``kill``, ``exec`` and
``delete``.

The root file system is mounted at ``root.path`` already, in the monitor's own mount namespace, which the
container's is made from: nothing is ever mounted in the host's namespace, and all of it is gone with the
processes.

Optional powers, named in ``IsolationDriverSpec.capabilities``:

``warm``
    The driver also keeps :class:`Warmable`: the monitor has time to spare before it knows what to create.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from swapbox.drivers.cgroup import CgroupHandle
from swapbox.drivers.common import DriverSpec

Spec = dict[str, Any]
"""The parsed ``config.json``: JSON of the OCI runtime specification 1.1."""

Status = Literal["creating", "created", "running", "paused", "stopped"]


class Stdio(NamedTuple):
    """File descriptors that become the command's 0, 1 and 2; the caller keeps and closes its own copies."""

    stdin: int
    stdout: int
    stderr: int


class CreateRequest(NamedTuple):
    """One container to create.

    :param id: unique under the driver's run root.
    :param bundle: directory that holds ``config.json``; ``root.path`` in it is relative to it.
    :param spec: the content of ``config.json``, already parsed.
    :param stdio: descriptors for the command; None when ``process.terminal`` is true.
    :param console: with ``process.terminal``: descriptor of a connected unix socket; the driver sends the pty
        master over it (SCM_RIGHTS), as runc does with ``--console-socket``.
    :param cgroup: the cgroup the container must be in before it can run anything; None for none.
    """

    id: str
    bundle: Path
    spec: Spec
    stdio: Stdio | None = None
    console: int | None = None
    cgroup: CgroupHandle | None = None


class ExecRequest(NamedTuple):
    """One more process in a running container; ``process`` is the OCI ``process`` object."""

    id: str
    process: Mapping[str, Any]
    stdio: Stdio | None = None
    console: int | None = None
    cgroup: CgroupHandle | None = None


class ContainerState(NamedTuple):
    """OCI state; ``pid`` is 0 when stopped."""

    id: str
    status: Status
    pid: int
    bundle: Path


class IsolationDriver(Protocol):
    """Runs bundles. Every method but ``create`` and ``features`` raises ``NotFound`` for an unknown id."""

    def create(self, request: CreateRequest) -> int:
        """Set the container up to the point where only the command is missing; return the init's pid.

        :raises AlreadyExists: the id is taken.
        :raises CommandNotExecutable: the command is not there (127) or cannot be executed (126).
        :raises Unsupported: the spec asks for something this driver or host cannot do.
        """
        ...

    def start(self, id: str) -> None:
        """Run the command of a created container.

        :raises Conflict: it is not in the state ``created``.
        """
        ...

    def state(self, id: str) -> ContainerState:
        """Return the OCI state, from the kernel and not from memory."""
        ...

    def kill(self, id: str, signal: int) -> None:
        """Send a signal to the container's init.

        :raises Conflict: it is not running.
        """
        ...

    def delete(self, id: str, *, force: bool = False) -> None:
        """Forget a stopped container and free what the driver holds for it; ``force`` kills it first.

        With ``force`` also what a creator that was killed has left, whatever state it is in; a creation that is
        still at work then fails. The container's group may be gone afterwards (see ``CgroupHandle.cgroups_path``).

        :raises Conflict: it is created or running, and ``force`` is false.
        """
        ...

    def exec(self, request: ExecRequest) -> int:
        """Run one more process in a running container; return its pid, a child of the caller's.

        The caller need not be the monitor. Raises as :meth:`create`.

        :raises Conflict: the container is not running: not started yet, or stopped.
        """
        ...

    def features(self) -> Mapping[str, Any]:
        """Return the OCI features document: namespaces, capabilities, mount options, seccomp known here."""
        ...

    def close(self) -> None:
        """Release what the driver holds open; calling it twice is fine."""
        ...


class Warmable(Protocol):
    """Capability ``warm``."""

    def warm_up(self) -> None:
        """Import and prepare what ``create`` needs and the other operations do not; leave nothing behind."""
        ...


class IsolationDriverSpec(DriverSpec[IsolationDriver]):
    """Offer an isolation driver; see :class:`swapbox.drivers.common.DriverSpec`."""

    kind = "isolation"
    __slots__ = ()
