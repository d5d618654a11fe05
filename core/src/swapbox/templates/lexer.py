"""The tokens of a template, as Go's text/template/parse splits them."""

from __future__ import annotations

import re
from typing import NamedTuple

KEYWORDS = frozenset(
    {"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"}
)
_SPACE = " \t\r\n"
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?|0[oO][0-7_]*|0[bB][01_]*"
    r"|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)
_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_CHARACTER = re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")
_COMMENT = re.compile(r"\{\{(?:-(?=[ \t\r\n]))?[ \t\r\n]*/\*")


class Token(NamedTuple):
    """One token.

    :param type: ``text``, ``left``, ``right``, ``space``, ``error``, ``eof``, a keyword, a character of ``().|,``,
        or ``:=``, ``=``, ``identifier``, ``field``, ``variable``, ``string``, ``character``, ``number``, ``bool``.
    :param position: where it starts, in characters.
    """

    type: str
    text: str
    position: int


def tokens(text: str) -> list[Token]:
    """Return the tokens; the last is ``eof``, or ``error`` with what is wrong as its text."""
    return _Lexer(text).run()


class _Failed(Exception):
    """Something no token can be made of."""


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._start = 0
        self._depth = 0
        self._found: list[Token] = []

    def run(self) -> list[Token]:
        try:
            while self._at < len(self._text):
                self._plain()
            self._start = self._at
            self._emit("eof")
        except _Failed as error:
            self._found.append(Token("error", str(error), self._start))
        return self._found

    def _emit(self, type: str) -> None:
        self._found.append(Token(type, self._text[self._start : self._at], self._start))
        self._start = self._at

    def _plain(self) -> None:
        """Take text up to an action, then the action."""
        text, end = self._text, self._text.find("{{", self._at)
        plain = text[self._at :] if end < 0 else text[self._at : end]
        trims = end >= 0 and text[end + 2 : end + 3] == "-" and text[end + 3 : end + 4] in tuple(_SPACE)
        if trims:
            plain = plain.rstrip(_SPACE)
        if plain:
            self._found.append(Token("text", plain, self._at))
        if end < 0:
            self._at = len(text)
            return
        self._start, self._at = end, end + (3 if trims else 2)
        comment_at = self._at + (len(text) - self._at - len(text[self._at :].lstrip(_SPACE)) if trims else 0)
        if text.startswith("/*", comment_at):
            self._comment(comment_at)
        else:
            self._emit("left")
            self._action()

    def _comment(self, start: int) -> None:
        self._start = start
        end = self._text.find("*/", start + 2)
        if end < 0:
            raise _Failed("unclosed comment")
        self._at = end + 2
        if not self._right_delimiter():
            raise _Failed("comment ends before closing delimiter")
        self._start = self._at

    def _right_delimiter(self) -> bool:
        """Take ``}}`` or `` -}}`` with the space that it eats; say whether it was there."""
        text, at = self._text, self._at
        if text[at : at + 1] in tuple(_SPACE) and text[at + 1 : at + 4] == "-}}":
            self._start, self._at = at + 2, at + 4
            rest = text[self._at :]
            self._after = self._at + len(rest) - len(rest.lstrip(_SPACE))
        elif text.startswith("}}", at):
            self._at = self._after = at + 2
        else:
            return False
        closing = Token("right", "}}", self._at - 2)
        if self._found and self._found[-1].type != "text" and self._opened():
            self._found.append(closing)
        self._at = self._start = self._after
        return True

    def _opened(self) -> bool:
        """Say whether the closing delimiter ends an action, and not a comment."""
        return next((t.type == "left" for t in reversed(self._found) if t.type in ("left", "right")), False)

    def _action(self) -> None:
        self._depth = 0
        while True:
            if self._at_right():
                if self._depth:
                    raise _Failed("unclosed left paren")
                self._right_delimiter()
                return
            self._start = self._at
            if self._at >= len(self._text):
                raise _Failed("unclosed action")
            self._inside(self._text[self._at])

    def _at_right(self) -> bool:
        text, at = self._text, self._at
        return text.startswith("}}", at) or (text[at : at + 1] in tuple(_SPACE) and text[at + 1 : at + 4] == "-}}")

    def _inside(self, char: str) -> None:
        if char in _SPACE:
            self._space()
        elif char in "=|,":
            self._take(1, char)
        elif char in "()":
            self._paren(char)
        elif char == ":":
            if self._text[self._at + 1 : self._at + 2] != "=":
                raise _Failed("expected :=")
            self._take(2, ":=")
        elif char == '"':
            self._quoted(_STRING, "string", "unterminated quoted string")
        elif char == "'":
            self._quoted(_CHARACTER, "character", "unterminated character constant")
        elif char == "`":
            self._raw()
        elif char == "$" or (char == "." and self._text[self._at + 1 : self._at + 2].strip("0123456789")):
            self._name("variable" if char == "$" else "field")
        elif char in "+-.0123456789":
            self._number()
        elif _alphanumeric(char):
            self._identifier()
        elif char.isascii() and char.isprintable():
            self._take(1, "char")
        else:
            raise _Failed(f"unrecognized character in action: {_unicode(char)}")

    def _take(self, length: int, type: str) -> None:
        self._at += length
        self._emit(type)

    def _space(self) -> None:
        while self._text[self._at : self._at + 1] in tuple(_SPACE) and not self._at_right():
            self._at += 1
        self._emit("space")

    def _paren(self, char: str) -> None:
        self._depth += 1 if char == "(" else -1
        if self._depth < 0:
            raise _Failed("unexpected right paren")
        self._take(1, char)

    def _quoted(self, pattern: re.Pattern[str], type: str, problem: str) -> None:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _Failed(problem)
        self._take(len(match[0]), type)

    def _raw(self) -> None:
        end = self._text.find("`", self._at + 1)
        if end < 0:
            raise _Failed("unterminated raw quoted string")
        self._take(end + 1 - self._at, "string")

    def _word(self) -> None:
        while self._at < len(self._text) and _alphanumeric(self._text[self._at]):
            self._at += 1

    def _check_end(self) -> None:
        char = self._text[self._at : self._at + 1]
        if char and char not in _SPACE + ".,|:)(" and not self._text.startswith("}}", self._at):
            raise _Failed(f"bad character {_unicode(char)}")

    def _name(self, type: str) -> None:
        self._at += 1
        self._word()
        self._check_end()
        alone = self._at == self._start + 1
        self._emit("." if alone and type == "field" else type)

    def _identifier(self) -> None:
        self._word()
        word = self._text[self._start : self._at]
        self._check_end()
        self._emit(word if word in KEYWORDS else "bool" if word in ("true", "false") else "identifier")

    def _number(self) -> None:
        self._scan_number()
        type = "number"
        if self._text[self._at : self._at + 1] in ("+", "-"):
            self._scan_number()
            type = "complex"
            if self._text[self._at - 1] != "i":
                raise _Failed(f"bad number syntax: {_go_quoted(self._text[self._start : self._at])}")
        self._emit(type)

    def _scan_number(self) -> None:
        match = _NUMBER.match(self._text, self._at)
        self._at = match.end() if match else self._at
        if _alphanumeric(self._text[self._at : self._at + 1]):
            self._at += 1
            raise _Failed(f"bad number syntax: {_go_quoted(self._text[self._start : self._at])}")


def _alphanumeric(char: str) -> bool:
    return char == "_" or char.isalnum()


def _unicode(char: str) -> str:
    """Return a character as Go's ``%#U``."""
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")


def _go_quoted(text: str) -> str:
    from swapbox.templates.literals import quote

    return quote(text)
