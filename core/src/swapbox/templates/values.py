"""Go's values as Python has them, and what ``text/template`` and ``fmt`` want to know of them.

Plain Python values stand for what Go reads from JSON without a type: ``dict`` is ``map[string]interface {}``,
``list`` is ``[]interface {}``, ``None`` is nil. The classes here add what Go's types know: a name, the order of
fields, zero values, pointers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from swapbox.templates.literals import to_bytes

MISSING = object()
"""No value at all: Go's ``reflect.Value{}`` for a map key that is not there."""


class Method(NamedTuple):
    """A method of an object.

    :param params: Go's types of the arguments: ``string``, ``int``, ``interface {}``.
    """

    call: Callable[..., Any]
    params: tuple[str, ...] = ()


class Slice(list[Any]):
    """A slice of a named type; ``type`` as Go prints it: ``[]string``. A nil slice is empty, and JSON's null."""

    def __init__(self, items: Iterable[Any] | None, type: str) -> None:
        super().__init__(items or ())
        self.type = type
        self.is_nil = items is None


class Map(dict[str, Any]):
    """A map of a named type.

    :param zero: what ``index`` finds for a key that is not there: ``""`` in a ``map[string]string``.
    :param methods: what can be called, besides.
    """

    def __init__(
        self,
        items: Mapping[str, Any] | None,
        type: str,
        *,
        zero: Any = None,
        methods: Mapping[str, Method] | None = None,
    ) -> None:
        super().__init__(items or {})
        self.type = type
        self.zero = zero
        self.methods = methods or {}
        self.is_nil = items is None


class Nil:
    """A nil pointer: its type is known, ``*container.Health``."""

    def __init__(self, type: str) -> None:
        self.type = type


class Time(str):
    """A ``time.Time`` as Go prints it; ``rfc3339`` as JSON has it."""

    __slots__ = ("rfc3339",)
    rfc3339: str


class Struct:
    """A struct: the fields of its type in order, with the values of ``document`` or zero values.

    :param type: without the pointer's star.
    :param fields: every field with its value.
    :param json: what JSON shows of it, where it is not all fields.
    :param pointer: it is behind a pointer.
    :param methods: more names; they go before fields.
    :param text: how the fields are printed, where the type has a method for it.
    :param escapes: its JSON has no ``<``, ``>`` and ``&``.
    """

    def __init__(
        self,
        type: str,
        fields: Mapping[str, Any],
        *,
        json: Mapping[str, Any] | None = None,
        pointer: bool = True,
        methods: Mapping[str, Method] | None = None,
        escapes: bool = False,
        text: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> None:
        self.name = type
        self.escapes = escapes
        self.text = text
        self.fields = fields
        self.json = fields if json is None else json
        self.pointer = pointer
        self.methods = methods or {}

    @property
    def type(self) -> str:
        """The type as Go prints it."""
        return ("*" if self.pointer else "") + self.name


def type_name(value: Any) -> str:
    """Return the type of a value as Go's ``%T`` prints it."""
    named = getattr(value, "type", None)
    if isinstance(named, str):
        return named
    for python, name in _NAMES:
        if isinstance(value, python):
            return name
    return "<nil>" if value is None or value is MISSING else "interface {}"


_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float64"),
    (complex, "complex128"),
    (Time, "time.Time"),
    (str, "string"),
    (list, "[]interface {}"),
    (tuple, "[]interface {}"),
    (dict, "map[string]interface {}"),
)


def is_true(value: Any) -> bool:
    """Say whether a value is not the empty one of its kind; structs always are."""
    if value is MISSING or value is None or isinstance(value, Nil):
        return False
    return True if isinstance(value, (Struct, Method)) else bool(value)


def is_basic(value: Any) -> bool:
    """Say whether a value is a bool, a number or a string."""
    return isinstance(value, (bool, int, float, complex, str))


def length(value: Any) -> int | None:
    """Return what Go's len says, of a string its bytes; None when it has none."""
    if isinstance(value, str):
        return len(to_bytes(value))
    return len(value) if isinstance(value, (list, tuple, dict)) else None


def sorted_items(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Return a map's items in the order Go prints and ranges over them."""
    return sorted(value.items(), key=lambda item: to_bytes(str(item[0])))


def to_json(value: Any) -> str:
    """Return a value as Go's encoding/json writes it, without escapes for HTML."""
    import json

    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))
    for char in "\u2028\u2029" + "<>&" * getattr(value, "escapes", False):
        text = text.replace(char, f"\\u{ord(char):04x}")
    return to_bytes(text).decode("utf-8", "replace")


def _plain(value: Any) -> Any:
    if value is MISSING or value is None or isinstance(value, Nil) or getattr(value, "is_nil", False):
        return None
    if isinstance(value, Time):
        return value.rfc3339
    if isinstance(value, Struct):
        return {name: _plain(item) for name, item in value.json.items()}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in sorted_items(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value
