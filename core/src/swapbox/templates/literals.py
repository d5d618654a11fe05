"""Go's literals: quoted strings, characters and numbers, read and written."""

from __future__ import annotations

import re

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_WRITTEN = {char: letter for letter, char in _SIMPLE.items()}
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_DECIMAL_FLOAT = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEX_FLOAT = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
_INTEGER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)")
_UNDERSCORES = re.compile(r"(?<=[0-9a-fA-FxXoObB])_(?=[0-9a-fA-F])")


def to_bytes(text: str) -> bytes:
    """Return a text as the bytes Go would have; bytes that are no UTF-8 are surrogates (see ``os.fsdecode``)."""
    return text.encode("utf-8", "surrogateescape") if not _lone(text) else text.encode("utf-8", "replace")


def _lone(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" and not "\udc80" <= char <= "\udcff" for char in text)


def to_text(data: bytes) -> str:
    """Return bytes as text, the other way round."""
    return data.decode("utf-8", "surrogateescape")


def unquote(text: str) -> str:
    """Read a quoted string or character: ``"a\\n"``, ```raw```, ``'x'``.

    :raises ValueError: it is no literal of Go.
    """
    quotes, inner = text[0], text[1:-1]
    if quotes == "`":
        return inner.replace("\r", "")
    return to_text(_ESCAPE.sub(lambda match: _unescaped(match, quotes), to_bytes(inner)))


def _unescaped(match: re.Match[bytes], quotes: str) -> bytes:
    byte, short, long, octal, letter = match.groups()
    if byte or octal:
        number = int(byte, 16) if byte else int(octal, 8)
        if number > 255:
            raise ValueError("invalid syntax")
        return bytes([number])
    if short or long:
        number = int(short or long, 16)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise ValueError("invalid syntax")
        return chr(number).encode()
    name = letter.decode("utf-8", "surrogateescape")
    if name == quotes:
        return letter
    if name not in _SIMPLE:
        raise ValueError("invalid syntax")
    return _SIMPLE[name].encode()


def quote(text: str, *, quotes: str = '"', ascii_only: bool = False) -> str:
    """Return a text as a literal of Go, as ``%q`` prints it."""
    return quotes + "".join(_escaped(char, quotes, ascii_only=ascii_only) for char in text) + quotes


def _escaped(char: str, quotes: str, *, ascii_only: bool) -> str:
    if char == quotes or char == "\\":
        return f"\\{char}"
    if char in _WRITTEN:
        return f"\\{_WRITTEN[char]}"
    if char.isprintable() and (char.isascii() or not ascii_only):
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if 0xD800 <= code < 0xE000:
        return "\\ufffd"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def number(text: str) -> int | float | complex:
    """Read a number as Go's compiler does.

    :raises ValueError: it is none, with Go's words.
    """
    if text.startswith("'"):
        char = unquote(text)
        if len(char) != 1:
            raise ValueError(f"malformed character constant: {text}")
        return ord(char)
    plain = _UNDERSCORES.sub("", text)
    if plain.endswith("i"):
        return _complex(plain, text)
    if match := _INTEGER.fullmatch(plain):
        return _in_range(_integer(match), text)
    if _DECIMAL_FLOAT.fullmatch(plain):
        return float(plain)
    if _HEX_FLOAT.fullmatch(plain):
        try:
            return float.fromhex(plain)
        except OverflowError:
            pass
    raise ValueError(f"illegal number syntax: {quote(text)}")


def _integer(match: re.Match[str]) -> int:
    digits = match[2]
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    if not octal and digits[:2].lower() not in {"0x", "0o", "0b"} and len(digits) > 30:
        return 1 << 64  # out of range anyhow, and int() refuses texts that are very long
    value = int(digits, 8 if octal else 0)
    return -value if match[1] == "-" else value


def _in_range(value: int, text: str) -> int:
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"integer overflow: {quote(text)}")
    return value


def _complex(plain: str, text: str) -> complex:
    try:
        return complex(plain[:-1] + "j")
    except ValueError:
        raise ValueError(f"illegal number syntax: {quote(text)}") from None
