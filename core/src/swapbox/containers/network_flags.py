"""``--network`` and its companions, ``-p``, ``--dns`` and ``--add-host``, in Docker's syntax."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from swapbox.containers.config import Attachment, PortBinding
from swapbox.errors import InvalidFlag, InvalidInput

ValueT = TypeVar("ValueT")
_MODES = ("none", "host")


class NetworkFlags(NamedTuple):
    """What these options ask for; the fields are those of :class:`swapbox.containers.config.ContainerConfig`."""

    network: str = ""
    networks: tuple[Attachment, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    publish_all: bool = False
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()


def network_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options; most commands have none of them, see :mod:`swapbox.containers.flags`.

    :raises InvalidFlag: a value can never be right.
    :raises InvalidInput: options do not fit together.
    """
    attachments = _attachments(given)
    first = attachments[0] if attachments else Attachment("")
    if first.network.partition(":")[0] == "container" and given["expose"]:
        raise InvalidInput("conflicting options: port exposing and the container type network mode")
    bindings = [_publish(text) for text in given["publish"]]
    return NetworkFlags(
        network=first.network,
        networks=() if attachments == (Attachment(first.network),) else attachments,
        ports=tuple(dict.fromkeys(binding for several in bindings for binding in several)),
        publish_all=given["publish_all"],
        dns=tuple(_each("dns", given["dns"], _address)),
        dns_search=tuple(given["dns_search"]),
        dns_options=tuple(given["dns_option"]),
        extra_hosts=tuple(_each("add_host", given["add_host"], _extra_host)),
    )._asdict()


def _attachments(given: Mapping[str, Any]) -> tuple[Attachment, ...]:
    found = [_attachment(text) for text in given["network"]]
    if any(given[name] for name in ("network_alias", "ip", "ip6", "mac_address")):
        first = found[0] if found else Attachment("")
        addresses = tuple(filter(None, (given["ip"], given["ip6"])))
        for name, family in (("ip", "IPv4"), ("ip6", "IPv6")):
            if given[name] and not _is_address(given[name], wide=family == "IPv6"):
                raise InvalidInput(f"invalid {family} address: {given[name]}")
        mac = _mac_address(given["mac_address"]) if given["mac_address"] else ""
        found[:1] = [
            first._replace(
                aliases=(*first.aliases, *given["network_alias"]),
                addresses=addresses or first.addresses,
                mac_address=mac or first.mac_address,
            )
        ]
    names = [attachment.network for attachment in found]
    for name in names if len(names) > 1 else ():
        if name in _MODES or name.startswith("container:"):
            raise InvalidInput(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
            )
    return tuple(found)


def _attachment(text: str) -> Attachment:
    """Read ``--network``: a name, or ``name=foo,alias=a,ip=1.2.3.4,driver-opt=k=v``."""
    if "=" not in text:
        return Attachment(text)
    aliases, addresses, options, name, mac = list[str](), list[str](), dict[str, str](), "", ""
    for item in text.split(","):
        key, _, value = item.strip().partition("=")
        match key.lower():
            case "name":
                name = value
            case "alias":
                aliases.append(value)
            case "ip" | "ip6":
                addresses.append(_address(value))
            case "mac-address":
                mac = _mac_address(value)
            case "driver-opt":
                option, _, setting = value.partition("=")
                options[option] = setting
            case "gw-priority" | "link-local-ip":
                raise InvalidInput(f"{key} of --network is not supported")
            case _:
                raise InvalidInput(f"invalid field key {key}")
    if not name:
        raise InvalidInput("network name can not be empty")
    return Attachment(name, tuple(aliases), tuple(addresses), mac, options)


def _publish(text: str) -> list[PortBinding]:
    from swapbox.containers.port_flags import parse_publish

    return parse_publish(text)


def _address(text: str) -> str:
    from swapbox.networks.addresses import parse

    try:
        parse(text)
    except InvalidInput:
        raise InvalidInput(f"IP address is not correctly formatted: {text}") from None
    return text


def _is_address(text: str, *, wide: bool) -> bool:
    with contextlib.suppress(InvalidInput):
        return (":" in _address(text)) == wide
    return False


def _mac_address(text: str) -> str:
    parts = text.replace("-", ":").lower().split(":")
    if len(parts) != 6 or any(len(part) != 2 or part.strip("0123456789abcdef") for part in parts):
        raise InvalidInput(f"{text} is not a valid mac address")
    return ":".join(parts)


def _extra_host(text: str) -> str:
    """Read ``--add-host``: ``name:address`` or ``name=address``; the address may be in brackets."""
    at = min((position for position in (text.find(":"), text.find("=")) if position >= 0), default=-1)
    name, address = (text[:at], text[at + 1 :]) if at > 0 else ("", "")
    if not name:
        raise InvalidInput(f'bad format for add-host: "{text}"')
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address != "host-gateway":
        from swapbox.networks.addresses import parse

        try:
            parse(address)
        except InvalidInput:
            raise InvalidInput(f'invalid IP address in add-host: "{address}"') from None
    return f"{name}:{address}"


def _each(name: str, texts: Iterable[str], parse: Callable[[str], ValueT]) -> list[ValueT]:
    """Read the values of an option.

    :raises InvalidFlag: with Docker's words, for the first one that is wrong.
    """
    values = []
    for text in texts:
        try:
            values.append(parse(text))
        except InvalidInput as error:
            raise InvalidFlag(error.message, option=name, value=text, hint=error.hint) from None
    return values
