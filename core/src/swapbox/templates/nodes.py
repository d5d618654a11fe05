"""The syntax tree of a template. ``str()`` of an expression is what Go's messages show of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias


class Dot(NamedTuple):
    """``.``"""

    position: int

    def __str__(self) -> str:
        return "."


class Nil(NamedTuple):
    """``nil``"""

    position: int

    def __str__(self) -> str:
        return "nil"


class Bool(NamedTuple):
    """``true`` or ``false``"""

    position: int
    value: bool

    def __str__(self) -> str:
        return str(self.value).lower()


class Number(NamedTuple):
    """A number, also a character between single quotes; ``text`` as written."""

    position: int
    text: str
    value: int | float | complex

    def __str__(self) -> str:
        return self.text


class String(NamedTuple):
    """A quoted string; ``text`` as written."""

    position: int
    text: str
    value: str

    def __str__(self) -> str:
        return self.text


class Field(NamedTuple):
    """``.A.B``"""

    position: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


class Variable(NamedTuple):
    """``$x.A.B``"""

    position: int
    name: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name + "".join(f".{name}" for name in self.names)


class Identifier(NamedTuple):
    """The name of a function."""

    position: int
    name: str

    def __str__(self) -> str:
        return self.name


class Chain(NamedTuple):
    """``(...).A.B``"""

    position: int
    node: Expression
    names: tuple[str, ...]

    def __str__(self) -> str:
        return _term(self.node) + "".join(f".{name}" for name in self.names)


class Command(NamedTuple):
    """One part of a pipeline: a function and its arguments, or a value."""

    position: int
    args: tuple[Expression, ...]

    def __str__(self) -> str:
        return " ".join(map(_term, self.args))


class Pipe(NamedTuple):
    """``$x := a | b``; ``assigns`` for ``=``."""

    position: int
    variables: tuple[Variable, ...]
    assigns: bool
    commands: tuple[Command, ...]

    def __str__(self) -> str:
        sign = " = " if self.assigns else " := "
        names = ", ".join(map(str, self.variables))
        return (names + sign if names else "") + " | ".join(map(str, self.commands))


Expression: TypeAlias = Dot | Nil | Bool | Number | String | Field | Variable | Identifier | Chain | Pipe


class Text(NamedTuple):
    """What is printed as it is."""

    text: str


class Action(NamedTuple):
    """``{{pipeline}}``"""

    pipe: Pipe


class Branch(NamedTuple):
    """``if``, ``with`` or ``range``"""

    kind: str
    position: int
    pipe: Pipe
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]

    def __str__(self) -> str:
        return f"{{{{{self.kind} {self.pipe}}}}}"


class Leave(NamedTuple):
    """``break`` or ``continue``"""

    kind: str


class Call(NamedTuple):
    """``{{template "name" pipeline}}``"""

    position: int
    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        from swapbox.templates.literals import quote

        return f"{{{{template {quote(self.name)}" + (f" {self.pipe}" if self.pipe else "") + "}}"


Node: TypeAlias = Text | Action | Branch | Leave | Call


def _term(node: Expression) -> str:
    return f"({node})" if isinstance(node, Pipe) else str(node)


def is_constant(node: Expression) -> bool:
    """Say whether a node can never be called."""
    return isinstance(node, (Bool, Dot, Nil, Number, String))


def names_of(tokens: Iterable[str]) -> tuple[str, ...]:
    """Return field names without their dots."""
    return tuple(token[1:] for token in tokens)
