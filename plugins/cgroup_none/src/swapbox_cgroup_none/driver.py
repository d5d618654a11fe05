"""The controller ``none``: every limit is missing, every group is empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swapbox.drivers.cgroup import CgroupHandle, CgroupStats, Resources
from swapbox.errors import Unsupported

_REASON = "the cgroup driver none sets no limits"


class Controller:
    """Makes nothing."""

    def create(self, path: str, resources: Resources) -> CgroupHandle:
        """Return a handle that stands for no group."""
        _refuse(resources)
        return Handle(path)

    def open(self, path: str) -> CgroupHandle:
        """Return the same: nobody knows whether it was created."""
        return Handle(path)

    def walk(self, path: str) -> list[str]:
        """Return nothing."""
        return []

    def missing(self, resources: Resources) -> dict[str, str]:
        """Return every limit in the object."""
        return dict.fromkeys(_keys(resources), _REASON)

    def close(self) -> None:
        """Nothing is held open."""


class Handle:
    """Stands for no group."""

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def path(self) -> str:
        """The path given to ``create``."""
        return self._path

    @property
    def cgroups_path(self) -> None:
        """Nothing: there is no group."""
        return

    @property
    def clone_into(self) -> None:
        """Nothing."""
        return

    def join(self) -> None:
        """Stay where the process is."""

    def add(self, pid: int) -> None:
        """Leave the process where it is."""

    def update(self, resources: Resources) -> None:
        """Refuse every limit."""
        _refuse(resources)

    def stats(self) -> CgroupStats:
        """Know nothing."""
        return CgroupStats()

    def processes(self) -> list[int]:
        """Know nobody."""
        return []

    def freeze(self) -> None:
        """Refuse, rather than leave processes running that were to stop."""
        raise Unsupported(
            "the cgroup driver none has no groups",
            hint="make the container with another --cgroup; swapbox info --why tells which work here",
        )

    def thaw(self) -> None:
        """Do nothing: nothing can be frozen."""

    def kill(self) -> None:
        """Do nothing: nobody is inside."""

    def oom_events(self) -> int:
        """Know nothing."""
        return 0

    def delete(self) -> None:
        """Do nothing: nothing was made."""

    def close(self) -> None:
        """Nothing is held open."""


def _keys(resources: Mapping[str, Any]) -> Iterator[str]:
    """Yield the dotted names of what the object sets."""
    for part, value in resources.items():
        if isinstance(value, Mapping) and part not in ("unified", "rdma"):
            yield from (f"{part}.{name}" for name, limit in value.items() if limit not in (None, "", []))
        elif value:
            yield part


def _refuse(resources: Resources) -> None:
    for key in _keys(resources):
        raise Unsupported(f"cannot set {key}: {_REASON}", hint="choose another --cgroup")
