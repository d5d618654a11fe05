"""The rules of ``update``: which changes of limits fit a container that has some already."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swapbox.containers.config import ContainerConfig
from swapbox.containers.flags import with_resources
from swapbox.containers.freeze import cgroup_of
from swapbox.containers.limits import check_limits, resources
from swapbox.errors import Conflict, NotFound

if TYPE_CHECKING:
    from swapbox.containers.records import Container
    from swapbox.engine import Engine


def updated(container: Container, given: Mapping[str, Any]) -> ContainerConfig:
    """Return a container's configuration with the options of ``update`` put in.

    :raises InvalidInput: with Docker's words.
    :raises Conflict: it does not fit what the container has.
    """
    try:
        return _updated(container.config, given)
    except Conflict as error:  # what Docker finds when it compares with what the container has
        raise Conflict(f"Cannot update container {container.id}: {error.message}") from None


def _updated(config: ContainerConfig, given: Mapping[str, Any]) -> ContainerConfig:
    new = with_resources(config, given)
    if config.auto_remove and new.restart not in {"", "no"}:
        raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
    if config.nano_cpus and (given["cpu_period"] or given["cpu_quota"]):
        what = "Period" if given["cpu_period"] else "Quota"
        raise Conflict(f"Conflicting options: CPU {what} cannot be updated as NanoCPUs has already been set")
    if given["cpus"] and (config.cpu_quota or config.cpu_period):
        what = "Quota" if config.cpu_quota else "Period"
        raise Conflict(f"Conflicting options: Nano CPUs cannot be updated as CPU {what} has already been set")
    swap = config.memory_swap or 2 * config.memory
    if given["memory"] and not given["memory_swap"] and 0 < swap < new.memory:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, "
            "update the memoryswap at the same time"
        )
    check_limits(new)
    return new._replace(memory_swap=new.memory_swap or swap if given["memory"] else new.memory_swap)


def apply_limits(engine: Engine, container: Container, config: ContainerConfig) -> None:
    """Give the limits of a new configuration to a container that runs."""
    with contextlib.suppress(NotFound):  # it has just ended: they are for the next start
        with cgroup_of(engine, container) as cgroup:
            cgroup.update(resources(config))
