"""Parse the records of a json-file log.

The records of one chunk differ in their text only, so all that follows it is parsed once and remembered; text
without escapes is sliced out as it is. ``json`` is imported when a record needs it.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from swapbox.drivers.logging import LogRecord

_OPENING = b'{"log":"'
_STREAM = b'","stream":"'
_SECOND = 1_000_000_000


class _Rest(NamedTuple):
    """What follows the text of a record."""

    time: int
    stream: Literal["stdout", "stderr"]
    attributes: Mapping[str, str]


class Parser:
    """Turns lines of the file into records; keep one for a whole read."""

    def __init__(self) -> None:
        self._known = b""
        self._rest = _Rest(0, "stdout", {})

    def parse(self, line: bytes) -> LogRecord | None:
        """Return the record, or None for a line that is none: a crash cut it short."""
        # A bare quote cannot be inside the text, so the first match ends it.
        end = line.find(_STREAM, len(_OPENING))
        if end < 0 or not line.startswith(_OPENING):
            return _parse_any(line)
        rest = line[end + 2 :]
        try:
            if rest != self._known:
                self._rest = _parse_rest(rest)
                self._known = rest
            return LogRecord(
                self._rest.time, self._rest.stream, _unescape(line[len(_OPENING) : end]), self._rest[2]
            )
        except (ValueError, KeyError):
            return None


def _parse_rest(rest: bytes) -> _Rest:
    """Parse ``"stream":"stdout",...,"time":"..."}``."""
    import json

    values = json.loads(b"{" + rest)
    stream: Literal["stdout", "stderr"] = "stderr" if values["stream"] == "stderr" else "stdout"
    return _Rest(parse_time(values["time"]), stream, values.get("attrs") or {})


def _parse_any(line: bytes) -> LogRecord | None:
    """Parse a record whose keys are in another order, or that has no text."""
    import json

    try:
        values = json.loads(line)
        stream: Literal["stdout", "stderr"] = "stderr" if values.get("stream") == "stderr" else "stdout"
        text = values.get("log", "").encode("utf-8", "replace")
        return LogRecord(parse_time(values["time"]), stream, text, values.get("attrs") or {})
    except (ValueError, KeyError, AttributeError):
        return None


def _unescape(text: bytes) -> bytes:
    backslash = text.find(b"\\")
    if backslash < 0:
        return text
    if backslash == len(text) - 2 and text.endswith(b"n"):
        return text[:-2] + b"\n"
    import json

    decoded: str = json.loads(b'"' + text + b'"')
    return decoded.encode("utf-8", "replace")


def parse_time(text: str) -> int:
    """Return nanoseconds since the epoch of an RFC 3339 time in UTC, as Docker writes it.

    :raises ValueError: it is none.
    """
    date, separator, clock = text.removesuffix("Z").partition("T")
    if not separator or not text.endswith("Z"):
        raise ValueError(f"invalid time {text!r}")
    year, month, day = map(int, date.split("-"))
    whole, _, fraction = clock.partition(".")
    hour, minute, second = map(int, whole.split(":"))
    seconds = ((_days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
    return seconds * _SECOND + int(fraction.ljust(9, "0")[:9])


def _days(year: int, month: int, day: int) -> int:
    """Return days since 1970-01-01 in the Gregorian calendar: years begin in March, so that leap days end them."""
    if month < 3:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469
