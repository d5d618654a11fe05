"""``--mount type=bind|volume|tmpfs,...``: what Docker's client checks, then what its daemon does."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swapbox.containers.config import MountSpec
from swapbox.containers.mounts import PROPAGATION
from swapbox.containers.volumes import checked_target, normal
from swapbox.errors import InvalidInput

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_SWITCHES = frozenset({"readonly", "volume-nocopy", "bind-nonrecursive"})
_RECURSIVE = ("enabled", "disabled", "writable", "readonly")
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_mount(text: str, directory: Path) -> MountSpec:
    """Read one ``--mount``.

    :param directory: a source of ``.`` or ``./...`` is relative to it.
    :raises InvalidInput: with Docker's words.
    """
    fields = _read(text)
    kind = fields["type"]
    if kind == "":
        raise InvalidInput("type is required")
    for group in ("volume", "bind", "tmpfs"):
        if kind != group and any(name.startswith(f"{group}-") for name in fields):
            raise InvalidInput(f"cannot mix '{group}-*' options with mount type '{kind}'")
    _check_recursion(fields)
    if not fields.get("target"):
        raise InvalidInput("target is required")
    start = f'invalid mount config for type "{kind}": '
    if kind not in _MAKERS:
        raise InvalidInput(f"{start}mount type unknown")
    spec = MountSpec(
        source="",
        target=checked_target(fields["target"], start),
        read_only=fields.get("readonly", False),
        by="--mount",
    )
    source = fields.get("source", "")
    if source == "." or source.startswith("./"):
        source = os.path.normpath(os.path.join(directory, source))
    return _MAKERS[kind](spec, source, fields, start)


def _read(text: str) -> dict[str, Any]:
    """Return the fields by their full names, each value checked by itself."""
    text = text.strip()
    if not text:
        raise InvalidInput("value is empty")
    fields: dict[str, Any] = {"type": "volume"}
    for item in _items(text):
        typed, equals, value = item.partition("=")
        typed = typed.lower()
        name = _ALIASES.get(typed, typed)
        if not equals:
            if name not in _SWITCHES:
                raise InvalidInput(f"invalid field '{item}' must be a key=value pair")
            fields[name] = True
        elif name in _READERS:
            fields[name] = _READERS[name](typed, value)
        elif name in ("volume-opt", "volume-label"):
            key, _, rest = value.partition("=")
            fields.setdefault(name, {}).update({key: rest} if key else {})
        else:
            raise InvalidInput(f"unexpected key '{typed}' in '{item}'")
    return fields


def _items(text: str) -> Sequence[str]:
    """Split at commas; quotes keep one that belongs to a value (RFC 4180)."""
    if '"' not in text:
        return text.split(",")
    import csv

    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InvalidInput(f"parse error on line 1: {error}") from None


def _text(_name: str, value: str) -> str:
    return value


def _lower(_name: str, value: str) -> str:
    return value.lower()


def _truth(name: str, value: str) -> bool:
    if value not in _TRUE | _FALSE:
        raise InvalidInput(f"invalid value for {name}: {value}")
    return value in _TRUE


def _recursion(name: str, value: str) -> str:
    if value not in _RECURSIVE:
        words = 'must be "enabled", "disabled", "writable", or "readonly"'
        raise InvalidInput(f"invalid value for {name}: {value} ({words})")
    return value


def _size(name: str, value: str) -> int:
    from swapbox.containers.limits import parse_memory

    try:
        return parse_memory(value)
    except InvalidInput:
        raise InvalidInput(f"invalid value for {name}: {value}") from None


def _octal(name: str, value: str) -> int:
    if not value or set(value) - set("01234567") or int(value, 8) >= 1 << 32:
        raise InvalidInput(f"invalid value for {name}: {value}")
    return int(value, 8)


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    "type": _lower,
    "source": _text,
    "target": _text,
    "readonly": _truth,
    "consistency": _lower,
    "bind-propagation": _lower,
    "bind-nonrecursive": _truth,
    "bind-recursive": _recursion,
    "volume-subpath": _text,
    "volume-nocopy": _truth,
    "volume-driver": _text,
    "tmpfs-size": _size,
    "tmpfs-mode": _octal,
}


def _check_recursion(fields: Mapping[str, Any]) -> None:
    recursive = fields.get("bind-recursive")
    option = f"option 'bind-recursive={recursive}' requires"
    if recursive in ("writable", "readonly") and not fields.get("readonly"):
        raise InvalidInput(f"{option} 'readonly' to be specified in conjunction")
    if recursive == "readonly" and fields.get("bind-propagation") != "rprivate":
        raise InvalidInput(f"{option} 'bind-propagation=rprivate' to be specified in conjunction")


def _bind(spec: MountSpec, source: str, fields: Mapping[str, Any], start: str) -> MountSpec:
    if not source:
        raise InvalidInput(f"{start}field Source must not be empty")
    propagation = fields.get("bind-propagation", "rprivate")
    if propagation not in PROPAGATION:
        raise InvalidInput(f"{start}invalid propagation mode: {propagation}")
    if not source.startswith("/"):
        raise InvalidInput(f"{start}invalid mount path: '{source}' mount path must be absolute")
    if not os.path.lexists(source):
        raise InvalidInput(f"{start}bind source path does not exist: {source}")
    recursive = fields.get("bind-recursive", "enabled")
    return spec._replace(
        source=normal(source),
        propagation=propagation,
        recursive=recursive != "disabled" and not fields.get("bind-nonrecursive"),
        submounts=recursive if recursive in ("writable", "readonly") else "",
    )


def _volume(spec: MountSpec, source: str, fields: Mapping[str, Any], start: str) -> MountSpec:
    subpath = fields.get("volume-subpath", "")
    if subpath and not _is_below(subpath):
        raise InvalidInput(f"{start}subpath must be a relative path within the volume")
    return spec._replace(
        type="volume",
        name=source,
        anonymous=not source,
        propagation="",
        driver=fields.get("volume-driver", ""),
        copy=not fields.get("volume-nocopy"),
        subpath=subpath,
        options=fields.get("volume-opt", {}),
        labels=fields.get("volume-label", {}),
    )


def _is_below(path: str) -> bool:
    return not path.startswith("/") and normal(path).split("/")[0] != ".."


def _tmpfs(spec: MountSpec, source: str, fields: Mapping[str, Any], start: str) -> MountSpec:
    if source:
        raise InvalidInput(f"{start}field Source must not be specified")
    options = {}
    if size := fields.get("tmpfs-size"):
        options["size"] = str(size)
    if mode := fields.get("tmpfs-mode"):
        options["mode"] = f"{mode:o}"
    return spec._replace(type="tmpfs", propagation="", options=options)


_MAKERS: Mapping[str, Callable[[MountSpec, str, Mapping[str, Any], str], MountSpec]] = {
    "bind": _bind,
    "volume": _volume,
    "tmpfs": _tmpfs,
}
