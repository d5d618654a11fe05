"""``/etc/hosts`` and ``/etc/resolv.conf`` of a container in networks, or with ``--dns`` and ``--add-host``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from swapbox.containers.config import ContainerConfig
from swapbox.drivers.network import Endpoint
from swapbox.networks.addresses import bare

_STUB = "127.0.0.53"
_UPSTREAM = Path("/run/systemd/resolve/resolv.conf")
"""What systemd-resolved(8) keeps for those who cannot use its stub on loopback."""

_FALLBACK = ("8.8.8.8", "8.8.4.4")
"""Docker's, for a host whose name servers a container cannot reach."""


_HOSTS_BYTES = 1 << 20
"""More than this is no file of addresses."""


def hosts_lines(config: ContainerConfig, endpoints: Iterable[Endpoint], linked: str = "") -> str:
    """Return what ``/etc/hosts`` has beyond its first lines: ``--add-host``, links, and the container's names."""
    endpoints = tuple(endpoints)
    lines = []
    for item in config.extra_hosts:
        name, _, address = item.partition(":")
        for target in _gateways(endpoints) if address == "host-gateway" else (address,):
            lines.append(f"{target}\t{name}")
    lines += linked.splitlines()
    for endpoint in endpoints:
        names = f"{endpoint.hostname}.{config.domainname}" if config.domainname else endpoint.hostname
        if "." in names:
            names += f" {names.partition('.')[0]}"
        lines += [f"{bare(address)}\t{names}" for address in endpoint.addresses]
    return "".join(f"{line}\n" for line in lines)


def _gateways(endpoints: Sequence[Endpoint]) -> list[str]:
    """Return the host's addresses that a container sees: those of its way out, or loopback of a shared one."""
    if not endpoints:
        return ["127.0.0.1"]
    through = next((endpoint for endpoint in endpoints if endpoint.gateway), endpoints[0])
    return [subnet.gateway for subnet in through.network.subnets if subnet.gateway]


def resolv_conf(config: ContainerConfig, host: str, *, networked: bool, servers: Sequence[str] = ()) -> str:
    """Return ``/etc/resolv.conf``, see resolv.conf(5): the host's, with what the options replace.

    :param host: the host's own.
    :param networked: the host's loopback is out of reach, so name servers there are left out.
    :param servers: of the container's networks, which pass on to the others what they do not know.
    """
    lines = [line.split() for line in host.splitlines() if line.strip() and line[0] not in "#;"]
    found = _values(lines, "nameserver")
    if networked and _STUB in found:
        lines = [line.split() for line in _text(_UPSTREAM).splitlines() if line.strip() and line[0] not in "#;"]
        found = _values(lines, "nameserver")
    nameservers = list(config.dns) or [one for one in found if not networked or not _is_loopback(one)]
    if networked and not nameservers:
        nameservers = list(_FALLBACK)
    search = list(config.dns_search) or _last(lines, "search", "domain")
    if servers:
        nameservers = list(servers)
    options = list(config.dns_options) or [one for line in lines if line[0] == "options" for one in line[1:]]
    if servers and not any(option.startswith("ndots:") for option in options):
        options.append("ndots:0")  # a name without a dot may be a neighbour's
    text = "".join(f"nameserver {server}\n" for server in nameservers)
    if search and search != ["."]:
        text += f"search {' '.join(search)}\n"
    if options:
        text += f"options {' '.join(options)}\n"
    return text


def _values(lines: Iterable[Sequence[str]], keyword: str) -> list[str]:
    return [line[1] for line in lines if line[0] == keyword and len(line) > 1]


def _last(lines: Iterable[Sequence[str]], *keywords: str) -> list[str]:
    """Return the values of the last line of these keywords: it is the one that counts."""
    found: list[str] = []
    for line in lines:
        if line[0] in keywords:
            found = list(line[1:])
    return found


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address.partition("%")[0] in ("::1", "0.0.0.0", "::")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


def add_lines(path: Path, lines: str) -> None:
    """Add lines to a file that is mounted in a container: in place, since another file would not be seen."""
    with path.open("a") as file:
        file.write(lines)


def drop_lines(path: Path, addresses: Iterable[str]) -> None:
    """Take the lines of addresses out of a file that is mounted in a container.

    The container may have written anything into it; what it has made too large is left alone.
    """
    unwanted = tuple(f"{bare(address)}\t".encode() for address in addresses)
    with path.open("r+b", buffering=0) as file:
        text = file.read(_HOSTS_BYTES + 1)
        if len(text) > _HOSTS_BYTES:
            return
        kept = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(unwanted))
        file.seek(0)
        file.write(kept)
        file.truncate()
