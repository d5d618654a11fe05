"""The decorators of hook specifications and implementations.

They set the attributes that ``pluggy.HookspecMarker("swapbox")`` and ``pluggy.HookimplMarker("swapbox")`` would
set, so pluggy reads them (and theirs work here too), but importing pluggy, and with it ``inspect``, takes 10 ms
that a plugin's ``__init__`` must not cost every command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

PROJECT = "swapbox"

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def hookspec(function: FunctionT) -> FunctionT:
    """Mark a function of :mod:`swapbox.hookspecs` as a hook specification."""
    setattr(function, f"{PROJECT}_spec", {})
    return function


@overload
def hookimpl(function: FunctionT, /) -> FunctionT: ...


@overload
def hookimpl(
    *, tryfirst: bool = ..., trylast: bool = ..., optionalhook: bool = ...
) -> Callable[[FunctionT], FunctionT]: ...


def hookimpl(
    function: FunctionT | None = None,
    /,
    *,
    tryfirst: bool = False,
    trylast: bool = False,
    optionalhook: bool = False,
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """Mark a function as the implementation of the hook it is named after.

    :param tryfirst: call it before those of other plugins.
    :param trylast: call it after those of other plugins.
    :param optionalhook: a release that does not know this hook ignores it; without this that is an error.
    """

    def mark(function: FunctionT) -> FunctionT:
        options = {"tryfirst": tryfirst, "trylast": trylast, "optionalhook": optionalhook}
        setattr(function, f"{PROJECT}_impl", options)
        return function

    return mark if function is None else mark(function)
