"""The functions a template can call: those of Go's text/template and those docker adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from swapbox.templates.literals import to_bytes, to_text
from swapbox.templates.printing import show, sprint, sprintf
from swapbox.templates.values import MISSING, Map, Method, Slice, is_basic, is_true, length, to_json, type_name

ANY = "interface {}"
_MOST = 1 << 20


class FunctionError(Exception):
    """A function was called with what it cannot use; the message has Go's words."""


class Function(NamedTuple):
    """One function.

    :param params: Go's types of its parameters: ``string``, ``int``, ``[]string``, ``interface {}``.
    :param more: the type of any number of further ones; empty for none.
    """

    call: Callable[..., Any]
    params: tuple[str, ...] = ()
    more: str = ""


# -- collections ------------------------------------------------------------------------------------------------


def _index(item: Any, *keys: Any) -> Any:
    if item is None or item is MISSING:
        raise FunctionError("index of untyped nil")
    for key in keys:
        item = _indexed(item, key)
    return item


def _indexed(item: Any, key: Any) -> Any:
    if item is None or item is MISSING:
        raise FunctionError("index of nil pointer")
    if isinstance(item, dict):
        if not isinstance(key, str):
            raise FunctionError(f"value has type {type_name(key)}; should be string")
        return item.get(key, item.zero if isinstance(item, Map) else None)
    if (size := length(item)) is None:
        raise FunctionError(f"can't index item of type {type_name(item)}")
    at = _position(key, size - 1)
    return to_bytes(item)[at] if isinstance(item, str) else item[at]


def _position(key: Any, most: int) -> int:
    if key is None or key is MISSING:
        raise FunctionError("cannot index slice/array with nil")
    if not isinstance(key, int) or isinstance(key, bool):
        raise FunctionError(f"cannot index slice/array with type {type_name(key)}")
    if not 0 <= key <= most:
        raise FunctionError(f"index out of range: {key}")
    return key


def _slice(item: Any, *bounds: Any) -> Any:
    if item is None or item is MISSING:
        raise FunctionError("slice of untyped nil")
    if len(bounds) > 3:
        raise FunctionError(f"too many slice indexes: {len(bounds)}")
    size = length(item)
    if size is None or isinstance(item, dict):
        raise FunctionError(f"can't slice item of type {type_name(item)}")
    if isinstance(item, str) and len(bounds) == 3:
        raise FunctionError("cannot 3-index slice a string")
    places = [_position(bound, size) for bound in bounds]
    start, end = places[0] if places else 0, places[1] if len(places) > 1 else size
    if start > end:
        raise FunctionError(f"invalid slice index: {start} > {end}")
    if len(places) == 3 and end > places[2]:
        raise FunctionError(f"invalid slice index: {end} > {places[2]}")
    if isinstance(item, str):
        return to_text(to_bytes(item)[start:end])
    return Slice(item[start:end], type_name(item))


def _len(item: Any) -> int:
    if item is None or item is MISSING:
        raise FunctionError("reflect: call of reflect.Value.Type on zero Value")
    if (size := length(item)) is None:
        raise FunctionError(f"len of type {type_name(item)}")
    return size


# -- comparisons ------------------------------------------------------------------------------------------------


def _kind(value: Any) -> str:
    if not is_basic(value):
        raise FunctionError("invalid type for comparison")
    kinds = ((bool, "bool"), (int, "int"), (float, "float"), (complex, "complex"))
    return next((name for python, name in kinds if isinstance(value, python)), "string")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    results = [_equal(first, other) for other in others]  # a mistake shows though an earlier one is equal
    return True in results


def _equal(first: Any, second: Any) -> bool:
    nothing = (None, MISSING)
    if first in nothing or second in nothing:
        return first in nothing and second in nothing
    if is_basic(first) and is_basic(second):
        if _kind(first) != _kind(second):
            raise FunctionError("incompatible types for comparison")
        return bool(first == second)
    for value in (first, second):
        if isinstance(value, (list, tuple, dict)):
            raise FunctionError(f"non-comparable type {show(value)}: {type_name(value)}")
    if type_name(first) != type_name(second):
        raise FunctionError("incompatible types for comparison")
    return first is second


def _less(first: Any, second: Any) -> bool:
    kinds = (_kind(first), _kind(second))
    if kinds[0] != kinds[1]:
        raise FunctionError("incompatible types for comparison")
    if kinds[0] in ("bool", "complex"):
        raise FunctionError("invalid type for comparison")
    return to_bytes(first) < to_bytes(second) if kinds[0] == "string" else bool(first < second)


def _less_or_equal(first: Any, second: Any) -> bool:
    return _less(first, second) or _equal(first, second)


# -- texts ------------------------------------------------------------------------------------------------------

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"})
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def _text(values: tuple[Any, ...]) -> str:
    return sprint(["<no value>" if value in (None, MISSING) else value for value in values])


def _js(char: str) -> str:
    code = ord(char)
    if char in _JS:
        return _JS[char]
    return char if code >= 32 and (char.isascii() or char.isprintable()) else f"\\u{code:04X}"


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(to_bytes(_text(values)), safe="~")


def _pad(text: str, before: int, after: int) -> str:
    if not text:
        return text
    if max(before, after) > _MOST or min(before, after) < 0:
        raise FunctionError("strings: negative Repeat count" if min(before, after) < 0 else "too many spaces")
    return " " * before + text + " " * after


def _truncate(text: str, most: int) -> str:
    data = to_bytes(text)
    if len(data) < most:
        return text
    if most < 0:
        raise FunctionError(f"runtime error: slice bounds out of range [:{most}]")
    return to_text(data[:most])


def _title(text: str) -> str:
    out, inside = [], False
    for char in text:
        out.append(char if inside else char.upper())
        inside = char.isalnum() or char == "_" or (not char.isascii() and not char.isspace())
    return "".join(out)


def _split(text: str, separator: str) -> Slice:
    return Slice(text.split(separator) if separator else list(text), "[]string")


def _call(function: Any, *args: Any) -> Any:
    if function is None or function is MISSING:
        raise FunctionError("call of nil")
    if not isinstance(function, Method):
        raise FunctionError(f"non-function {show(function)} of type {type_name(function)}")
    if len(args) != len(function.params):
        raise FunctionError(f"wrong number of args: got {len(args)} want {len(function.params)}")
    return function.call(*args)


GO: Mapping[str, Function] = {
    "and": Function(
        lambda *values: values[-1], (ANY,), ANY
    ),  # and "or": the evaluator stops at the first that decides
    "or": Function(lambda *values: values[-1], (ANY,), ANY),
    "call": Function(_call, (ANY,), ANY),
    "eq": Function(_eq, (ANY,), ANY),
    "ge": Function(lambda a, b: not _less(a, b), (ANY, ANY)),
    "gt": Function(lambda a, b: not _less_or_equal(a, b), (ANY, ANY)),
    "html": Function(lambda *values: _text(values).translate(_HTML), (), ANY),
    "index": Function(_index, (ANY,), ANY),
    "js": Function(lambda *values: "".join(map(_js, _text(values))), (), ANY),
    "le": Function(_less_or_equal, (ANY, ANY)),
    "len": Function(_len, (ANY,)),
    "lt": Function(_less, (ANY, ANY)),
    "ne": Function(lambda a, b: not _equal(a, b), (ANY, ANY)),
    "not": Function(lambda value: not is_true(value), (ANY,)),
    "print": Function(lambda *values: sprint(values), (), ANY),
    "printf": Function(lambda template, *values: sprintf(template, values), ("string",), ANY),
    "println": Function(lambda *values: " ".join(map(show, values)) + "\n", (), ANY),
    "slice": Function(_slice, (ANY,), ANY),
    "urlquery": Function(_urlquery, (), ANY),
}

DOCKER: Mapping[str, Function] = {
    "json": Function(to_json, (ANY,)),
    "split": Function(_split, ("string", "string")),
    "join": Function(lambda items, separator: separator.join(items), ("[]string", "string")),
    "title": Function(_title, ("string",)),
    "lower": Function(str.lower, ("string",)),
    "upper": Function(str.upper, ("string",)),
    "pad": Function(_pad, ("string", "int", "int")),
    "truncate": Function(_truncate, ("string", "int")),
}
