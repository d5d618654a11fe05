"""Durations as Go writes them."""

from __future__ import annotations

from swapbox.errors import InvalidInput

SECOND = 10**9
"""In nanoseconds, the unit of every duration and time here."""

_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}


def parse_duration(text: str) -> int:
    """Read a duration as Go writes it, ``1h30m``, ``1.5s``, ``-10ms``; return nanoseconds.

    :raises InvalidInput: it is not one.
    """
    rest = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if not rest:
        raise InvalidInput(f'time: invalid duration "{text}"')
    total = 0
    while rest and text.strip("+-") != "0":
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        tail = rest[len(number) :]
        unit = tail[: len(tail) - len(tail.lstrip("nuµμmsh"))]
        # "1h30m": the letters of one unit end where the next number starts.
        if unit not in _UNITS or number.count(".") > 1 or not number.strip("."):
            raise InvalidInput(f'time: invalid duration "{text}"')
        whole, _, fraction = number.partition(".")
        total += int(whole or "0") * _UNITS[unit] + int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
        rest = tail[len(unit) :]
    return -total if text.startswith("-") else total
