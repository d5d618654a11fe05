"""The options of Docker's local volume driver, ``type``, ``device`` and ``o``, and the mount they mean."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping

from swapbox.drivers.storage import Mount
from swapbox.errors import InvalidInput, Unavailable, Unsupported

_KNOWN = ("type", "o", "device", "size")
_NEEDS: Mapping[str, tuple[str, ...]] = {"type": ("device",), "device": ("type",), "o": ("device", "type")}
_NETWORK = frozenset({"nfs", "nfs3", "nfs4", "cifs"})


def check(options: Mapping[str, str]) -> None:
    """Refuse options that can never be mounted.

    :raises InvalidInput: one is not known, lacks another, or has a byte that mount(2) cannot be given.
    :raises Unsupported: ``size``, for which Docker uses the quotas of xfs.
    """
    for name, value in options.items():
        if name not in _KNOWN:
            raise InvalidInput(f'invalid option: "{name}"')
        if "\0" in value:
            raise InvalidInput(f"invalid value of option {name!r}: {value!r}")
    for name, needed in _NEEDS.items():
        for other in needed if name in options else ():
            if not options.get(other):
                raise InvalidInput(f'missing required option: "{other}"')
    if "size" in options:
        raise Unsupported("quota size requested but no quota support", hint="for a tmpfs: -o o=size=64m")


def mount_of(options: Mapping[str, str]) -> Mount:
    """Return the mount that checked options mean.

    :raises Unavailable: the name of a file server cannot be resolved.
    """
    kind, device = options["type"], options["device"]
    given = tuple(filter(None, options.get("o", "").split(",")))
    if kind in _NETWORK:  # the kernel wants an address where mount(8) takes a name
        given = tuple(_resolved(given))
    if kind == "none":
        kind = "bind"
    return Mount(kind, device, given)


def _resolved(options: tuple[str, ...]) -> Iterator[str]:
    for option in options:
        name, _, host = option.partition("=")
        yield f"addr={_address(host)}" if name == "addr" else option


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise Unavailable(f"error resolving passed in network volume address: lookup {host}: {error}") from error
