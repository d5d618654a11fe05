"""The value of a template's expressions, by the rules and with the messages of Go's text/template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from swapbox.templates.arguments import BadArgument, check, constant
from swapbox.templates.errors import TemplateError
from swapbox.templates.functions import ANY, Function, FunctionError
from swapbox.templates.literals import quote, to_bytes
from swapbox.templates.nodes import (
    Chain,
    Command,
    Dot,
    Expression,
    Field,
    Identifier,
    Nil,
    Pipe,
    Variable,
    is_constant,
)
from swapbox.templates.values import MISSING, Map, Struct, is_true, type_name
from swapbox.templates.values import Nil as NilPointer

_NONE = object()
"""Nothing was piped into a command."""


class Value(NamedTuple):
    """A value, and whether Go knows it as ``interface {}`` only, which some messages show."""

    value: Any
    boxed: bool = False


class Evaluator:
    """Evaluates expressions; knows the variables.

    :param text: the template's source, for the position in messages.
    :param strict: a missing key of a map is an error.
    """

    def __init__(
        self,
        text: str,
        functions: Mapping[str, Function],
        *,
        name: str = "",
        strict: bool,
    ) -> None:
        self._text = text
        self._functions = functions
        self._strict = strict
        self._node: Any = None
        self._name = self._file = name
        self._variables: list[tuple[str, Value]] = []

    def _error(self, message: str) -> TemplateError:
        place = ""
        if self._node is not None:
            before = self._text[: self._node.position]
            line, column = before.count("\n") + 1, len(to_bytes(before.rpartition("\n")[2]))
            place = f"{self._file}:{line}:{column}: executing {quote(self._name)} at <{self._node}>"
        return TemplateError(f"template: {place}: {message}")

    def _assign(self, name: str, value: Value) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return
        raise self._error(f"undefined variable: {name}")

    def _pipeline(self, dot: Value, pipe: Pipe) -> Value:
        self._node = pipe
        value: Any = _NONE
        for command in pipe.commands:
            value = self._command(dot, command, value).value
        result = Value(value)
        for variable in pipe.variables:
            if pipe.assigns:
                self._assign(variable.name, result)
            else:
                self._variables.append((variable.name, result))
        return result

    def _command(self, dot: Value, command: Command, final: Any) -> Value:
        first = command.args[0]
        match first:
            case Field():
                self._node = first
                return self._chain(dot, dot, first.names, command.args, final)
            case Chain():
                return self._chained(dot, first, command.args, final)
            case Identifier():
                return self._function(dot, first, command, final)
            case Variable() if first.names:
                self._node = first
                return self._chain(dot, self._look_up(first.name), first.names, command.args, final)
        if not isinstance(first, Pipe):
            self._node = first
        if len(command.args) > 1 or final is not _NONE:
            raise self._error(f"can't give argument to non-function {first}")
        if isinstance(first, Nil):
            raise self._error("nil is not a command")
        return self._operand(dot, first)

    def _look_up(self, name: str) -> Value:
        found: list[Value] = [value for known, value in self._variables if known == name]
        if not found:
            raise self._error(f"undefined variable: {name}")
        return found[-1]

    def _operand(self, dot: Value, node: Expression) -> Value:
        """Return the value of something that stands alone or is an argument."""
        self._node = node if not isinstance(node, Pipe) else self._node
        match node:
            case Dot():
                return dot
            case Field():
                return self._chain(dot, dot, node.names, (node,), _NONE)
            case Variable():
                return self._chain(dot, self._look_up(node.name), node.names, (node,), _NONE)
            case Chain():
                return self._chained(dot, node, (node,), _NONE)
            case Pipe():
                return self._pipeline(dot, node)
            case Identifier():
                return self._function(dot, node, node, _NONE)
        try:
            return Value(constant(node))
        except BadArgument as error:
            raise self._error(str(error)) from None

    def _chained(self, dot: Value, node: Chain, args: tuple[Expression, ...], final: Any) -> Value:
        self._node = node
        if isinstance(node.node, Nil):
            raise self._error(f"indirection through explicit nil in {node}")
        receiver = self._operand(dot, node.node)
        return self._chain(dot, receiver, node.names, args, final)

    def _chain(
        self,
        dot: Value,
        receiver: Value,
        names: tuple[str, ...],
        args: tuple[Expression, ...],
        final: Any,
    ) -> Value:
        for at, name in enumerate(names):
            last = at == len(names) - 1
            receiver = self._field(dot, receiver, name, args if last else args[:1], final if last else _NONE)
        return receiver

    def _field(self, dot: Value, receiver: Value, name: str, args: tuple[Expression, ...], final: Any) -> Value:
        value, boxed = receiver
        if value is MISSING or (value is None and not boxed):
            if self._strict:
                raise self._error(f"nil data; no entry for key {quote(name)}")
            return Value(MISSING)
        if value is None:
            raise self._error(f"nil pointer evaluating interface {{}}.{name}")
        has_arguments = len(args) > 1 or final is not _NONE
        method = getattr(value, "methods", {}).get(name)
        if method is not None:
            function = Function(method.call, method.params)
            return self._call(dot, name, function, self._node, args, final)
        if isinstance(value, Struct) and name in value.fields:
            if has_arguments:
                raise self._error(f"{name} has arguments but cannot be invoked as function")
            return Value(value.fields[name])
        if isinstance(value, dict):
            if has_arguments:
                raise self._error(f"{name} is not a method but has arguments")
            return self._entry(value, name)
        if isinstance(value, NilPointer):
            raise self._error(f"nil pointer evaluating {value.type}.{name}")
        raise self._error(f"can't evaluate field {name} in type {'interface {}' if boxed else type_name(value)}")

    def _entry(self, value: dict[str, Any], name: str) -> Value:
        if name in value:
            return Value(value[name], not isinstance(value, Map))
        if self._strict:
            raise self._error(f"map has no entry for key {quote(name)}")
        return Value(MISSING)

    # -- calls --------------------------------------------------------------------------------------------------

    def _function(self, dot: Value, node: Identifier, command: Command | Identifier, final: Any) -> Value:
        self._node = node
        args = command.args if isinstance(command, Command) else (node,)
        return self._call(dot, node.name, self._functions[node.name], command, args, final)

    def _call(
        self,
        dot: Value,
        name: str,
        function: Function,
        node: Any,
        args: tuple[Expression, ...],
        final: Any,
    ) -> Value:
        given = args[1:]
        self._check_count(name, function, len(given), len(given) + (final is not _NONE))
        if name in ("and", "or") and self._functions.get(name) is function:
            return self._first_that_decides(dot, given, final, name == "or")
        types = (*function.params, *[function.more] * (len(given) + 1))
        values = [self._argument(dot, node, type) for node, type in zip(given, types, strict=False)]
        if final is not _NONE:
            values.append(self._checked(final, types[len(given)]))
        try:
            return Value(function.call(*values))
        except FunctionError as error:
            self._node = node
            raise self._error(f"error calling {name}: {error}") from None

    def _check_count(self, name: str, function: Function, typed: int, given: int) -> None:
        want = len(function.params)
        if function.more:
            if given < want:
                raise self._error(f"wrong number of args for {name}: want at least {want} got {typed}")
        elif given != want:
            raise self._error(f"wrong number of args for {name}: want {want} got {given}")

    def _first_that_decides(self, dot: Value, given: tuple[Expression, ...], final: Any, wanted: object) -> Value:
        value = Value(MISSING)
        for node in given:
            value = Value(self._argument(dot, node, ANY))
            if is_true(value.value) == wanted:
                return value
        return value if final is _NONE else Value(final)

    def _argument(self, dot: Value, node: Expression, type: str) -> Any:
        self._node = node
        if is_constant(node) and not isinstance(node, Dot):
            try:
                return constant(node, type)
            except BadArgument as error:
                raise self._error(str(error)) from None
        value, boxed = self._operand(dot, node)
        if value is None and boxed and type != ANY:
            raise self._error(f"wrong type for value; expected {type}; got {ANY}")
        return self._checked(value, type)

    def _checked(self, value: Any, type: str) -> Any:
        try:
            return check(value, type)
        except BadArgument as error:
            raise self._error(str(error)) from None
