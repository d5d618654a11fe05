"""Changes to JSON that leave every other byte as it was: formatting, order and unknown keys are the user's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")
_INDENT = re.compile(r"\n([ \t]+)\S")
_DECODER = json.JSONDecoder()


class _Member(NamedTuple):
    """``"key": value`` and where it is: from ``start`` to ``end``, its value from ``value``."""

    key: str
    start: int
    value: int
    end: int


class _Object(NamedTuple):
    """An object between its braces at ``open`` and ``close``."""

    open: int
    close: int
    members: tuple[_Member, ...]

    def find(self, key: str) -> _Member | None:
        """Return the member that counts: the last of that name."""
        return next((member for member in reversed(self.members) if member.key == key), None)


def put(text: str, path: Sequence[str], value: Any) -> str:
    """Return a JSON document with a value at a path of keys; objects on the way are made where there are none.

    :param text: a valid document whose top is an object.
    """
    found = _object(text, _after_space(text, 0))
    for depth, key in enumerate(path):
        member = found.find(key)
        rest = path[depth + 1 :]
        if member is not None and rest and text[member.value] == "{":
            found = _object(text, member.value)
            continue
        for missing in reversed(rest):
            value = {missing: value}
        if member is None:
            return _inserted(text, found, key, value, depth=depth + 1)
        return text[: member.value] + _written(text, value, indent=_unit(text) * (depth + 1)) + text[member.end :]
    return text


def remove(text: str, path: Sequence[str], unwanted: Callable[[str], bool]) -> str:
    """Return a JSON document without those members of the object at a path whose keys are unwanted."""
    found = _object(text, _after_space(text, 0))
    for key in path:
        member = found.find(key)
        if member is None or text[member.value] != "{":
            return text
        found = _object(text, member.value)
    kept = [member for member in found.members if not unwanted(member.key)]
    if len(kept) == len(found.members):
        return text
    if not kept:
        return text[: found.open + 1] + text[found.close :]
    return _without(text, found, unwanted)


def _without(text: str, found: _Object, unwanted: Callable[[str], bool]) -> str:
    """Cut members out together with the comma and the space between them and a neighbour."""
    members, first_kept = found.members, False
    parts, at = [], 0
    for number, member in enumerate(members):
        if not unwanted(member.key):
            first_kept = True
            continue
        begin, end = member.start, member.end
        if first_kept:
            begin = members[number - 1].end
        else:
            end = members[number + 1].start
        parts.append(text[at:begin])
        at = end
    return "".join([*parts, text[at:]])


def _object(text: str, open: int) -> _Object:
    members = []
    at = _after_space(text, open + 1)
    while text[at] != "}":
        if text[at] == ",":
            at = _after_space(text, at + 1)
        key, end = _DECODER.raw_decode(text, at)
        value = _after_space(text, _after_space(text, end) + 1)
        _, end = _DECODER.raw_decode(text, value)
        members.append(_Member(key, at, value, end))
        at = _after_space(text, end)
    return _Object(open, at, tuple(members))


def _inserted(text: str, found: _Object, key: str, value: Any, *, depth: int) -> str:
    """Add a member at the end of an object, laid out as its neighbours are."""
    indent = _unit(text) * depth
    colon = ": " if _is_spread(text) or '": ' in text else ":"
    member = f"{json.dumps(key)}{colon}{_written(text, value, indent=indent)}"
    if found.members:
        last = found.members[-1]
        space = text[len(text[: last.start].rstrip(" \t\r\n")) : last.start]
        return f"{text[: last.end]},{space}{member}{text[last.end :]}"
    if _is_spread(text):
        member = f"{_newline(text)}{indent}{member}{_newline(text)}{_unit(text) * (depth - 1)}"
    return text[: found.open + 1] + member + text[found.close :]


def _written(text: str, value: Any, *, indent: str) -> str:
    """Return a value as the rest of the document is written; an object's lines begin with ``indent``."""
    if not _is_spread(text):
        return json.dumps(value, separators=(", ", ": ") if '": ' in text else (",", ":"))
    return json.dumps(value, indent=_unit(text)).replace("\n", f"{_newline(text)}{indent}")


def _is_spread(text: str) -> bool:
    """Say whether a document has a line for each member, as Docker writes it; one without members will."""
    return "\n" in text.strip() or not text.strip(" \t\r\n{}")


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _unit(text: str) -> str:
    """Return by how much one level is indented: a tab is Docker's."""
    match = _INDENT.search(text)
    return match[1] if match else "\t"


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
