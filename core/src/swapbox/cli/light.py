"""Importing pathlib and click without the standard modules that they want for what hardly any command does.

``urllib.parse`` is there for ``Path.as_uri``, ``inspect`` (with ``ast``, ``dis`` and ``tokenize``) for indented
help texts, ``uuid`` (with ``platform``) for options that are UUIDs, ``gettext`` (with ``locale``) to look on the
disk for translations that click does not have: together 12 ms of every command. While pathlib and click are
imported, something stands in for them that imports the real module when it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _StandIn(ModuleType):
    """Stands in for a module: has some functions of it, and gets whatever else from the real one."""

    def __init__(self, name: str, **functions: Callable[..., Any]) -> None:
        super().__init__(name)
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system looks for these
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    from importlib import import_module

    if isinstance(sys.modules.get(name), _StandIn):
        del sys.modules[name]
    return import_module(name)


def _quote_from_bytes(data: bytes) -> Any:
    return _real("urllib.parse").quote_from_bytes(data)


def _cleandoc(text: str) -> Any:
    if "\n" in text:
        return _real("inspect").cleandoc(text)
    return text.expandtabs().lstrip()


class _Uuid:
    """Stands in for ``uuid.UUID`` where click names it as a type, and nowhere else."""


def _untranslated(text: str) -> str:
    return text


def _counted(singular: str, plural: str, number: int) -> str:
    return singular if number == 1 else plural


def import_pathlib() -> None:
    """Import pathlib, which everything needs."""
    _import("pathlib", _StandIn("urllib.parse", quote_from_bytes=_quote_from_bytes))


def import_click() -> None:
    """Import click, which only the command line needs."""
    _import(
        "click",
        _StandIn("inspect", cleandoc=_cleandoc),
        _StandIn("gettext", gettext=_untranslated, ngettext=_counted),
        _StandIn("uuid", UUID=_Uuid),
    )
    types: Any = sys.modules["click.types"]
    if getattr(types.uuid, "UUID", None) is _Uuid:
        types.uuid = _StandIn("uuid")


def _import(name: str, *stand_ins: _StandIn) -> None:
    if name in sys.modules:
        return
    new = [one for one in stand_ins if one.__name__ not in sys.modules]
    for one in new:
        sys.modules[one.__name__] = one
    try:
        _real(name)
    finally:
        for one in new:
            if sys.modules.get(one.__name__) is one:
                del sys.modules[one.__name__]
