"""``--format`` of commands that show one object: ``inspect``, ``info``, ``version``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swapbox.cli.app import ClientError

if TYPE_CHECKING:
    from swapbox.templates.values import Struct


def structs(document: Mapping[str, Any], type: str) -> Struct:
    """Return a document as a Go struct whose objects are structs, too, and its lists of texts ``[]string``.

    :param type: Go's name of the outermost; the others are named after their fields.
    """
    from swapbox.templates.values import Slice, Struct

    def value(item: Any, name: str) -> Any:
        if isinstance(item, Mapping):
            return structs(item, f"system.{name}")
        if isinstance(item, list):
            texts = all(isinstance(one, str) for one in item)
            return Slice((value(one, name) for one in item), "[]string" if texts else f"[]system.{name}")
        return item

    fields = {name: value(item, name) for name, item in document.items()}
    return Struct(type, fields, pointer=False)


class ObjectFormat:
    """A template for single objects; ``json`` is short for ``{{json .}}``.

    :param name: of the template, which messages show; ``version`` has one.
    :raises ClientError: it cannot be read; Docker's client ends with 64 then.
    """

    def __init__(self, text: str, *, name: str = "") -> None:
        from swapbox.templates import Template, TemplateError

        try:
            self._template = Template("{{json .}}" if text == "json" else text, name=name)
        except TemplateError as error:
            raise ClientError(f"template parsing error: {error.message}", code=64) from None

    def render(self, value: Any, *, plain: Any = None) -> str:
        """Return what is printed of an object.

        :param plain: the object as JSON has it, tried when the template does not fit ``value``: that is how Docker
            shows what its client has no name for.
        :raises ClientError: the template does not fit.
        """
        from swapbox.templates import TemplateError

        try:
            return self._template.render(value)
        except TemplateError as error:
            if plain is None:
                raise ClientError(error.message) from None
        try:
            return self._template.render(plain, strict=True)
        except TemplateError as error:
            raise ClientError(f"template parsing error: {error.message}") from None
