"""Which events ``--filter`` lets through: Docker's keys, and how each of them compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from swapbox.errors import InvalidInput
from swapbox.references import Reference

if TYPE_CHECKING:
    from swapbox.store.events import Event

SCOPE = "local"
"""The scope of every event: there is one machine."""

_NAMED = ("daemon", "container", "plugin", "volume", "network", "service", "node", "secret", "config")
_WITH_DETAILS = frozenset({"health_status", "exec_create", "exec_start"})


def event_filter(filters: Mapping[str, Sequence[str]]) -> Callable[[Event], bool]:
    """Return what says whether an event fits: one value of each key, and all labels. Other keys say nothing.

    Kinds (``container``, ``volume``, ...) are compared with the beginning of the id and of the name, of events of
    any type; ``image`` with id and name as a whole, and without the tag.
    """
    tests: list[Callable[[Event], bool]] = []
    for key, values in filters.items():
        if key == "label":
            tests.extend(_label(value) for value in values)
        elif (test := _test(key, values)) is not None:
            tests.append(test)
    return lambda event: all(test(event) for test in tests)


def _test(key: str, values: Sequence[str]) -> Callable[[Event], bool] | None:
    if key == "event":
        return _action(values)
    if key == "type":
        return lambda event: event.type in values
    if key == "scope":
        return lambda _event: SCOPE in values
    if key == "image":
        return lambda event: bool(_image_names(event) & {*values})
    if key in _NAMED:
        return lambda event: event.id.startswith((*values,)) or _name(event).startswith((*values,))
    return None


def _action(values: Sequence[str]) -> Callable[[Event], bool]:
    if _WITH_DETAILS & {*values}:  # "exec_create: ls /", which nobody types
        return lambda event: event.action.startswith((*values,))
    return lambda event: event.action in values


def _label(wanted: str) -> Callable[[Event], bool]:
    name, equals, value = wanted.partition("=")
    if equals:
        return lambda event: event.attributes.get(name) == value
    return lambda event: name in event.attributes


def _name(event: Event) -> str:
    return event.attributes.get("name", "")


def _image_names(event: Event) -> set[str]:
    name = event.attributes.get("name" if event.type == "image" else "image", "")
    return {event.id, name, _without_tag(event.id), _without_tag(name)}


def _without_tag(text: str) -> str:
    try:
        return Reference.parse(text).familiar_name
    except InvalidInput:
        return text
