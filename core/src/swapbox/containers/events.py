"""What is told of a container when something happens to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine


def happened(engine: Engine, container: Container, action: str, **given: str) -> None:
    """Emit an event of a container; docs/events.md lists actions and their attributes.

    As in Docker its labels, image and name are attributes too, in this order of precedence.
    """
    engine.emit("container", action, container.id, {**given, **attributes(container)})


def attributes(container: Container) -> dict[str, str]:
    """Return the attributes that all events of a container have."""
    config = container.config
    return {**config.labels, "image": config.image, "name": container.name}


def network_event(engine: Engine, container: Container, action: str) -> None:
    """Emit that a container is connected to its network, or disconnected; ``none`` is of the type ``null``."""
    config = container.config
    name = config.network or config.network_driver
    kind = "null" if config.network_driver == "none" else config.network_driver
    engine.emit("network", action, name, {"container": container.id, "name": name, "type": kind})
