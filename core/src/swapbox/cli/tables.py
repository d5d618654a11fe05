"""Tables, and the words in the cells of ``ps`` and ``images``, as ``docker`` prints them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from swapbox.cli.tabwriter import align
from swapbox.cli.units import age, human_duration, human_size

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\v": "\\v"}
_ESCAPES["\f"] = "\\f"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with its header line; the text ends with a newline."""
    return align("".join("\t".join(row) + "\n" for row in (headers, *rows)))


def command_text(args: Sequence[str]) -> str:
    """Return a command on one line: an argument with a space gets single quotes."""
    return " ".join([*args[:1], *(f"'{arg}'" if " " in arg else arg for arg in args[1:])])


def shorten(text: str, width: int) -> str:
    """Cut ``text`` to ``width`` characters, the last of them an ellipsis when something is missing."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def quote(text: str) -> str:
    """Return ``text`` as a Go string literal."""
    return f'"{"".join(map(_escape, text))}"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, see os.fsdecode
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def status_text(
    status: str, *, now: int, started: int = 0, finished: int = 0, exit_code: int = 0, health: str = ""
) -> str:
    """Return the STATUS cell.

    :param status: ``created``, ``running``, ``paused``, ``restarting``, ``exited``, ``removing`` or ``dead``.
    :param now: nanoseconds since the epoch, like ``started`` and ``finished``.
    :param health: ``healthy``, ``unhealthy`` or ``starting``; empty without a health check.
    """
    if status in {"running", "paused"}:
        if status == "paused":
            health = "Paused"
        elif health == "starting":
            health = "health: starting"
        return f"Up {human_duration(now - started)}" + (f" ({health})" if health else "")
    if status in {"exited", "restarting"}:
        return f"{status.capitalize()} ({exit_code}) {age(now - finished)}"
    return {"created": "Created", "removing": "Removal In Progress", "dead": "Dead"}.get(status, status)


def size_text(own: int, total: int) -> str:
    """Return the SIZE cell of ``ps --size``: bytes in the writable layer, and with the image's."""
    text = human_size(own, precision=3)
    return f"{text} (virtual {human_size(total, precision=3)})" if total > 0 else text


def zoned_time(seconds: int) -> str:
    """Return a time as Go prints it, in the local zone: ``2024-01-31 09:30:00 +0100 CET``."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))
