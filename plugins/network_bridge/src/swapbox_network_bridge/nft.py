"""Rules by nftables: a table for each network, and one for each endpoint that publishes ports.

A table is the unit that comes and goes in one transaction, and ``nft list tables`` shows whose it is. A base
chain's *accept* ends that chain only, a *drop* ends everything, so these tables narrow what the host's own rules
allow and never widen it; where iptables' ``FORWARD`` drops what no rule accepts, chains of iptables have to (see
:func:`swapbox_network_bridge.iptables.allow_forwarding`). Each network's table speaks of what goes into its own
bridge, so networks are kept apart without any knowing the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

from swapbox.drivers.network import Endpoint, Network, PublishedPort
from swapbox.errors import Unavailable
from swapbox_network_bridge.netfilter import IPV4, IPV6, Netfilter
from swapbox_network_bridge.options import forward_chain_names, ports_table_name, settings, table_name
from swapbox_network_bridge.plain import check_endpoint, check_network
from swapbox_network_bridge.program import find, run

_ANY = ("0.0.0.0", "::")


class Nft:
    """Applies rules.

    :param program: the path of nft(8).
    """

    def __init__(self, program: str) -> None:
        self._program = program

    def has_network(self, network: Network) -> bool:
        """Say whether a network's rules are there, and where iptables needs some, those, too."""
        with contextlib.closing(Netfilter()) as socket:
            if not socket.has_table(table_name(network)):
                return False
            return not any(_misses_jumps(socket, network, family) for family in _families(network))

    def add_network(self, network: Network) -> None:
        """Put a network's rules in place, or anew."""
        self._apply(network_rules(network))
        if not self.has_network(network):
            from swapbox_network_bridge.iptables import allow_forwarding

            allow_forwarding(network)

    def remove_network(self, network: Network) -> None:
        """Remove a network's rules, and those of endpoints in it."""
        for name in self._tables(network):
            _remove(name)
        with contextlib.closing(Netfilter()) as socket:
            names = [(name, family) for name in forward_chain_names(network) for family in (IPV4, IPV6)]
            allowed = any(socket.has_chain(name, family=family) for name, family in names)
        if allowed:
            from swapbox_network_bridge.iptables import forget_forwarding

            forget_forwarding(network)

    def guard_forwarding(self, *, wide: bool) -> None:
        """Drop what this host, which is about to forward packets, would pass between others than bridges.

        A drop in a table of nftables is final, so it must not hit what Docker and others do later: they have
        bridges, too. The table stays when networks go, as forwarding does.
        """
        self._apply(guard_rules(wide=wide))

    def publish(self, endpoint: Endpoint) -> None:
        """Put the rules of an endpoint's published ports in place."""
        self._apply(port_rules(endpoint))

    def withdraw(self, endpoint: Endpoint) -> None:
        """Remove what :meth:`publish` made; that there is nothing is fine."""
        _remove(ports_table_name(endpoint))

    def reconcile(self, network: Network, live: Callable[[], Collection[Endpoint]]) -> int:
        """Remove the rules of endpoints that are not alive; return how many had any."""
        names = self._tables(network)
        kept = {table_name(network), *(ports_table_name(endpoint) for endpoint in live())}
        return sum(_remove(name) for name in names if name not in kept)

    def _tables(self, network: Network) -> list[str]:
        own = table_name(network)
        with contextlib.closing(Netfilter()) as socket:
            return [name for name in socket.tables() if name == own or name.startswith(f"{own}_")]

    def _apply(self, text: str) -> None:
        code, _, errors = run([self._program, "-f", "-"], text)
        if code:
            raise Unavailable(f"cannot set the rules of a network: {errors.strip() or f'nft ended with {code}'}")


def _remove(name: str) -> bool:
    with contextlib.closing(Netfilter()) as socket:
        return socket.remove_table(name)


def _families(network: Network) -> Collection[int]:
    """Return the families of a network that there is an iptables for."""
    programs = {IPV4: "iptables"} | ({IPV6: "ip6tables"} if network.ipv6 else {})
    return [family for family, program in programs.items() if find(program) is not None]


def _misses_jumps(socket: Netfilter, network: Network, family: int) -> bool:
    """Say whether iptables' chain, as Docker and many a firewall set it, drops what is the network's."""
    if not socket.drops("FORWARD", family=family):
        return False
    return not all(socket.jumps("FORWARD", name, family=family) for name in forward_chain_names(network))


def network_rules(network: Network) -> str:
    """Return a transaction that makes a network's table, or makes it anew.

    :raises InvalidInput: something that would become part of it is not what it should be.
    """
    check_network(network)
    name, bridge = table_name(network), f'"{settings(network).bridge}"'
    chains = (
        ("raw", "filter hook prerouting priority raw", _raw(bridge)),
        ("forward", "filter hook forward priority filter", _forward(network, bridge)),
        ("postrouting", "nat hook postrouting priority srcnat", _postrouting(network, bridge)),
    )
    return _table(name, chains)


def _raw(bridge: str) -> Iterator[str]:
    # The host's loopback may reach published ports (route_localnet), but no container the host's loopback.
    yield f"iifname {bridge} ip daddr 127.0.0.0/8 drop"
    # Nor may one speak as if it were the host itself: route_localnet lets such a source pass.
    yield f"iifname {bridge} ip saddr 127.0.0.0/8 drop"


def _forward(network: Network, bridge: str) -> Iterator[str]:
    yield f"oifname {bridge} ct state established,related accept"
    yield f"oifname {bridge} ct status dnat accept"
    yield f"iifname {bridge} oifname {bridge} {'accept' if settings(network).icc else 'drop'}"
    yield f"oifname {bridge} drop"
    if network.internal:
        yield f"iifname {bridge} drop"


def _postrouting(network: Network, bridge: str) -> Iterator[str]:
    for subnet in network.subnets:
        family = _family(subnet.subnet)
        if settings(network).masquerade and not network.internal:
            yield f"{family} saddr {subnet.subnet} oifname != {bridge} masquerade"
        # A container that reaches its neighbour, or itself, by the host's address must get the answer from there.
        yield f"{family} saddr {subnet.subnet} {family} daddr {subnet.subnet} ct status dnat masquerade"
    yield f"ip saddr 127.0.0.0/8 oifname {bridge} masquerade"


def port_rules(endpoint: Endpoint) -> str:
    """Return a transaction that makes the table of an endpoint's published ports.

    :raises InvalidInput: something that would become part of it is not what it should be.
    """
    check_endpoint(endpoint)
    rules = list(_destinations(endpoint))
    chains = (
        ("prerouting", "nat hook prerouting priority dstnat", rules),
        ("output", "nat hook output priority -100", rules),  # from the host itself
    )
    return _table(ports_table_name(endpoint), chains)


def _destinations(endpoint: Endpoint) -> Iterator[str]:
    for port in endpoint.ports:
        family = _family(port.address)
        for address in endpoint.addresses:
            if _family(address) == family:
                yield f"{_match(port, family)} dnat {family} to {_target(address, port)}"


def _match(port: PublishedPort, family: str) -> str:
    where = "fib daddr type local" if port.address in _ANY else f"{family} daddr {port.address}"
    guard = " ip6 daddr != ::1" if family == "ip6" else " meta nfproto ipv4"
    return f"{where}{guard} {port.protocol} dport {port.public}"


def _target(address: str, port: PublishedPort) -> str:
    bare = address.partition("/")[0]
    return f"[{bare}]:{port.private}" if ":" in bare else f"{bare}:{port.private}"


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"


def guard_rules(*, wide: bool) -> str:
    """Return a transaction that makes the table of :meth:`Nft.guard_forwarding`, for one family."""
    family = "ipv6" if wide else "ipv4"
    # A device without a kind, as network cards are, fits neither of the first two.
    rules = [f'meta {way} "bridge" accept' for way in ("iifkind", "oifkind")]
    rules.append(f"meta nfproto {family} drop")
    return _table(f"swapbox_{family}", [("forward", "filter hook forward priority filter", rules)])


def _table(name: str, chains: Collection[tuple[str, str, Collection[str] | Iterator[str]]]) -> str:
    body = ""
    for chain, hook, rules in chains:
        lines = "".join(f"    {rule}\n" for rule in rules)
        body += f"  chain {chain} {{\n    type {hook}; policy accept;\n{lines}  }}\n"
    return f"table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{body}}}\n"
