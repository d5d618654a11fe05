"""``--network`` and its companions, ``-p``, ``--dns`` and ``--add-host``, in Docker's syntax."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from swapbox.containers.attachment_flags import attachments as read_attachments
from swapbox.containers.config import Attachment, PortBinding
from swapbox.errors import InvalidFlag, InvalidInput

ValueT = TypeVar("ValueT")


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
    attachments = read_attachments(given)
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
        dns_search=tuple(_each("dns_search", given["dns_search"], _domain)),
        dns_options=tuple(given["dns_option"]),
        extra_hosts=tuple(_each("add_host", given["add_host"], _extra_host)),
    )._asdict()


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


def _domain(text: str) -> str:
    """Read ``--dns-search``; a dot alone stands for none."""
    domain = text.strip(" ")
    labels = domain.removesuffix(".").split(".")
    good = all(label.replace("-", "").isalnum() and label[0] != "-" != label[-1] for label in labels)
    if domain != "." and not (good and domain.isascii() and len(domain) < 255 and not domain.isnumeric()):
        raise InvalidInput(f"{text} is not a valid domain")
    return domain


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
