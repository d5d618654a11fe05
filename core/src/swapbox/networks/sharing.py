"""``--network container:X``: one container's network for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.containers.files import RuntimeFiles, runtime_files
from swapbox.errors import Conflict

if TYPE_CHECKING:
    from swapbox.containers.config import ContainerConfig
    from swapbox.drivers.isolation import Spec
    from swapbox.engine import Engine
    from swapbox.linux.process import Process


def shared(engine: Engine, config: ContainerConfig) -> tuple[str, RuntimeFiles, ContainerConfig]:
    """Return the network namespace to join, the files that go with it, and the configuration with its host name.

    :raises NotFound: the other container is gone.
    :raises Conflict: it does not run.
    """
    other = engine.containers.find(config.shared_network)
    init = other.state.init
    if init is None or not other.state.running:
        raise Conflict(f"cannot join network of a non running container: {other.id}")
    owner = other
    while owner.config.shared_network:  # it has joined that of another
        owner = engine.containers.find(owner.config.shared_network)
    hostname = owner.config.hostname or owner.short_id
    files = runtime_files(engine.paths.container(owner.id))
    return _path(init), files, config._replace(hostname=hostname)


def check_joined(engine: Engine, config: ContainerConfig, spec: Spec) -> None:
    """Make sure that a container which was just made joined what :func:`shared` meant: who had the pid has it yet.

    :raises Conflict: the other container has ended meanwhile, and perhaps another process had its pid.
    """
    other = engine.records.find(config.shared_network)
    init = other.state.init
    joined = [namespace.get("path") for namespace in spec["linux"]["namespaces"]]
    if init is None or _path(init) not in joined or not init.alive():
        raise Conflict(f"cannot join network of a non running container: {other.id}")


def _path(init: Process) -> str:
    return f"/proc/{init.pid}/ns/net"
