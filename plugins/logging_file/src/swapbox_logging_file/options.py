"""The options of ``json-file``: their values and the attributes they add to each line, as Docker does it."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from swapbox.drivers.logging import LogInfo
from swapbox.errors import InvalidInput

_KNOWN = frozenset({"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"})
_DEFAULT_SIZE, _DEFAULT_FILES = "100m", "10"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4, "p": 1000**5}
# Go's strconv.ParseBool.
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_TAG_FIELD = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")


class Settings(NamedTuple):
    """How the files of one log are kept; sizes in bytes, ``max_size`` None for no rotation."""

    max_size: int | None
    max_file: int
    compress: bool


def parse(options: Mapping[str, str]) -> Settings:
    """Read and check the options.

    Without any size, logs are bounded all the same: a container that talks for a year must not fill the disk.

    :raises InvalidInput: an option or its value is wrong.
    """
    for name in options:
        if name not in _KNOWN:
            raise InvalidInput(f"unknown log opt '{name}' for json-file log driver")
    sized = "max-size" in options
    max_size = _size(options.get("max-size", _DEFAULT_SIZE))
    max_file = _count(options.get("max-file", "1" if sized else _DEFAULT_FILES))
    compress = _boolean("compress", options.get("compress", "false"))
    if compress and (max_file < 2 or max_size is None):
        raise InvalidInput("compress cannot be true when max-file is less than 2 or max-size is not set")
    for name in ("labels-regex", "env-regex"):
        _pattern(name, options)
    _tag(options.get("tag", ""), {})
    return Settings(max_size, max_file, compress)


def attributes(info: LogInfo, options: Mapping[str, str]) -> dict[str, str]:
    """Return what each line carries besides its text."""
    chosen = _chosen(info.labels, "labels", options) | _chosen(info.environment, "env", options)
    if tag := _tag(options.get("tag", ""), _tag_fields(info)):
        chosen["tag"] = tag
    return chosen


def _size(text: str) -> int | None:
    if text == "-1":
        return None
    match = _SIZE.fullmatch(text)
    if not match:
        raise InvalidInput(f"invalid size: '{text}' for max-size", hint="write a number and a unit: 500k, 10m, 1g")
    size = int(float(match[1]) * _UNITS[match[2].lower()])
    if size <= 0:
        raise InvalidInput("max-size must be a positive number")
    return size


def _count(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text):
        raise InvalidInput(f"invalid max-file '{text}': not a whole number")
    if int(text) < 1:
        raise InvalidInput("max-file cannot be less than 1")
    return int(text)


def _boolean(name: str, text: str) -> bool:
    if text not in _BOOLEANS:
        raise InvalidInput(f"invalid {name} '{text}': neither true nor false")
    return _BOOLEANS[text]


def _pattern(name: str, options: Mapping[str, str]) -> re.Pattern[str] | None:
    text = options.get(name)
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise InvalidInput(f"invalid {name} '{text}': {error}") from error


def _chosen(values: Mapping[str, str], option: str, options: Mapping[str, str]) -> dict[str, str]:
    names = options.get(option, "").split(",")
    pattern = _pattern(f"{option}-regex", options)
    return {name: value for name, value in values.items() if name in names or (pattern and pattern.search(name))}


def _tag_fields(info: LogInfo) -> dict[str, str]:
    return {
        "ID": info.container_id[:12],
        "FullID": info.container_id,
        "Name": info.container_name.removeprefix("/"),
        "ImageName": info.image,
        "DaemonName": "swapbox",
    }


def _tag(template: str, fields: Mapping[str, str]) -> str:
    """Fill in ``{{.Name}}`` and the like; with no fields, only check the template."""
    known = fields or dict.fromkeys(("ID", "FullID", "Name", "ImageName", "DaemonName"), "")
    for name in _TAG_FIELD.findall(template):
        if name not in known:
            raise InvalidInput(
                f"invalid tag '{template}': unknown field .{name}", hint=f"fields: {', '.join(known)}"
            )
    if "{{" in _TAG_FIELD.sub("", template):
        raise InvalidInput(f"invalid tag '{template}': only fields such as {{{{.Name}}}} can be used")
    return _TAG_FIELD.sub(lambda match: known[match[1]], template)
