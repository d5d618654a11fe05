"""``--network``, and the options that say more about the first one, such as ``--ip`` and ``--network-alias``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from swapbox.containers.config import Attachment
from swapbox.errors import InvalidFlag, InvalidInput

_LONG = re.compile(r"\w+=\w+")
_PREDEFINED = ("none", "host", "bridge", "default", "")
_COMPANIONS = {  # option, field of an attachment, what Docker calls that
    "network_alias": ("aliases", "alias"),
    "link": ("links", "links"),
    "ip": ("ipv4", "IPv4 address"),
    "ip6": ("ipv6", "IPv6 address"),
    "link_local_ip": ("link_local", "link-local IP addresses"),
    "mac_address": ("mac_address", "MAC address"),
}


def attachments(given: Mapping[str, Any]) -> tuple[Attachment, ...]:
    """Read the options, as Docker's client does.

    :raises InvalidFlag: a value can never be right.
    :raises InvalidInput: options do not fit together.
    """
    texts = given["network"]
    read = [_flag("network", text, _read) for text in texts] or [{"network": ""}]
    for text in given["link"]:
        _flag("link", text, parse_link)
    _add_companions(read[0], given)
    found = [_attachment(fields, typed=bool(texts)) for fields in read]
    names = [one.network for one in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f'network "{name}" is specified multiple times')
    if len({is_predefined(name) for name in names}) > 1:
        raise InvalidInput(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        )
    return () if found == [Attachment("")] else tuple(found)


def is_predefined(network: str) -> bool:
    """Say whether a network's name is none that a user has chosen."""
    return network in _PREDEFINED or network.startswith("container:")


def _read(text: str) -> dict[str, Any]:
    """Read ``--network``: a name, or ``name=foo,alias=a,ip=1.2.3.4,driver-opt=k=v``."""
    if not _LONG.search(text):
        return {"network": text}
    fields: dict[str, Any] = {"network": ""}
    for item in text.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise InvalidInput(f"invalid field {item}")
        _put(fields, key.lower(), value)
    if not fields["network"]:
        raise InvalidInput("network name/id is not specified")
    return fields


def _put(fields: dict[str, Any], key: str, value: str) -> None:
    match key:
        case "name" | "ip" | "ip6" | "mac-address":
            names = {"name": "network", "ip": "ipv4", "ip6": "ipv6", "mac-address": "mac_address"}
            fields[names[key]] = value
        case "alias" | "link-local-ip":
            name = "aliases" if key == "alias" else "link_local"
            fields[name] = (*fields.get(name, ()), value)
        case "driver-opt":
            fields.setdefault("options", {}).update([parse_driver_option(value)])
        case "gw-priority":
            fields["priority"] = _priority(value)
        case _:
            raise InvalidInput(f"invalid field key {key}")


def parse_driver_option(text: str) -> tuple[str, str]:
    """Read ``key=value``.

    :raises InvalidInput: it is not that.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput("invalid key value pair format in driver options")
    return key.strip().lower(), value.strip()


def _priority(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidInput(f"invalid gw-priority ({text}): invalid syntax")
    return int(text)


def parse_link(text: str) -> tuple[str, str]:
    """Read ``CONTAINER[:ALIAS]``.

    :raises InvalidInput: with Docker's words.
    """
    if not text:
        raise InvalidInput("empty string specified for links")
    parts = text.split(":")
    if len(parts) > 2:
        raise InvalidInput(f"bad format for links: {text}")
    return parts[0], parts[-1]


def _add_companions(fields: dict[str, Any], given: Mapping[str, Any]) -> None:
    for option, (name, what) in _COMPANIONS.items():
        if not (value := given[option]):
            continue
        if fields.get(name):
            shown = option.replace("_", "-")
            raise InvalidInput(f"conflicting options: cannot specify both --{shown} and per-network {what}")
        fields[name] = value


def _attachment(fields: Mapping[str, Any], *, typed: bool) -> Attachment:
    name = fields["network"]
    if typed and not name.strip():
        raise InvalidInput("no name set for network")
    if is_predefined(name) and fields.get("aliases"):
        raise InvalidInput("network-scoped aliases are only supported for user-defined networks")
    return Attachment(
        name,
        tuple(fields.get("aliases", ())),
        addresses(fields.get("ipv4", ""), fields.get("ipv6", "")),
        mac_address(fields["mac_address"]) if fields.get("mac_address") else "",
        fields.get("options", {}),
        fields.get("priority", 0),
        link_locals(fields.get("link_local", ())),
        tuple(fields.get("links", ())),
    )


def addresses(ipv4: str, ipv6: str) -> tuple[str, ...]:
    """Return those of ``--ip`` and ``--ip6`` that are given; what is no address is left to the network.

    :raises InvalidInput: one is of the other family.
    """
    for text, family in ((ipv4, "IPv4"), (ipv6, "IPv6")):
        if text and _is_address(text, wide=family == "IPv4"):
            raise InvalidInput(f"invalid {family} address: {text}")
    return tuple(filter(None, (ipv4, ipv6)))


def link_locals(texts: Iterable[str]) -> tuple[str, ...]:
    """Check ``--link-local-ip``.

    :raises InvalidInput: with Docker's words.
    """
    found = tuple(texts)
    for text in found:
        if not (_is_address(text, wide=False) or _is_address(text, wide=True)):
            raise InvalidInput(f"invalid link-local IP address: {text}")
    return found


def _is_address(text: str, *, wide: bool) -> bool:
    from swapbox.networks.addresses import parse

    try:
        parse(text)
    except InvalidInput:
        return False
    return (":" in text) == wide


def mac_address(text: str) -> str:
    """Return a hardware address with colons, in lower case.

    :raises InvalidInput: it is none.
    """
    parts: Sequence[str] = text.strip().replace("-", ":").lower().split(":")
    if len(parts) != 6 or any(len(part) != 2 or part.strip("0123456789abcdef") for part in parts):
        raise InvalidInput(f"{text} is not a valid mac address")
    return ":".join(parts)


def _flag(option: str, text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except InvalidInput as error:
        raise InvalidFlag(error.message, option=option, value=text, hint=error.hint) from None
