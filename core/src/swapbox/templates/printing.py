"""Go's fmt: how a value looks with ``%v``, and the verbs of ``printf``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from swapbox.templates.literals import quote, to_bytes
from swapbox.templates.values import MISSING, Map, Nil, Slice, Struct, sorted_items, type_name

_DIRECTIVE = re.compile(
    r"%([+\-# 0]*)(?:\[(\d+)\])?(\*|\d*)(?:\.(?:\[(\d+)\])?(\*|\d*))?(?:\[(\d+)\])?", re.DOTALL
)
_TOO_WIDE = 1_000_000
_INTEGER_VERBS = "bcdoOqxXU"
_FLOAT_VERBS = "beEfFgGxX"


def show(value: Any, *, flags: str = "", depth: int = 0) -> str:
    """Return a value as ``%v`` prints it; ``flags`` may hold ``+`` for the names of fields."""
    if value is None or value is MISSING or isinstance(value, Nil):
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _float(value, "g", None)
    if isinstance(value, complex):
        return f"({_float(value.real, 'g', None)}{_float(value.imag, 'g', None, sign=True)}i)"
    if isinstance(value, Struct):
        return _struct(value, flags, depth)
    if isinstance(value, dict):
        pairs = (f"{key}:{show(item, flags=flags, depth=depth + 1)}" for key, item in sorted_items(value))
        return f"map[{' '.join(pairs)}]"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(show(item, flags=flags, depth=depth + 1) for item in value)}]"
    return str(value)


def _struct(value: Struct, flags: str, depth: int) -> str:
    if value.text is not None:
        return value.text(value.fields)
    if value.pointer and depth:
        return f"0xc{id(value) & 0xFFFFFFFFF:09x}"  # Go prints an address, too
    names = "+" in flags
    fields = (
        (f"{name}:" if names else "") + show(item, flags=flags, depth=depth + 1)
        for name, item in value.fields.items()
    )
    return ("&" if value.pointer else "") + f"{{{' '.join(fields)}}}"


def to_print(value: Any) -> str:
    """Return what an action prints of a value: as ``%v``, but pointers are followed, and nil is ``<no value>``."""
    if value is None or value is MISSING:
        return "<no value>"
    text = show(value)
    return text.removeprefix("&") if isinstance(value, Struct) else text


def sprint(values: Sequence[Any]) -> str:
    """Return values as Go's ``fmt.Sprint``: a space between two that are both no strings."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(show(value))
    return "".join(parts)


def sprintf(template: str, values: Sequence[Any]) -> str:
    """Return what Go's ``fmt.Sprintf`` does; mistakes show in the text, as there: ``%!d(string=x)``."""
    return _Printf(template, values).run()


class _Printf:
    def __init__(self, template: str, values: Sequence[Any]) -> None:
        self._template = template
        self._values = values
        self._at = 0
        self._reordered = False

    def run(self) -> str:
        parts, at, text = [], 0, self._template
        while (percent := text.find("%", at)) >= 0:
            parts.append(text[at:percent])
            match = _DIRECTIVE.match(text, percent)
            assert match is not None
            at = match.end() + 1
            if text[match.end() : at] == "[":  # an index that is no number
                at = text.find("]", at) + 2 if "]" in text[at:] else at
                verb, self._reordered = text[at - 1 : at] if at > match.end() + 1 else "[", True
                parts.append(f"%!{verb}(BADINDEX)" if at > match.end() + 1 else "%!(BADINDEX)")
                continue
            parts.append(self._directive(match, text[match.end() : at]))
        parts.append(text[at:])
        if not self._reordered and self._at < len(self._values):
            extra = (f"{type_name(v)}={show(v)}" if v is not None else "<nil>" for v in self._values[self._at :])
            parts.append(f"%!(EXTRA {', '.join(extra)})")
        return "".join(parts)

    def _directive(self, match: re.Match[str], verb: str) -> str:
        flags, first, width, second, precision, third = match.groups()
        self._reordered = self._reordered or bool(first or second or third)
        problems: list[str] = []
        self._jump(first)
        wide = self._count(width, "WIDTH", problems) if width else 0
        self._jump(second)
        exact = self._count(precision or "0", "PREC", problems) if precision is not None else None
        self._jump(third)
        if not verb:
            return "".join(problems) + "%!(NOVERB)"
        if verb == "%":
            return "".join(problems) + "%"
        if not 0 <= self._at < len(self._values):
            wrong = "BADINDEX" if first or second or third else "MISSING"
            return "".join(problems) + f"%!{verb}({wrong})"
        value = self._values[self._at]
        self._at += 1
        if wide < 0:
            flags, wide = flags + "-", -wide
        return "".join(problems) + _formatted(value, verb, flags, wide, exact)

    def _jump(self, index: str | None) -> None:
        if index:
            self._at = int(index[:9]) - 1

    def _count(self, text: str, name: str, problems: list[str]) -> int:
        """Read a width or precision, given in the template or as an argument."""
        if text != "*":
            number: Any = int(text[:9])
        else:
            number = self._values[self._at] if 0 <= self._at < len(self._values) else None
            self._at += 1
        valid = isinstance(number, int) and not isinstance(number, bool) and abs(number) <= _TOO_WIDE
        if not valid or (name == "PREC" and number < 0):
            problems.append(f"%!(BAD{name})")
            return 0
        return int(number)


def _formatted(value: Any, verb: str, flags: str, width: int, precision: int | None) -> str:
    if verb == "T":
        return _pad(type_name(value), flags, width)
    if verb == "v":
        return _any(value, flags, width, precision)
    if isinstance(value, (list, tuple)) and not (verb in "sqxX" and isinstance(value, str)):
        return "[" + " ".join(_formatted(item, verb, flags, width, precision) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (
            f"{_formatted(k, verb, flags, width, precision)}:{_formatted(v, verb, flags, width, precision)}"
            for k, v in sorted_items(value)
        )
        return f"map[{' '.join(pairs)}]"
    text = _verb(value, verb, flags, precision)
    if text is None:
        shown = f"({type_name(value)}={show(value)})" if value is not None else "(<nil>)"
        return f"%!{verb}{shown}"
    return _pad(text, flags, width, numeric=not isinstance(value, (str, bool)) and verb not in "cqU")


def _any(value: Any, flags: str, width: int, precision: int | None) -> str:
    if "#" in flags:
        return _pad(go_syntax(value), flags, width)
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        verb = "s" if isinstance(value, str) else "d" if isinstance(value, int) else "g"
        return _formatted(value, verb, flags, width, precision)
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_any(item, flags, width, precision) for item in value) + "]"
    return _pad(show(value, flags=flags), flags, width)


def _verb(value: Any, verb: str, flags: str, precision: int | None) -> str | None:
    """Return a basic value with one verb; None when they do not go together."""
    if isinstance(value, bool):
        return str(value).lower() if verb == "t" else None
    if isinstance(value, int):
        return _integer(value, verb, flags, precision) if verb in _INTEGER_VERBS else None
    if isinstance(value, float):
        return _float(value, verb, precision, sign="+" in flags) if verb in _FLOAT_VERBS else None
    if isinstance(value, str) and verb in "sqxX":
        return _string(value, verb, flags, precision)
    if isinstance(value, Struct) and verb == "s":
        return show(value)
    return None


def _string(value: str, verb: str, flags: str, precision: int | None) -> str:
    if verb in "xX":
        data = to_bytes(value)[:precision]
        text = data.hex(" ") if " " in flags else data.hex()
        return text if verb == "x" else text.upper()
    cut = value if precision is None else value[:precision]
    if verb == "s":
        return cut
    if "#" in flags and "`" not in cut and all(char == "\t" or char.isprintable() for char in cut):
        return f"`{cut}`"
    return quote(cut, ascii_only="+" in flags)


def _integer(value: int, verb: str, flags: str, precision: int | None) -> str:
    if verb in "cqU":
        valid = 0 <= value <= 0x10FFFF and not 0xD800 <= value < 0xE000
        char = chr(value) if valid else "\ufffd"
        if verb == "U":
            shown = f" '{char}'" if "#" in flags and char.isprintable() else ""
            return f"U+{value:04X}{shown}"
        return char if verb == "c" else quote(char, quotes="'", ascii_only="+" in flags)
    base = {"d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}[verb]
    digits = "" if precision == 0 and value == 0 else format(abs(value), base).rjust(precision or 0, "0")
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    prefix = "0o" if verb == "O" else prefix
    return _sign(value < 0, flags) + prefix + digits


def _sign(negative: bool, flags: str) -> str:
    return "-" if negative else "+" if "+" in flags else " " if " " in flags else ""


def _float(value: float, verb: str, precision: int | None, *, sign: bool = False) -> str:
    plus = "+" if sign and not (value < 0 or str(value).startswith("-")) else ""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "-Inf" if value < 0 else "+Inf"
    if verb in "eEfF":
        return plus + format(value, f".{6 if precision is None else precision}{verb}")
    if verb in "gG" and precision is not None:
        return plus + format(value, f".{precision}{verb}")
    if verb in "gG":
        text = plus + _shortest(value)
        return text.upper() if verb == "G" else text
    return plus + value.hex()


def _shortest(value: float) -> str:
    """Return the fewest digits that mean this number, with an exponent from a million on."""
    exponent = int(f"{value:e}".partition("e")[2]) if value else 0
    text = repr(value)
    mantissa = text.partition("e")[0].removesuffix(".0")
    if -4 <= exponent < 6:
        if "e" in text:
            decimals = max(0, len(mantissa.partition(".")[2]) - exponent)
            return format(value, f".{decimals}f")
        return mantissa
    digits = mantissa.replace(".", "").replace("-", "").strip("0")
    return format(value, f".{max(len(digits) - 1, 0)}e")


def _pad(text: str, flags: str, width: int, *, numeric: bool = False) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" not in flags or len(text) >= width:
        return text.rjust(width)
    sign = text[:1] if numeric and text[:1] in "+-" else ""
    return sign + text.removeprefix(sign).rjust(width - len(sign), "0")


def go_syntax(value: Any) -> str:
    """Return a value as ``%#v`` prints it."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, (Slice, list, tuple)):
        return f"{type_name(value)}{{{', '.join(map(go_syntax, value))}}}"
    if isinstance(value, (Map, dict)):
        return (
            f"{type_name(value)}{{{', '.join(f'{go_syntax(k)}:{go_syntax(v)}' for k, v in sorted_items(value))}}}"
        )
    if isinstance(value, Struct):
        fields = ", ".join(f"{name}:{go_syntax(item)}" for name, item in value.fields.items())
        return f"{'&' if value.pointer else ''}{value.name}{{{fields}}}"
    return f"({value.type})(nil)" if isinstance(value, Nil) else show(value)
