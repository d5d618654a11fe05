"""The options of a bridge network, under Docker's names, and the names of what is made for it on the host."""

from __future__ import annotations

import _socket
from typing import NamedTuple

from swapbox.drivers.network import Endpoint, Network
from swapbox.errors import InvalidInput

_PREFIX = "com.docker.network."
_NAME = f"{_PREFIX}bridge.name"
_ICC = f"{_PREFIX}bridge.enable_icc"
_MASQUERADE = f"{_PREFIX}bridge.enable_ip_masquerade"
_HOST_ADDRESS = f"{_PREFIX}bridge.host_binding_ipv4"
_MTU = f"{_PREFIX}driver.mtu"
_INTERFACES = f"{_PREFIX}container_iface_prefix"
_KNOWN = (_NAME, _ICC, _MASQUERADE, _HOST_ADDRESS, _MTU, _INTERFACES)
_NAME_BYTES = 15
"""What the kernel's IFNAMSIZ leaves."""
_RESERVED = ("all", "default")
"""What every link has below ``/proc/sys/net/*/conf``."""
MARK = "swapbox "
"""How the alias of a bridge of ours begins; the network's id follows, and then whose network it is."""
PORT_PREFIX = "vethsb"
"""How the links that are ours begin: no hexadecimal digits, so Docker's names never do."""


class Settings(NamedTuple):
    """What a network's options say.

    :param bridge: the name of its bridge.
    :param icc: its containers may talk to each other.
    :param masquerade: what leaves it has the host's address.
    """

    bridge: str
    icc: bool
    masquerade: bool
    mtu: int


def settings(network: Network) -> Settings:
    """Read the options.

    :raises InvalidInput: one is wrong.
    """
    options = network.options
    for name in options:
        if name.startswith(_PREFIX) and name not in _KNOWN:  # other words may be for whoever reads them
            raise InvalidInput(
                f"unknown option {name!r} for bridge network driver", hint=f"it has {', '.join(_KNOWN)}"
            )
    bridge = options.get(_NAME) or own_name(network)
    # It becomes part of rules and of paths below /proc/sys: nothing that means something there.
    plain = bridge.translate({ord(character): None for character in "_.-"})
    good = bridge.isascii() and bridge[0].isalnum() and plain.isalnum() and bridge not in _RESERVED
    if len(bridge) > _NAME_BYTES or not good:
        raise InvalidInput(
            f"invalid name of a bridge: {bridge!r}", hint=f"at most {_NAME_BYTES} letters and digits"
        )
    prefix = options.get(_INTERFACES, "eth")
    if not (prefix.isascii() and prefix[:1].isalpha() and prefix.isalnum() and len(prefix) <= _NAME_BYTES - 5):
        raise InvalidInput(f"invalid value of {_INTERFACES}: {prefix!r}")
    address = options.get(_HOST_ADDRESS, "0.0.0.0")
    try:
        _socket.inet_pton(_socket.AF_INET, address)
    except (OSError, ValueError):
        raise _failed(_HOST_ADDRESS, address, "nil ip") from None
    mtu = options.get(_MTU, "") or "1500"
    if not (mtu.isascii() and mtu.isdigit()):
        raise _failed(_MTU, mtu, f'strconv.Atoi: parsing "{mtu}": invalid syntax')
    if not 68 <= int(mtu) <= 65535:
        raise InvalidInput(f"invalid value of {_MTU}: {mtu!r}")
    return Settings(bridge, _truth(network, _ICC), _truth(network, _MASQUERADE), int(mtu))


def host_address(network: Network) -> str:
    """Return where ports are published that name no address; empty for everywhere."""
    return network.options.get(_HOST_ADDRESS, "")


def _truth(network: Network, name: str) -> bool:
    value = network.options.get(name, "true").lower()
    if value not in ("1", "t", "true", "0", "f", "false"):
        raise _failed(name, value, f'strconv.ParseBool: parsing "{value}": invalid syntax')
    return value[0] in "1t"


def _failed(name: str, value: str, reason: str) -> InvalidInput:
    """Return Docker's words for a value that is none."""
    return InvalidInput(f"failed to parse {name} value: {value} ({reason})")


def port_name(endpoint: Endpoint) -> str:
    """Return the name of the host's end of an endpoint's pair of links."""
    return f"{PORT_PREFIX}{endpoint.id[:9]}"


def own_name(network: Network) -> str:
    """Return the name of the network's bridge when nobody asks for another."""
    return f"br-{network.id[:12]}"


def mark(network: Network, owner: str) -> str:
    """Return what the alias of the network's bridge says.

    :param owner: what tells the networks of one root directory from those of others; one word.
    """
    return f"{MARK}{network.id} {owner}".rstrip()


def marks(alias: str, network: Network) -> bool:
    """Say whether an alias is that of the network's bridge."""
    return alias.split(" ")[:2] == [MARK.strip(), network.id]


def forward_chain_names(network: Network) -> tuple[str, str]:
    """Return the names of the chains that iptables' ``FORWARD`` jumps to, where it drops what no rule accepts."""
    return f"SB-A-{network.id[:12]}", f"SB-L-{network.id[:12]}"


def named(identity: str, bridge: str) -> Network:
    """Return what is enough of a network to remove it."""
    return Network("", id=identity, options={_NAME: bridge})


def table_name(network: Network) -> str:
    """Return the name of the network's table of rules."""
    return f"swapbox_{network.id[:12]}"


def ports_table_name(endpoint: Endpoint) -> str:
    """Return the name of the table of an endpoint's published ports; it begins with that of the network's."""
    return f"{table_name(endpoint.network)}_{endpoint.id[:12]}"
