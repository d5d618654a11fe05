"""Rules by iptables, for hosts without nft: chains of our own, and a jump to each from the built-in ones.

``iptables-restore --noflush`` changes one table of the kernel's in one transaction, so a network's rules come in
three of them. The names of chains begin with those of their network: the kernel leaves 28 bytes for a name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from swapbox.drivers.network import Endpoint, Network
from swapbox.errors import Unavailable
from swapbox_network_bridge.options import forward_chain_names, settings
from swapbox_network_bridge.plain import check_endpoint, check_network
from swapbox_network_bridge.program import find, run

_TABLES = ("raw", "filter", "nat")
_ANY = ("0.0.0.0", "::")

Chain = tuple[str, str, Sequence[str], Sequence[str]]
"""A chain: its table, name, rules, and the places that jump to it (``-I FORWARD``)."""


class Iptables:
    """Applies rules.

    :param programs: the paths of iptables(8) and, if there is one, ip6tables(8); ``-save`` and ``-restore`` are
        beside them.
    """

    def __init__(self, programs: Sequence[str]) -> None:
        self._programs = programs

    def has_network(self, network: Network) -> bool:
        """Say whether a network's rules are there, with the jumps to them."""
        for program in self._for(network):
            there = set(_saved(program))
            chains = network_chains(network, wide=program.endswith("ip6tables"))
            if not all(f"{_added(place)} -j {name}" in there for _, name, _, places in chains for place in places):
                return False
        return True

    def add_network(self, network: Network) -> None:
        """Put a network's rules in place, or anew."""
        for program in self._for(network):
            _remove(program, lambda name: _is_networks(name, network))
            _add(program, network_chains(network, wide=program.endswith("ip6tables")))

    def remove_network(self, network: Network) -> None:
        """Remove a network's rules, and those of endpoints in it."""
        for program in self._programs:
            _remove(program, lambda name: _mark(network) in name)

    def guard_forwarding(self, *, wide: bool) -> None:
        """Drop what this host, which is about to forward, would pass and no rule accepts; as Docker does."""
        for program in self._programs[1:2] if wide else self._programs[:1]:
            code, _, errors = run([program, "--wait", "-P", "FORWARD", "DROP"])
            if code:
                raise Unavailable(f"cannot guard what this host forwards: {errors.strip()}")

    def publish(self, endpoint: Endpoint) -> None:
        """Put the rules of an endpoint's published ports in place."""
        for program in self._for(endpoint.network):
            _add(program, [port_chain(endpoint, wide=program.endswith("ip6tables"))])

    def withdraw(self, endpoint: Endpoint) -> None:
        """Remove what :meth:`publish` made; that there is nothing is fine."""
        for program in self._programs:
            _remove(program, lambda name: name == _ports_name(endpoint))

    def reconcile(self, network: Network, live: Callable[[], Collection[Endpoint]]) -> int:
        """Remove the rules of endpoints that are not alive; return how many had any."""
        mark = f"SB-P-{_mark(network)}"
        lost = {name for program in self._programs for name in _own_chains(program, "nat", mark)}
        lost -= {_ports_name(endpoint) for endpoint in live()}
        for program in self._programs if lost else ():
            _remove(program, lost.__contains__)
        return len(lost)

    def _for(self, network: Network) -> Sequence[str]:
        return self._programs if network.ipv6 else self._programs[:1]


def programs() -> list[str]:
    """Return the programs that are installed: of IPv4 and, after it, of IPv6."""
    return [path for name in ("iptables", "ip6tables") if (path := find(name)) is not None]


def allow_forwarding(network: Network) -> None:
    """Let a host that drops what it forwards pass what is a network's.

    Into the bridge before all other rules, as Docker has it: the network's own rules say what that is. Out of it
    behind all others, so that whatever somebody drops is dropped; and not to bridges as Docker names them, which
    may have nothing but that policy to keep strangers out.
    """
    check_network(network)
    bridge, names = settings(network).bridge, forward_chain_names(network)
    into = [f"-o {bridge} -j ACCEPT"]
    out_of = ["-o docker+ -j RETURN", "-o br-+ -j RETURN", f"-i {bridge} -j ACCEPT"]
    for program in programs()[: 2 if network.ipv6 else 1]:
        _remove(program, names.__contains__)
        _add(program, [("filter", names[0], into, ["-I FORWARD"]), ("filter", names[1], out_of, ["-A FORWARD"])])


def forget_forwarding(network: Network) -> None:
    """Undo :func:`allow_forwarding`; that there is nothing is fine."""
    for program in programs():
        _remove(program, forward_chain_names(network).__contains__)


# -- plans --------------------------------------------------------------------------------------------------------


def network_chains(network: Network, *, wide: bool) -> list[Chain]:
    """Return the chains of a network, which say what its table says in :mod:`swapbox_network_bridge.nft`.

    :raises InvalidInput: something that would become part of them is not what it should be.
    """
    check_network(network)
    own, mark = settings(network), _mark(network)
    states = "-m conntrack --ctstate"
    forward = [
        f"-o {own.bridge} {states} RELATED,ESTABLISHED -j ACCEPT",
        f"-o {own.bridge} {states} DNAT -j ACCEPT",
        f"-i {own.bridge} -o {own.bridge} -j {'ACCEPT' if own.icc else 'DROP'}",
        f"-o {own.bridge} -j DROP",
        *[f"-i {own.bridge} -j DROP"] * network.internal,
    ]
    leaving = [] if wide else [f"-s 127.0.0.0/8 -o {own.bridge} -j MASQUERADE"]
    for subnet in (subnet.subnet for subnet in network.subnets if (":" in subnet.subnet) == wide):
        leaving.append(f"-s {subnet} -d {subnet} {states} DNAT -j MASQUERADE")
        if own.masquerade and not network.internal:
            leaving.append(f"-s {subnet} ! -o {own.bridge} -j MASQUERADE")
    chains: list[Chain] = [
        ("filter", f"SB-F-{mark}", forward, ["-I FORWARD"]),
        # Behind all others: an accept of what leaves one network must not let it into another.
        ("filter", f"SB-O-{mark}", [f"-i {own.bridge} ! -o {own.bridge} -j ACCEPT"], ["-A FORWARD"]),
        ("nat", f"SB-N-{mark}", leaving, ["-I POSTROUTING"]),
    ]
    if not wide:
        raw = [f"-i {own.bridge} {side} 127.0.0.0/8 -j DROP" for side in ("-d", "-s")]
        chains.insert(0, ("raw", f"SB-R-{mark}", raw, ["-I PREROUTING"]))
    return chains


def port_chain(endpoint: Endpoint, *, wide: bool) -> Chain:
    """Return the chain of an endpoint's published ports.

    :raises InvalidInput: something that would become part of it is not what it should be.
    """
    check_endpoint(endpoint)
    rules = []
    for port in (port for port in endpoint.ports if (":" in port.address) == wide):
        for address in (one.partition("/")[0] for one in endpoint.addresses if (":" in one) == wide):
            where = "-m addrtype --dst-type LOCAL" if port.address in _ANY else f"-d {port.address}"
            target = f"[{address}]:{port.private}" if wide else f"{address}:{port.private}"
            guard = " ! -d ::1" if wide and port.address in _ANY else ""
            match = f"{where}{guard} -p {port.protocol} --dport {port.public}"
            rules.append(f"{match} -j DNAT --to-destination {target}")
    return "nat", _ports_name(endpoint), rules, ["-I PREROUTING", "-I OUTPUT"]


def _mark(network: Network) -> str:
    return network.id[:12]


def _is_networks(name: str, network: Network) -> bool:
    return name in {f"SB-{kind}-{_mark(network)}" for kind in "RFON"}


def _ports_name(endpoint: Endpoint) -> str:
    return f"SB-P-{_mark(endpoint.network)}-{endpoint.id[:10]}"


# -- the program --------------------------------------------------------------------------------------------------


def _add(program: str, chains: Sequence[Chain]) -> None:
    text = ""
    for table in _TABLES:
        own = [chain for chain in chains if chain[0] == table]
        lines = [f":{name} - [0:0]" for _, name, _, _ in own]
        lines += [f"-A {name} {rule}" for _, name, rules, _ in own for rule in rules]
        lines += [f"{place} -j {name}" for _, name, _, places in own for place in places]
        text += _restoring(table, lines)
    _restore(program, text)


def _remove(program: str, wanted: Callable[[str], bool]) -> None:
    """Remove chains with the jumps that lead to them."""
    text = ""
    for table in _TABLES:
        names = {name for name in _own_chains(program, table, "") if wanted(name)}
        jumps = [line for line in _saved(program, "-t", table) if line.rpartition("-j ")[2] in names]
        lines = [line.replace("-A ", "-D ", 1) for line in jumps if line.startswith("-A ")]
        text += _restoring(table, [*lines, *(f"-F {name}" for name in names), *(f"-X {name}" for name in names)])
    if text:
        _restore(program, text)


def _restoring(table: str, lines: Sequence[str]) -> str:
    body = "".join(f"{line}\n" for line in lines)
    return f"*{table}\n{body}COMMIT\n" if lines else ""


def _restore(program: str, text: str) -> None:
    code, _, errors = run([f"{program}-restore", "--noflush", "--wait"], text)
    if code:
        raise Unavailable(f"cannot set the rules of a network: {errors.strip() or f'{program} ended with {code}'}")


def _own_chains(program: str, table: str, mark: str) -> Iterator[str]:
    for line in _saved(program, "-t", table):
        name = line[1:].partition(" ")[0]
        if line.startswith(":SB-") and mark in name:
            yield name


def _saved(program: str, *options: str) -> list[str]:
    """Return the lines of a table, or of all; none where there is no such table yet."""
    code, text, _ = run([f"{program}-save", *options])
    return text.splitlines() if code == 0 else []


def _added(place: str) -> str:
    """Return how ``iptables-save`` shows a jump's place."""
    return place.replace("-I ", "-A ", 1)
