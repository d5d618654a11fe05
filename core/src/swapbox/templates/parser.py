"""From tokens to a syntax tree, by the grammar and with the messages of Go's text/template/parse."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from swapbox.templates.expressions import Expressions
from swapbox.templates.lexer import KEYWORDS, Token
from swapbox.templates.nodes import Action, Branch, Call, Leave, Node, Text


class _Mark(NamedTuple):
    """``{{end}}`` or ``{{else}}``, which end a list of nodes."""

    kind: str


class Parser(Expressions):
    """Reads one template.

    :param functions: names that may be called.
    :param name: of the template, for messages.
    """

    def __init__(self, text: str, functions: Collection[str], name: str = "") -> None:
        super().__init__(text, functions, name)
        self._loops = 0
        self.defined: dict[str, tuple[Node, ...]] = {}

    def parse(self) -> tuple[Node, ...]:
        """Return the tree; what ``{{define}}`` defines is in ``defined``.

        :raises TemplateError: it is no template.
        """
        nodes: list[Node] = []
        while self._peek().type != "eof":
            if self._defines():
                self._define()
                continue
            node = self._node()
            if isinstance(node, _Mark):
                raise self._error(f"unexpected {{{{{node.kind}}}}}")
            nodes.append(node)
        return tuple(nodes)

    # -- statements ---------------------------------------------------------------------------------------------

    def _node(self) -> Node | _Mark:
        token = self._next_word()
        if token.type == "text":
            return Text(token.text)
        if token.type != "left":
            raise self._unexpected(token, "input")
        self._action_line = self._line(token)
        try:
            return self._action()
        finally:
            self._action_line = 0

    def _action(self) -> Node | _Mark:
        token = self._skip_space()
        if token.type in KEYWORDS - {"nil"}:
            self._next()
            if token.type in {"if", "with", "range"}:
                return self._branch(token)
            if token.type in {"break", "continue"}:
                return self._leave(token)
            if token.type == "end":
                self._expect("right", "end")
                return _Mark("end")
            if token.type == "else":
                return self._else()
            if token.type == "template":
                return self._call(token)
            if token.type == "block":
                return self._block(token)
            raise self._unexpected(token, "command")
        return Action(self._pipeline("command", "right"))

    def _else(self) -> _Mark:
        if self._skip_space().type not in {"if", "with"}:
            self._expect("right", "else")
        return _Mark("else")

    def _leave(self, token: Token) -> Leave:
        if (after := self._next_word()).type != "right":
            raise self._unexpected(after, f"{{{{{token.type}}}}}")
        if not self._loops:
            raise self._error(f"{{{{{token.type}}}}} outside {{{{range}}}}")
        return Leave(token.type)

    def _branch(self, token: Token) -> Branch:
        self._nest(1)
        known, kind = len(self._variables), token.type
        pipe = self._pipeline(kind, "right")
        self._loops += kind == "range"
        body, mark = self._list()
        self._loops -= kind == "range"
        otherwise: tuple[Node, ...] = ()
        if mark == "else":
            after = self._peek()
            if kind in {"if", "with"} and after.type == kind:
                self._next()
                otherwise = (self._branch(after),)
            else:
                otherwise, mark = self._list()
                if mark != "end":
                    raise self._error(f"expected end; found {{{{{mark}}}}}")
        del self._variables[known:]
        self._nest(-1)
        return Branch(kind, token.position, pipe, body, otherwise)

    def _list(self) -> tuple[tuple[Node, ...], str]:
        nodes: list[Node] = []
        while self._skip_space().type != "eof":
            node = self._node()
            if isinstance(node, _Mark):
                return tuple(nodes), node.kind
            nodes.append(node)
        self._next()
        raise self._error("unexpected EOF")

    # -- other templates ----------------------------------------------------------------------------------------

    def _defines(self) -> bool:
        rest = [token.type for token in self._tokens[self._at : self._at + 3] if token.type != "space"]
        return rest[:2] == ["left", "define"]

    def _define(self) -> None:
        while self._next().type != "define":
            pass
        name = self._name("define clause")
        self._expect("right", "define clause")
        self._store(name)

    def _store(self, name: str) -> None:
        outer, self._variables = self._variables, ["$"]
        body, mark = self._list()
        if mark != "end":
            raise self._error(f"unexpected {{{{{mark}}}}} in define clause")
        self._variables = outer
        self.defined[name] = body

    def _name(self, context: str) -> str:
        token = self._next_word()
        if token.type != "string":
            raise self._unexpected(token, context)
        return self._string(token).value

    def _call(self, token: Token) -> Call:
        position = self._skip_space().position
        name, pipe = self._name("template clause"), None
        if self._skip_space().type == "right":
            self._next()
        else:
            pipe = self._pipeline("template clause", "right")
        return Call(position, name, pipe)

    def _block(self, token: Token) -> Call:
        position = self._skip_space().position
        name = self._name("block clause")
        pipe = self._pipeline("block clause", "right")
        self._store(name)
        return Call(position, name, pipe)
