"""``WWW-Authenticate`` headers (RFC 9110 section 11)."""

from __future__ import annotations

import re
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ITEM = re.compile(
    rf"""(?P<key>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))|(?P<scheme>{_TOKEN})"""
)


class Challenge(NamedTuple):
    """What a server wants: ``bearer`` or ``basic``, and its parameters."""

    scheme: str
    parameters: dict[str, str]


def parse(header: str) -> list[Challenge]:
    """Read every challenge of a header; several headers may have been joined by commas."""
    found: list[Challenge] = []
    for item in _ITEM.finditer(header):
        if item["scheme"]:
            found.append(Challenge(item["scheme"].lower(), {}))
        elif found:
            quoted = item["quoted"]
            value = item["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1].parameters.setdefault(item["key"].lower(), value)
    return found
