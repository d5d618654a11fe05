"""What the monitor of one more command is told of the container, and where it listens."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from swapbox.linux.process import Process

if TYPE_CHECKING:
    from swapbox.containers.records import Container


class Place(NamedTuple):
    """The container that a command runs in, as far as its monitor knows it.

    :param isolation: and ``cgroup``: the drivers the container was made with.
    :param attributes: of each event that is told of it.
    """

    id: str
    isolation: str
    cgroup: str
    init: Process | None
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, container: "Container") -> "Place":
        """Return the place that a container is."""
        from swapbox.containers.events import attributes

        config = container.config
        return cls(container.id, config.isolation, config.cgroup, container.state.init, attributes(container))

    def plain(self) -> tuple[Any, ...]:
        """Return it as values that marshal knows."""
        return tuple(self._replace(init=self.init and tuple(self.init), attributes=dict(self.attributes)))  # type: ignore[arg-type]

    @classmethod
    def from_plain(cls, plain: tuple[Any, ...]) -> "Place":
        """Undo :meth:`plain`."""
        place = cls(*plain)
        return place._replace(init=Process(*place.init) if place.init else None)


def socket_name(exec_id: str) -> str:
    """Return where the monitor of an exec session listens, in the container's run directory."""
    return f"exec-{exec_id}.sock"
