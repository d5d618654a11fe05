"""Which values fit which parameters of a function."""

from __future__ import annotations

from typing import Any

from swapbox.templates.nodes import Bool, Expression, Nil, Number, String
from swapbox.templates.values import MISSING, type_name

ANY = "interface {}"
_INT = range(-(1 << 63), 1 << 63)


class BadArgument(Exception):
    """A value does not fit; the message has Go's words."""


def constant(node: Expression, type: str = ANY) -> Any:
    """Return the value of a literal for a parameter.

    :raises BadArgument: it does not fit.
    """
    match node, type:
        case Nil(), "string" | "int":
            raise BadArgument(f"cannot assign nil to {type}")
        case Nil(), _:
            return None
        case String(value=value), "string" | "interface {}":
            return value
        case Bool(value=value), "interface {}":
            return value
        case Number(), "interface {}" | "int":
            return _number(node, type)
        case _, "string":
            raise BadArgument(f"expected string; found {node}")
        case _, "int":
            raise BadArgument(f"expected integer; found {node}")
    raise BadArgument(f"can't handle {node} for arg of type {type}")


def _number(node: Number, type: str) -> Any:
    value = node.value
    if isinstance(value, float) and type == "int" and value.is_integer():
        value = int(value)  # Go takes 1e3 for an integer, too
    if isinstance(value, int) and value not in _INT:
        raise BadArgument(f"integer overflow; found {node}" if type == "int" else f"{node} overflows int")
    if type == "int" and not isinstance(value, int):
        raise BadArgument(f"expected integer; found {node}")
    return value


def check(value: Any, type: str) -> Any:
    """Return a value as it is passed for a parameter.

    :raises BadArgument: it does not fit.
    """
    if type == ANY:
        return value
    if value is None or value is MISSING:
        if type.startswith("["):
            return []
        raise BadArgument(f"invalid value; expected {type}")
    fits = {
        "string": isinstance(value, str),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "[]string": type_name(value) == "[]string",
    }
    if not fits[type]:
        raise BadArgument(f"wrong type for value; expected {type}; got {type_name(value)}")
    return value
