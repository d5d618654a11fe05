"""What ``EXPOSE`` and ``--expose`` say: a port or a range of them, and a protocol.

What an image says is hostile: its texts end in lists and in the rules of the host's firewall. So nothing reaches
those but numbers, and one of three protocols.
"""

from collections.abc import Iterable, Iterator

from swapbox.errors import InvalidInput

PROTOCOLS = ("tcp", "udp", "sctp")
_LAST = 65535
_DIGITS = 5


def parse_port(text: str) -> str:
    """Read one text; return ``80/tcp``.

    :raises InvalidInput: with Docker's words.
    """
    if ":" in text:
        raise InvalidInput(f"invalid port format for --expose: {text}")
    number, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    if not number:
        raise InvalidInput(f"invalid range format for --expose: {text}, error: empty string specified for ports")
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"invalid proto: {protocol}")
    first, dash, last = number.partition("-")
    for part in (first, last) if dash else (first,):
        if not (part.isascii() and part.isdigit()):
            raise _invalid(text, part, "invalid syntax")
        if len(part) > _DIGITS or int(part) > _LAST:
            raise _invalid(text, part, "value out of range")
    if dash and int(first) > int(last):
        raise InvalidInput(
            f"invalid range format for --expose: {text}, error: invalid range specified for port: {number}"
        )
    return f"{number}/{protocol}"


def _invalid(text: str, part: str, reason: str) -> InvalidInput:
    why = f'strconv.ParseUint: parsing "{part}": {reason}'
    return InvalidInput(f"invalid range format for --expose: {text}, error: {why}")


def of_image(texts: Iterable[str]) -> Iterator[str]:
    """Yield what an image exposes, as :func:`parse_port` returns it.

    What is no port is left out: Docker starts such an image, too, and publishes nothing of it.
    """
    for text in texts:
        try:
            yield parse_port(text)
        except InvalidInput:
            continue


def exposed(texts: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Yield protocol and number of each port once, however many ranges it is in; what is no port is left out."""
    ranges = sorted(_range(text) for text in of_image(texts))
    at, after = "", 0
    for protocol, first, last in ranges:
        if protocol != at:
            at, after = protocol, 1
        for number in range(max(first, after), last + 1):
            yield protocol, number
        after = max(after, last + 1)


def _range(text: str) -> tuple[str, int, int]:
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    return protocol, int(first), int(last or first)
