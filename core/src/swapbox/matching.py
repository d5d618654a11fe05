"""What Docker's filters have in common: their names are checked, patterns and labels matched in the same way."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from swapbox.errors import InvalidInput

Filters = Mapping[str, Sequence[str]]


def check_names(filters: Filters, known: Collection[str]) -> None:
    """Check that there are only known filters.

    :raises InvalidInput: with Docker's words.
    """
    for name in filters:
        if name not in known:
            raise InvalidInput(f"invalid filter '{name}'")


def truth(filters: Filters, name: str, *, default: bool) -> bool:
    """Return the value of a filter that is true or false; as in Docker, what is neither does not count beside it.

    :raises InvalidInput: it is both, or neither.
    """
    values = set(filters.get(name, ()))
    if not values:
        return default
    yes, no = bool(values & {"1", "true"}), bool(values & {"0", "false"})
    if yes == no:
        raise InvalidInput(f"invalid filter '{name}=[{' '.join(filters[name])}]'")
    return yes


def matches(patterns: Sequence[str], *texts: str) -> bool:
    """Say whether a text is one of the values or has a part that fits one as a regular expression."""
    return not patterns or any(
        text in patterns or _search(pattern, text) for pattern in patterns for text in texts
    )


def _search(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def labels_match(wanted: Sequence[str], labels: Mapping[str, str]) -> bool:
    """Say whether each ``KEY`` and ``KEY=VALUE`` is among the labels."""
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True
