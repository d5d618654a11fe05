"""What a new network gets that nobody asked for, and whether what was asked for can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swapbox.drivers.network import Subnet
from swapbox.errors import Conflict, InvalidInput, NotFound
from swapbox.networks.addresses import Range, first_free, numbers, parse, text
from swapbox.networks.pools import DEFAULT_POOLS, Pool, choose, host_routes, unique_local
from swapbox.networks.records import Network

if TYPE_CHECKING:
    from swapbox.engine import Engine


def check_name(name: str) -> None:
    """Check the name of a network.

    :raises InvalidInput: with Docker's words.
    """
    bare = name.translate({ord(character): None for character in "_.-"})
    if not (name.isascii() and name[:1].isalnum() and bare.isalnum() and len(name) <= 255):
        raise InvalidInput(
            f'invalid network name "{name}": only "[a-zA-Z0-9][a-zA-Z0-9_.-]*" are allowed'
            if name.strip()
            else "invalid name: name is empty"
        )


def making_driver(engine: Engine, name: str) -> str:
    """Return the driver for a new network.

    :raises NotFound: no driver of this name makes networks.
    """
    offers = [one for one in engine.plugins.offers("network") if "networks" in one.spec.capabilities]
    if name:
        if name not in [offer.spec.name for offer in offers]:
            fixed = [offer.spec.name for offer in engine.plugins.offers("network")]
            if ("none" if name == "null" else name) in fixed and name != "none":
                raise Conflict(f'only one instance of "{name}" network is allowed')
            raise NotFound(f'plugin "{name}" not found')
        return engine.selector.choose("network", name=name).name
    if not offers:
        raise NotFound("no network driver that makes networks is installed", hint="install one, such as bridge")
    best = max(offers, key=lambda offer: (offer.spec.priority, offer.spec.name))
    return engine.selector.choose("network", name=best.spec.name).name


def with_subnets(engine: Engine, asked: Network, *, ipv4: bool = True) -> Network:
    """Return a network with a subnet of each family it needs, each with a gateway.

    A network whose driver chooses addresses itself has none.

    :param ipv4: it needs one of IPv4.
    :raises InvalidInput: a subnet, range or gateway is wrong.
    :raises Conflict: a subnet overlaps with another network's.
    :raises Unavailable: no subnet is free.
    """
    if engine.networks.can(asked.driver, "addresses"):
        if asked.subnets or asked.ipv6:
            why = f"network driver {asked.driver} chooses addresses itself"
            raise InvalidInput(f"network {asked.name} cannot have a subnet, gateway or IPv6 from here: {why}")
        return asked
    others = [Range.parse(subnet.subnet) for other in engine.networks.records.all() for subnet in other.subnets]
    subnets = [_checked(subnet) for subnet in asked.subnets]
    for subnet in subnets:
        own = Range.parse(subnet.subnet)
        if any(own.overlaps(other) for other in others):
            raise Conflict("invalid pool request: Pool overlaps with other one on this address space")
        others.append(own)
    families = {Range.parse(subnet.subnet).bits for subnet in subnets}
    pools = [Pool(*pool) for pool in engine.config.pools] or DEFAULT_POOLS
    taken = [*others, *host_routes()]
    if ipv4 and 32 not in families:
        subnets.insert(0, Subnet(choose(pools, taken).text()))
    if asked.ipv6 and 128 not in families:
        wide = [pool for pool in pools if ":" in pool.base] or [unique_local()]
        subnets.append(Subnet(choose(wide, taken, bits=128).text()))
    ipv6 = asked.ipv6 or 128 in families
    return asked._replace(subnets=tuple(map(_with_gateway, subnets)), ipv6=ipv6)


def _checked(subnet: Subnet) -> Subnet:
    try:
        whole = Range.parse(subnet.subnet)
    except InvalidInput:
        raise _invalid(f"invalid subnet {subnet.subnet}: invalid CIDR block notation") from None
    if parse(subnet.subnet.partition("/")[0])[0] != whole.first:
        raise _invalid(f"invalid subnet {subnet.subnet}: it should be {whole.text()}")
    if whole.bits - whole.prefix < 2:
        raise InvalidInput(f"invalid subnet {subnet.subnet}: it is too small for a gateway and a container")
    if subnet.ip_range:
        part = Range.parse(subnet.ip_range)
        if part.prefix < whole.prefix:
            raise _invalid(
                f"invalid ip-range {subnet.ip_range}: CIDR block is bigger than its parent subnet {subnet.subnet}"
            )
        if part.first not in whole:
            raise _invalid(
                f"invalid ip-range {subnet.ip_range}: parent subnet {subnet.subnet} doesn't contain ip-range"
            )
    auxiliary = ((f"invalid auxiliary address {name}", address) for name, address in subnet.auxiliary.items())
    for kind, address in (("invalid gateway", subnet.gateway), *auxiliary):
        if address and parse(address)[0] not in whole:
            raise _invalid(f"{kind} {address}: parent subnet {subnet.subnet} doesn't contain this address")
    if subnet.gateway and subnet.gateway in subnet.auxiliary.values():
        raise Conflict("failed to allocate secondary ip address: Address already in use")
    return subnet


def _invalid(reason: str) -> InvalidInput:
    return InvalidInput(f"invalid network config:\n{reason}")


def _with_gateway(subnet: Subnet) -> Subnet:
    whole = Range.parse(subnet.subnet)
    if subnet.gateway:
        return subnet
    free = first_free(whole, whole, numbers(subnet.auxiliary.values()))
    if free is None:
        raise InvalidInput(f"invalid subnet {subnet.subnet}: no address is left for a gateway")
    return subnet._replace(gateway=text(free, whole.bits))
