"""Cgroup controllers: limits, accounting and control of a group of processes.

Resources are the OCI runtime specification's ``linux.resources`` object, unchanged: ``memory.limit`` in bytes,
``cpu.quota`` and ``cpu.period`` in microseconds, ``pids.limit``, ``devices`` rules, ``unified``. A controller
applies what its hierarchy can do. A limit that the host cannot set raises ``Unsupported`` and names the missing
controller: the core decides whether that is a warning (a default) or an error (the user asked for it).

Paths are relative to the hierarchy's mount point, or to the subtree delegated to the user (``swapbox/<container
id>``). A controller touches nothing outside the paths it was given, and creates missing parents.

Optional powers, named in ``CgroupControllerSpec.capabilities``:

``track``
    The kernel keeps a group's processes together. Without it there are no groups: ``open`` always succeeds,
    ``processes`` and ``walk`` are empty, ``kill`` does nothing, and ``freeze`` raises ``Unsupported``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from swapbox.drivers.common import DriverSpec

Resources = Mapping[str, Any]
"""The OCI runtime specification's ``linux.resources`` object."""


class CgroupStats(NamedTuple):
    """Usage now: bytes, nanoseconds and counts; None where the hierarchy does not say or there is no limit.

    :param memory_cache: pages of files that the kernel would drop first; ``docker stats`` does not count them.
    """

    memory: int | None = None
    memory_limit: int | None = None
    memory_cache: int | None = None
    cpu_ns: int | None = None
    cpu_throttled_ns: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    io_read: int | None = None
    io_write: int | None = None


class CgroupHandle(Protocol):
    """One group. Methods raise ``NotFound`` when the group is gone, but for ``delete``."""

    @property
    def path(self) -> str:
        """The path given to ``create``."""
        ...

    @property
    def cgroups_path(self) -> str | None:
        """What OCI's ``linux.cgroupsPath`` says for this group: absolute, from the hierarchies' mount points.

        For isolation drivers whose runtime joins by path and not by :meth:`join`; None when there is no group.
        """
        ...

    @property
    def clone_into(self) -> int | None:
        """A descriptor for clone3(2) with ``CLONE_INTO_CGROUP``, which makes a process inside; None if impossible.

        With cgroup v2 this spares a wait for the kernel's global migration lock, 15 ms on a quiet host.
        """
        ...

    def join(self) -> None:
        """Move the *calling* process in. Safe in a forked child, also in a new pid or user namespace.

        The files are opened when the handle is made, so the child needs neither the path nor the privilege; and
        a process that moves itself does not wait for the kernel's global migration lock.
        """
        ...

    def add(self, pid: int) -> None:
        """Move a process in."""
        ...

    def update(self, resources: Resources) -> None:
        """Change limits; what the object leaves out stays as it is.

        :raises Unsupported: names the controller that the host lacks.
        """
        ...

    def stats(self) -> CgroupStats:
        """Return usage now."""
        ...

    def processes(self) -> list[int]:
        """Return the pids inside, those of descendant groups included."""
        ...

    def freeze(self) -> None:
        """Stop every process inside and wait until they have stopped."""
        ...

    def thaw(self) -> None:
        """Let them go on."""
        ...

    def kill(self) -> None:
        """Send SIGKILL to every process inside, those that fork meanwhile too."""
        ...

    def oom_events(self) -> int:
        """Return how often the kernel killed a process here for want of memory; 0 when it does not say."""
        ...

    def delete(self) -> None:
        """Remove the group and its descendants; one that is gone already is fine.

        :raises Conflict: a process is still inside.
        """
        ...

    def close(self) -> None:
        """Close the descriptors held for :meth:`join`; calling it twice is fine."""
        ...


class CgroupController(Protocol):
    """Makes and finds groups."""

    def create(self, path: str, resources: Resources) -> CgroupHandle:
        """Make a group with limits; on error nothing is left behind.

        :raises AlreadyExists: the group is there and has processes.
        :raises Unsupported: names the controller that the host lacks.
        """
        ...

    def open(self, path: str) -> CgroupHandle:
        """Return the handle of an existing group.

        :raises NotFound: it is not there.
        """
        ...

    def walk(self, path: str) -> list[str]:
        """Return the paths of the groups directly below ``path`` (empty when it is not there)."""
        ...

    def missing(self, resources: Resources) -> dict[str, str]:
        """Return which parts of ``resources`` cannot be set here: dotted key (``memory.limit``) to reason."""
        ...

    def close(self) -> None:
        """Release what the controller holds open; calling it twice is fine."""
        ...


class CgroupControllerSpec(DriverSpec[CgroupController]):
    """Offer a cgroup controller; see :class:`swapbox.drivers.common.DriverSpec`."""

    kind = "cgroup"
    __slots__ = ()
