"""Carries out the statements of a template: prints, branches, loops, calls of other templates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from swapbox.templates.errors import TemplateError
from swapbox.templates.evaluate import Evaluator, Value
from swapbox.templates.functions import Function
from swapbox.templates.literals import quote
from swapbox.templates.nodes import Action, Branch, Call, Leave, Node, Pipe, Text
from swapbox.templates.printing import show, to_print
from swapbox.templates.values import MISSING, Map, Method, Slice, is_true, sorted_items


class _Break(Exception):
    """``{{break}}``"""


class _Continue(Exception):
    """``{{continue}}``"""


class Run(Evaluator):
    """One execution.

    :param text: the template's source, for the position in messages.
    :param defined: templates by name.
    :param strict: a missing key of a map is an error.
    """

    def __init__(
        self,
        text: str,
        functions: Mapping[str, Function],
        defined: Mapping[str, tuple[Node, ...]],
        *,
        name: str = "",
        strict: bool,
    ) -> None:
        super().__init__(text, functions, name=name, strict=strict)
        self._defined = defined
        self._out: list[str] = []

    def run(self, tree: tuple[Node, ...], data: Any) -> str:
        """Return what the template prints.

        :raises TemplateError: the data does not fit.
        """
        self._variables = [("$", Value(data))]
        try:
            self._walk(tree, Value(data))
        except RecursionError:
            raise TemplateError("template: exceeded maximum template depth") from None
        return "".join(self._out)

    # -- statements ---------------------------------------------------------------------------------------------

    def _walk(self, nodes: tuple[Node, ...], dot: Value) -> None:
        for node in nodes:
            match node:
                case Text():
                    self._out.append(node.text)
                case Action():
                    value = self._pipeline(dot, node.pipe)
                    if not node.pipe.variables:
                        self._print(value.value)
                case Branch(kind="range"):
                    self._range(dot, node)
                case Branch():
                    self._if_or_with(dot, node)
                case Leave():
                    raise _Break if node.kind == "break" else _Continue
                case Call():
                    self._template(dot, node)

    def _print(self, value: Any) -> None:
        if isinstance(value, Method):
            raise self._error(f"can't print {self._node} of type func()")
        self._out.append(to_print(value))

    def _if_or_with(self, dot: Value, node: Branch) -> None:
        known = len(self._variables)
        value = self._pipeline(dot, node.pipe)
        if is_true(value.value):
            self._walk(node.body, value if node.kind == "with" else dot)
        else:
            self._walk(node.otherwise, dot)
        del self._variables[known:]

    def _range(self, dot: Value, node: Branch) -> None:
        known = len(self._variables)
        self._node = node
        pairs = self._pairs(self._pipeline(dot, node.pipe).value, len(node.pipe.variables))
        inside, empty = len(self._variables), True
        try:
            for index, item in pairs:
                empty = False
                self._set_loop_variables(node.pipe, index, item)
                with contextlib.suppress(_Continue):
                    self._walk(node.body, item)
                del self._variables[inside:]
        except _Break:
            pass
        del self._variables[inside:]
        if empty:
            self._walk(node.otherwise, dot)
        del self._variables[known:]

    def _pairs(self, value: Any, variables: int) -> Iterator[tuple[Value, Value]]:
        if isinstance(value, dict):
            boxed = not isinstance(value, Map)
            return ((Value(key), Value(item, boxed)) for key, item in sorted_items(value))
        if isinstance(value, (list, tuple)):
            boxed = not isinstance(value, Slice)
            return ((Value(index), Value(item, boxed)) for index, item in enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if variables > 1:
                raise self._error(f"can't use {value} to iterate over more than one variable")
            return ((Value(index), Value(index)) for index in range(value))
        if value is None or value is MISSING:
            return iter(())
        raise self._error(f"range can't iterate over {show(value)}")

    def _set_loop_variables(self, pipe: Pipe, index: Value, item: Value) -> None:
        values = (item,) if len(pipe.variables) == 1 else (index, item)
        if pipe.assigns:
            for variable, value in zip(pipe.variables, values, strict=False):
                self._assign(variable.name, value)
        elif pipe.variables:
            self._variables[-len(pipe.variables) :] = [
                (variable.name, value) for variable, value in zip(pipe.variables, values, strict=True)
            ]

    def _template(self, dot: Value, node: Call) -> None:
        self._node = node
        if node.name not in self._defined:
            raise self._error(f"template {quote(node.name)} not defined")
        data = self._pipeline(dot, node.pipe) if node.pipe else Value(MISSING)
        outer = (self._variables, self._name)
        self._variables, self._name = [("$", data)], node.name
        self._walk(self._defined[node.name], data)
        self._variables, self._name = outer
