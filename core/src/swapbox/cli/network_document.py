"""A network as Docker's API describes it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from swapbox.errors import NotFound

if TYPE_CHECKING:
    from swapbox.engine import Engine

_NEVER = "0001-01-01T00:00:00Z"


def network_document(engine: Engine, text: str) -> dict[str, Any]:
    """Return the document of a network, found by name, id or beginning of its id.

    The networks there are, are those that drivers bring along: ``none`` and ``host``.

    :raises NotFound: there is none.
    """
    names = sorted(offer.spec.name for offer in engine.plugins.offers("network"))
    wanted = [name for name in names if text == name] or [name for name in names if _id(name).startswith(text)]
    if len(wanted) != 1 or not text:
        raise NotFound(f"network {text} not found")
    name = wanted[0]
    return {
        "Name": name,
        "Id": _id(name),
        "Created": _NEVER,
        "Scope": "local",
        "Driver": name,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": None},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": _endpoints(engine, name),
        "Options": {},
        "Labels": {},
    }


def _endpoints(engine: Engine, name: str) -> dict[str, dict[str, str]]:
    """Return the running containers of a network; costs one pass over all containers."""
    return {
        container.id: {
            "Name": container.name,
            "EndpointID": hashlib.sha256(f"{name} {container.id}".encode()).hexdigest(),
            "MacAddress": "",
            "IPv4Address": "",
            "IPv6Address": "",
        }
        for container in engine.containers.all()
        if container.state.running and (container.config.network or container.config.network_driver) == name
    }


def _id(name: str) -> str:
    return hashlib.sha256(f"swapbox network {name}".encode()).hexdigest()
