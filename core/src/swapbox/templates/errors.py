"""The one error of this package."""

from __future__ import annotations

from swapbox.errors import InvalidInput


class TemplateError(InvalidInput):
    """A template that cannot be read or, with this data, not be executed; the message has Go's words."""
