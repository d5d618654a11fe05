"""``--format`` of commands that show one object: ``inspect``, ``info``, ``version``."""

from __future__ import annotations

from typing import Any

from swapbox.cli.app import ClientError


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
