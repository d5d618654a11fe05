"""Docker's filters for networks, of ``network ls`` and ``network prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.errors import InvalidInput
from swapbox.matching import Filters, check_names, labels_match, matches, truth
from swapbox.networks.records import Network

if TYPE_CHECKING:
    from swapbox.engine import Engine

_LIST_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
_PRUNE_FILTERS = ("label", "label!", "until")


def driver_name(network: Network) -> str:
    """Return the driver as Docker calls it: ``none`` is its ``null``."""
    return "null" if network.driver == "none" else network.driver


def query(engine: Engine, filters: Filters) -> list[Network]:
    """Return the networks that pass all filters, by name.

    :raises InvalidInput: there is no such filter, or a value is wrong.
    """
    check_names(filters, _LIST_FILTERS)
    service = engine.networks
    types = filters.get("type", ())
    if wrong := [one for one in types if one not in ("builtin", "custom")]:
        raise InvalidInput(f"invalid filter: 'type'='{wrong[0]}'")
    networks = service.all()
    if "dangling" in filters:
        unused = truth(filters, "dangling", default=False)
        networks = [one for one in networks if _is_dangling(engine, one) == unused]
    return [
        one
        for one in networks
        if matches(filters.get("name", ()), one.name)
        and driver_name(one) in filters.get("driver", (driver_name(one),))
        and any(one.id.startswith(prefix) for prefix in filters.get("id", ("",)))
        and labels_match(filters.get("label", ()), one.labels)
        and "local" in filters.get("scope", ("local",))
        and ("builtin" if service.is_predefined(one.name) else "custom") in (types or ("builtin", "custom"))
    ]


def _is_dangling(engine: Engine, network: Network) -> bool:
    from swapbox.networks.endpoints import connected

    return not engine.networks.is_predefined(network.name) and not connected(engine, network)


def prune(engine: Engine, filters: Filters, *, until: int | None = None) -> list[str]:
    """Remove the networks to which no running container is connected; return their names.

    :param until: only those made before this moment, nanoseconds since the epoch.
    :raises InvalidInput: there is no such filter.
    """
    from swapbox.errors import Conflict, NotFound, SwapboxError

    check_names(filters, _PRUNE_FILTERS)
    service, removed = engine.networks, list[str]()
    unwanted = filters.get("label!", ())
    for network in service.all():
        if service.is_predefined(network.name) or (until is not None and network.created > until):
            continue
        if not labels_match(filters.get("label", ()), network.labels):
            continue
        if any(labels_match([text], network.labels) for text in unwanted):
            continue
        try:
            service.remove(network.id)
        except (Conflict, NotFound):  # in use, or gone
            continue
        except SwapboxError as error:
            engine.warn(f"failed to prune network {network.name}: {error.message}")
            continue
        removed.append(network.name)
    engine.emit("network", "prune", "", {"reclaimed": "0"})
    return removed
