"""Docker's filters for images: which of them, and which of their names, ``images --filter`` shows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from swapbox.cli.units import parse_moment, parse_time
from swapbox.errors import InvalidInput
from swapbox.matching import check_names, labels_match, truth

if TYPE_CHECKING:
    from swapbox.engine import Engine
    from swapbox.images.service import Image
    from swapbox.references import Reference

Filters = Mapping[str, Sequence[str]]
Test = Callable[["Image"], bool]

_KNOWN = frozenset({"before", "dangling", "label", "label!", "reference", "since", "until"})


def query(engine: Engine, filters: Filters) -> Iterator[tuple[Image, list[Reference]]]:
    """Yield the images that pass all filters, the newest first, with the names that do.

    :raises InvalidInput: there is no such filter, or a value is wrong.
    :raises NotFound: ``before`` or ``since`` name no image.
    """
    check_names(filters, _KNOWN)
    tests = list(_tests(engine, filters))
    patterns = [_pattern(text) for text in filters.get("reference", ())]
    for image in engine.images.all():
        if not all(test(image) for test in tests):
            continue
        names = [name for name in image.references if not patterns or _named(name, patterns)]
        if names or not patterns:
            yield image, names


def created(image: Image) -> int | None:
    """Return when an image was made, in nanoseconds since the epoch; None when it does not say."""
    text = image.config.get("created")
    return parse_time(text) if text else None


def _tests(engine: Engine, filters: Filters) -> Iterator[Test]:
    if "dangling" in filters:
        dangling = truth(filters, "dangling", default=False)
        yield lambda image: dangling is not any(name.tag for name in image.references)
    if wanted := filters.get("label"):
        yield lambda image: labels_match(wanted, _labels(image))
    if unwanted := filters.get("label!"):
        yield lambda image: not labels_match(unwanted, _labels(image))
    if "until" in filters:
        limit = parse_moment(_only("until", filters["until"]), now=time.time_ns())
        yield lambda image: (created(image) or 0) < limit
    if "before" in filters:
        later = created(engine.images.find(filters["before"][-1])) or 0
        yield lambda image: (created(image) or 0) < later
    if "since" in filters:
        earlier = created(engine.images.find(filters["since"][-1])) or 0
        yield lambda image: (created(image) or 0) > earlier


def _only(name: str, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise InvalidInput(f"invalid filter '{name}': more than one value")
    return values[0]


def _labels(image: Image) -> Mapping[str, str]:
    config: Any = image.config.get("config") or {}
    labels: Mapping[str, str] = config.get("Labels") or {}
    return labels


def _named(name: Reference, patterns: Sequence[re.Pattern[str]]) -> bool:
    """Say whether a pattern fits a name as Docker shows it, with or without its tag."""
    texts = (name.familiar, name.familiar_name)
    return any(pattern.fullmatch(text) for pattern in patterns for text in texts)


def _pattern(text: str) -> re.Pattern[str]:
    """Read a shell pattern in which ``*`` and ``?`` are no slash, as Go's path.Match has it.

    :raises InvalidInput: a bracket is open.
    """
    parts, at = [], 0
    while at < len(text):
        char, at = text[at], at + 1
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            match = re.compile(r"(\^?)((?:\\.|[^\]\\])+)\]").match(text, at)
            if match is None:
                raise InvalidInput(f"syntax error in pattern {text!r}")
            parts.append(f"[{match[1]}{_range(match[2])}]")
            at = match.end()
        elif char == "\\" and at < len(text):
            parts.append(re.escape(text[at]))
            at += 1
        else:
            parts.append(re.escape(char))
    try:
        return re.compile("".join(parts))
    except re.error:
        raise InvalidInput(f"syntax error in pattern {text!r}") from None


def _range(text: str) -> str:
    """Return the inside of a bracket for Python, to which ``[`` and ``^`` are special."""
    return text.replace("[", "\\[").replace("^", "\\^")
