"""Sizes, durations and times as ``docker`` prints and reads them. Times are nanoseconds since the epoch."""

from __future__ import annotations

import time

from swapbox.durations import SECOND, parse_duration
from swapbox.errors import InvalidInput

_MINUTE = 60 * SECOND
_HOUR = 60 * _MINUTE
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def human_duration(nanoseconds: int) -> str:
    """Return a duration in words: ``Less than a second``, ``5 seconds``, ``About an hour``, ``3 weeks``."""
    seconds = nanoseconds // SECOND
    minutes, hours = seconds // 60, (nanoseconds + _HOUR // 2) // _HOUR
    if seconds < 1:
        return "Less than a second"
    if minutes < 1:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    days = hours // 24
    if days < 14:
        return f"{days} days"
    if days < 60:
        return f"{days // 7} weeks"
    return f"{days // 30} months" if days < 730 else f"{nanoseconds // _HOUR // 24 // 365} years"


def age(nanoseconds: int) -> str:
    """Return how long ago something was: ``2 hours ago``."""
    return f"{human_duration(nanoseconds)} ago"


def human_size(size: float, *, precision: int = 4) -> str:
    """Return a size in decimal units with ``precision`` significant digits: ``1.54kB``, ``93.2MB``."""
    return _scaled(size, 1000, _DECIMAL, precision)


def binary_size(size: float) -> str:
    """Return a size in binary units, as for memory limits: ``512MiB``, ``1.5GiB``."""
    return _scaled(size, 1024, _BINARY, 4)


def _scaled(size: float, base: int, units: tuple[str, ...], precision: int) -> str:
    index = 0
    while size >= base and index < len(units) - 1:
        size /= base
        index += 1
    return f"{size:.{precision}g}{units[index]}"


def parse_moment(text: str, *, now: int) -> int:
    """Read ``--since`` and ``--until``: how long before ``now``, a date and time, or seconds since the epoch.

    A date and time without zone is local time.

    :raises InvalidInput: it is none of these.
    """
    try:
        if text != "0":  # not a duration but the epoch, as for Docker
            return now - parse_duration(text)
    except InvalidInput:
        pass
    seconds, _, fraction = text.partition(".")
    if seconds.isdecimal() and (fraction.isdecimal() or not fraction):
        return int(seconds) * SECOND + _nanoseconds(fraction)
    return parse_time(text)


def moment(option: str, text: str | None, *, now: int) -> int | None:
    """Read the value of ``--since`` or ``--until``; None when it is not given.

    :raises ClientError: it is wrong.
    """
    from swapbox.cli.app import ClientError

    try:
        return parse_moment(text, now=now) if text else None
    except InvalidInput as error:
        raise ClientError(f'invalid value for "{option}": {error.message}') from None


def parse_time(text: str) -> int:
    """Read a time of RFC 3339, of which all from the minutes on and the zone may be missing.

    :raises InvalidInput: it is not one.
    """
    try:
        return _parse_time(text)
    except (ValueError, OverflowError):
        raise InvalidInput(f'failed to parse value as time or duration: "{text}"') from None


def _parse_time(text: str) -> int:
    date, _, clock = text.replace("t", "T").replace("z", "Z").partition("T")
    zone, minutes = "", 0
    if (clock or date).endswith("Z"):
        zone = "Z"
    elif len(sign := (clock or date[10:])[-6:]) == 6 and sign[0] in "+-" and sign[3] == ":":
        zone = sign
        minutes = (int(sign[1:3]) * 60 + int(sign[4:])) * (-1 if sign[0] == "-" else 1)
    if clock:
        clock = clock.removesuffix(zone)
    else:
        date = date.removesuffix(zone)
    clock, _, fraction = clock.partition(".")
    year, month, day = map(int, date.split("-"))
    hour, minute, second, *rest = [*map(int, clock.split(":") if clock else ()), 0, 0, 0]
    if len(rest) > 3 or not (1 <= month <= 12 and 1 <= day <= _days_in(year, month)):
        raise ValueError(text)
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 61):
        raise ValueError(text)
    if zone:
        seconds = _days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - minutes * 60
    else:
        seconds = int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1)))
    return seconds * SECOND + _nanoseconds(fraction)


def _nanoseconds(fraction: str) -> int:
    return int(fraction[:9].ljust(9, "0")) if fraction else 0


def _days_in(year: int, month: int) -> int:
    return _days(year + month // 12, month % 12 + 1, 1) - _days(year, month, 1)


def _days(year: int, month: int, day: int) -> int:
    """Return the days since 1970-01-01: years start in March, so that a leap day is a year's last."""
    shifted = year - (month < 3)
    months = (month - 3) % 12
    return 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + (153 * months + 2) // 5 + day - 719_469


def format_time(nanoseconds: int, *, digits: int | None = None) -> str:
    """Return a time as RFC 3339 in UTC, with a fraction as long as it needs to be, or of ``digits`` digits.

    ``inspect`` uses the first form, ``logs --timestamps`` the second with nine.
    """
    seconds, fraction = divmod(nanoseconds, SECOND)
    text = f"{fraction:09d}"
    text = text.rstrip("0") if digits is None else text[:digits]
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + (f".{text}" if text else "") + "Z"
