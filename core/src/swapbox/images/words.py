"""Arguments of Dockerfile instructions: JSON lists, words, quotes, backslashes and variables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from swapbox.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#?$!-]")


def json_list(text: str) -> list[str] | None:
    """Return the texts of a JSON list; None when it is something else: then it is in shell form.

    :raises InvalidInput: the list holds something that is no text.
    """
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        raise InvalidInput("when using JSON array syntax, arrays must be comprised of strings only")
    return list(value)


def words(text: str) -> list[str]:
    """Split at blanks that are neither quoted nor escaped; quotes and backslashes stay."""
    return re.findall(r"(?:\\.|'[^']*'?|\"(?:\\.|[^\"\\])*\"?|[^\s'\"\\]|\\$)+", text, flags=re.DOTALL)


def expand(word: str, variables: Mapping[str, str]) -> str:
    """Take quotes and backslashes away; put in the values of ``$name``, ``${name:-default}``, ``${name:+other}``.

    :raises InvalidInput: a brace is not closed, or another modifier is used.
    """
    return _Expansion(word, variables).run()


class _Expansion:
    def __init__(self, text: str, variables: Mapping[str, str]) -> None:
        self._text = text
        self._variables = variables
        self._at = 0

    def run(self, *, end: str = "") -> str:
        """Return the text up to an unquoted ``end``, or all."""
        parts: list[str] = []
        quote = ""
        while self._at < len(self._text):
            here = self._text[self._at]
            self._at += 1
            if not quote and end and here == end:
                return "".join(parts)
            if here == "\\" and quote != "'":
                parts.append(self._escaped(quote))
            elif here == "$" and quote != "'":
                parts.append(self._variable())
            elif here in "'\"" and quote in ("", here):
                quote = "" if quote else here
            else:
                parts.append(here)
        if end:
            raise InvalidInput(f"syntax error: missing {end!r} in {self._text!r}")
        return "".join(parts)

    def _escaped(self, quote: str) -> str:
        following = self._text[self._at : self._at + 1]
        self._at += 1
        return "\\" + following if quote and following not in ('"', "$", "\\") else following

    def _variable(self) -> str:
        if self._text[self._at : self._at + 1] == "{":
            self._at += 1
            return self._braced()
        found = _NAME.match(self._text, self._at)
        if found is None:
            return "$"
        self._at = found.end()
        return self._variables.get(found[0], "")

    def _braced(self) -> str:
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise InvalidInput(f"syntax error: bad substitution in {self._text!r}")
        self._at = found.end()
        value = self._variables.get(found[0])
        modifier = self._text[self._at : self._at + 2]
        if modifier[:1] == "}":
            self._at += 1
            return value or ""
        if modifier not in (":-", ":+"):
            raise InvalidInput(f"unsupported modifier ({modifier[-1:]}) in substitution")
        self._at += 2
        other = self.run(end="}")
        return (value or other) if modifier == ":-" else (other if value else "")
