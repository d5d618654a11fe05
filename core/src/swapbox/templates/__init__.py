"""Go's text/template with docker's functions: what ``--format`` takes.

::

    Template("{{.Name}} has {{len .Mounts}} mounts").render({"Name": "web", "Mounts": []})

It follows https://pkg.go.dev/text/template in what it prints and in how it words mistakes. Data are plain Python
values, or those of :mod:`swapbox.templates.values` where Go's types show. Nothing here is imported by a command
that was not asked for a format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swapbox.templates.errors import TemplateError
from swapbox.templates.execute import Run
from swapbox.templates.functions import DOCKER, GO, Function
from swapbox.templates.parser import Parser

__all__ = ["DOCKER", "Function", "Template", "TemplateError"]


class Template:
    """One template, ready to be used for any number of values.

    :param name: what messages call it; Docker's are mostly without.
    :param functions: docker's, unless given; those of Go are always there.
    :raises TemplateError: it cannot be read; the message starts with ``template:``, as Go's does.
    """

    def __init__(self, text: str, *, functions: Mapping[str, Function] = DOCKER, name: str = "") -> None:
        self._text = text
        self._name = name
        self._functions = {**GO, **functions}
        parser = Parser(text, self._functions, name)
        try:
            self._tree = parser.parse()
        except RecursionError:
            raise TemplateError(f"template: {name}:1: more levels of nesting than fit") from None
        self._defined = parser.defined

    def render(self, data: Any, *, strict: bool = False) -> str:
        """Return what the template prints for a value.

        :param strict: a key that a map does not have is an error; otherwise it is ``<no value>``.
        :raises TemplateError: the value does not fit the template.
        """
        run = Run(self._text, self._functions, self._defined, name=self._name, strict=strict)
        return run.run(self._tree, data)
