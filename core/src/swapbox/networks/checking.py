"""Whether containers are still connected as their drivers have made it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from swapbox.errors import NotFound, SwapboxError
from swapbox.networks.endpoints import connected, for_driver
from swapbox.networks.live import namespace
from swapbox.networks.records import Network

if TYPE_CHECKING:
    from swapbox.drivers.network import ConnectionChecker
    from swapbox.engine import Engine


def check(engine: Engine, network: Network) -> Iterator[SwapboxError]:
    """Yield what is wrong with connections to a network; nothing, if its driver cannot say."""
    if not engine.networks.can(network.driver, "check"):
        return
    driver = cast("ConnectionChecker", engine.networks.driver(network))
    for row in connected(engine, network):
        try:
            container = engine.records.find(row.container)
            init = container.state.init
        except NotFound:  # it has just been removed
            continue
        if init is None:
            continue
        try:
            with namespace(init) as netns:
                driver.check(netns, for_driver(row))
        except ProcessLookupError:  # it has just ended
            continue
        except SwapboxError as error:
            error.message = f"container {container.name}: {error.message}"
            yield error
