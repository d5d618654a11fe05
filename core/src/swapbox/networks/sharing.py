"""``--network container:X``: one container's network for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.containers.files import RuntimeFiles, runtime_files
from swapbox.errors import Conflict

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig
    from swapbox.engine import Engine


def shared(engine: Engine, config: ContainerConfig) -> tuple[str, RuntimeFiles, ContainerConfig]:
    """Return the network namespace to join, the files that go with it, and the configuration with its host name.

    :raises NotFound: the other container is gone.
    :raises Conflict: it does not run.
    """
    other = engine.containers.find(config.shared_network)
    init = other.state.init
    if init is None or not other.state.running:
        raise Conflict(f"cannot join network of a non running container: {other.id}")
    hostname = other.config.hostname or other.short_id
    files = runtime_files(engine.paths.container(other.id))
    return f"/proc/{init.pid}/ns/net", files, config._replace(hostname=hostname)
