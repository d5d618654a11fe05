"""The expressions of a template: pipelines, commands, operands; the base of the parser."""

from __future__ import annotations

from collections.abc import Collection

from swapbox.templates.errors import TemplateError
from swapbox.templates.lexer import KEYWORDS, Token, tokens
from swapbox.templates.literals import number, quote, unquote
from swapbox.templates.nodes import (
    Bool,
    Chain,
    Command,
    Dot,
    Expression,
    Field,
    Identifier,
    Nil,
    Number,
    Pipe,
    String,
    Variable,
    is_constant,
    names_of,
)

_OPERANDS = {
    "bool",
    "character",
    "complex",
    ".",
    "field",
    "identifier",
    "number",
    "nil",
    "string",
    "variable",
    "(",
}
_MOST_NESTED = 100


class Expressions:
    """Reads expressions from the tokens of a template.

    :param functions: names that may be called.
    :param name: of the template, for messages.
    """

    def __init__(self, text: str, functions: Collection[str], name: str = "") -> None:
        self._text = text
        self._file = name
        self._functions = functions
        self._tokens = tokens(text)
        self._at = 0
        self._variables = ["$"]
        self._depth = 0
        self._action_line = 0

    # -- tokens -------------------------------------------------------------------------------------------------

    def _peek(self) -> Token:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _skip_space(self) -> Token:
        while self._peek().type == "space":
            self._at += 1
        return self._peek()

    def _next_word(self) -> Token:
        self._skip_space()
        return self._next()

    def _expect(self, type: str, context: str) -> Token:
        token = self._next_word()
        if token.type != type:
            raise self._unexpected(token, context)
        return token

    def _line(self, token: Token) -> int:
        return 1 + self._text.count("\n", 0, token.position)

    def _error(self, message: str) -> TemplateError:
        line = self._line(self._tokens[min(max(self._at - 1, 0), len(self._tokens) - 1)])
        return TemplateError(f"template: {self._file}:{line}: {message}")

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        if token.type != "error":
            return self._error(f"unexpected {_show(token)} in {context}")
        extra = ""
        if self._action_line and self._action_line != self._line(token):
            extra = f" in action started at {self._file}:{self._action_line}"
            if token.text.endswith(" action"):
                extra = extra.removeprefix(" in action")
        return self._error(token.text + extra)

    def _nest(self, step: int) -> None:
        """Keep hostile templates from using up the interpreter's stack."""
        self._depth += step
        if self._depth > _MOST_NESTED:
            raise self._error(f"more than {_MOST_NESTED} levels of nesting")

    # -- expressions --------------------------------------------------------------------------------------------

    def _pipeline(self, context: str, end: str) -> Pipe:
        self._nest(1)
        position = self._skip_space().position
        variables, assigns = self._declarations(context)
        commands = []
        while (token := self._next_word()).type != end:
            if token.type not in _OPERANDS:
                raise self._unexpected(token, context)
            self._at -= 1
            commands.append(self._command())
        if not commands:
            raise self._error(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], start=2):
            if is_constant(command.args[0]):
                raise self._error(f"non executable command in pipeline stage {stage}")
        self._nest(-1)
        return Pipe(position, variables, assigns, tuple(commands))

    def _declarations(self, context: str) -> tuple[tuple[Variable, ...], bool]:
        found: list[Variable] = []
        while (token := self._skip_space()).type == "variable":
            start = self._at
            self._next()
            after = self._skip_space()
            if after.type not in {"=", ":=", ","}:
                self._at = start
                break
            self._next()
            found.append(Variable(token.position, token.text))
            self._variables.append(token.text)
            if after.type != ",":
                return tuple(found), after.type == "="
            if context != "range" or len(found) >= 2:
                raise self._error(f"too many declarations in {context}")
            if self._skip_space().type not in {"variable", "right", ")"}:
                raise self._error("range can only initialize variables")
        return tuple(found), False

    def _command(self) -> Command:
        position, args = self._skip_space().position, []
        while True:
            self._skip_space()
            if (operand := self._operand()) is not None:
                args.append(operand)
            token = self._next()
            if token.type == "space":
                continue
            if token.type in {"right", ")"}:
                self._at -= 1
            elif token.type != "|":
                raise self._unexpected(token, "operand")
            break
        if not args:
            raise self._error("empty command")
        return Command(position, tuple(args))

    def _operand(self) -> Expression | None:
        node = self._term()
        if node is None or self._peek().type != "field":
            return node
        position, names = self._peek().position, []
        while self._peek().type == "field":
            names.append(self._next().text)
        if isinstance(node, Field):
            return Field(position, node.names + names_of(names))
        if isinstance(node, Variable):
            return Variable(position, node.name, node.names + names_of(names))
        if is_constant(node):
            raise self._error(f"unexpected . after term {quote(str(node))}")
        return Chain(position, node, names_of(names))

    def _term(self) -> Expression | None:
        token = self._next_word()
        position = token.position
        match token.type:
            case "identifier":
                if token.text not in self._functions:
                    raise self._error(f"function {quote(token.text)} not defined")
                return Identifier(position, token.text)
            case ".":
                return Dot(position)
            case "nil":
                return Nil(position)
            case "variable":
                return self._variable(token)
            case "field":
                return Field(position, names_of([token.text]))
            case "bool":
                return Bool(position, token.text == "true")
            case "character" | "complex" | "number":
                return self._number(token)
            case "(":
                return self._pipeline("parenthesized pipeline", ")")
            case "string":
                return self._string(token)
        self._at -= 1
        return None

    def _variable(self, token: Token) -> Variable:
        if token.text not in self._variables:
            raise self._error(f"undefined variable {quote(token.text)}")
        return Variable(token.position, token.text)

    def _number(self, token: Token) -> Number:
        try:
            return Number(token.position, token.text, number(token.text))
        except ValueError as error:
            raise self._error(str(error)) from None

    def _string(self, token: Token) -> String:
        try:
            return String(token.position, token.text, unquote(token.text))
        except ValueError as error:
            raise self._error(str(error)) from None


def _show(token: Token) -> str:
    if token.type == "eof":
        return "EOF"
    if token.type in KEYWORDS or token.type == ".":
        return f"<{token.text}>"
    return f"{quote(token.text[:10])}..." if len(token.text) > 10 else quote(token.text)
