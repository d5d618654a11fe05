"""Mount flags in Docker's syntax: ``-v``, ``--mount`` and ``--tmpfs``."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from swapbox.containers.config import MountSpec
from swapbox.containers.mounts import PROPAGATION, tmpfs_options
from swapbox.errors import InvalidInput, SwapboxError, Unsupported

# What the third part of -v may hold; at most one of each kind.
_MODES: tuple[frozenset[str], ...] = (
    frozenset({"ro", "rw"}),
    frozenset({"z", "Z"}),
    PROPAGATION,
    frozenset({"nocopy"}),
    frozenset({"consistent", "cached", "delegated", "default"}),
)

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_FIELDS = frozenset({"type", "source", "target", "readonly", "consistency"})
_KIND_FIELDS = frozenset({"bind-propagation", "bind-recursive", "bind-nonrecursive", "tmpfs-size", "tmpfs-mode"})


def parse_volume(text: str, directory: Path) -> MountSpec:
    """Read ``-v /host:/container[:mode]``; a host path that starts with ``.`` is relative to ``directory``.

    :raises InvalidInput: with Docker's words.
    :raises Unsupported: it names a volume.
    """
    parts = text.split(":")
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and _is_mode(parts[1])):
        raise InvalidInput(f"invalid volume specification: '{text}'")
    mode = parts[2] if len(parts) == 3 else ""
    if not _is_mode(mode):
        raise InvalidInput(f"invalid mode: {mode}")
    target = _target(
        parts[min(len(parts) - 1, 1)], f"invalid volume specification: '{text}': invalid mount config: "
    )
    source = parts[0]
    if len(parts) > 1 and source.startswith("."):
        source = os.path.join(directory, source)
    if len(parts) == 1 or not source.startswith("/"):
        raise _no_volume("" if len(parts) == 1 else source)
    words = mode.split(",")
    return MountSpec(
        source=_normal(source),
        target=target,
        read_only="ro" in words,
        propagation=next((word for word in words if word in PROPAGATION), "rprivate"),
        mode=mode,
        create_source=True,
    )


def _is_mode(text: str) -> bool:
    kinds = [kind for word in text.split(",") for kind, words in enumerate(_MODES) if word in words]
    return not text or (len(kinds) == len(set(kinds)) == text.count(",") + 1)


def _target(path: str, start: str = "") -> str:
    if _normal(path) == "/":
        raise InvalidInput(f"{start}invalid specification: destination can't be '/'")
    if not path.startswith("/"):
        raise InvalidInput(f"{start}invalid mount path: '{path}' mount path must be absolute")
    return _normal(path)


def _normal(path: str) -> str:
    normal = posixpath.normpath(path)
    return normal[1:] if normal.startswith("//") else normal


def _no_volume(name: str) -> SwapboxError:
    bare = name.translate({ord(character): None for character in "_.-"})
    if name and not (name.isascii() and bare.isalnum() and name[0].isalnum() and len(name) > 1):
        return InvalidInput(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    what = f"volume {name!r}" if name else "an anonymous volume"
    return Unsupported(
        f"cannot use {what}: volumes come in a later release",
        hint="mount a directory: -v /host/path:/container/path",
    )


def parse_mount(text: str) -> MountSpec | tuple[str, str]:
    """Read ``--mount type=bind|tmpfs,...``; return a bind mount, or the target and options of a tmpfs."""
    fields = dict(_mount_field(item) for item in text.split(","))
    kind = fields.get("type", "volume")
    for group in ("bind", "volume", "tmpfs"):
        if kind != group and any(name.startswith(f"{group}-") for name in fields):
            raise InvalidInput(f"cannot mix '{group}-*' options with mount type '{kind}'")
    if not fields.get("target"):
        raise InvalidInput("target is required")
    target = _target(fields["target"], "invalid mount config: ")
    source = fields.get("source", "")
    if kind == "tmpfs":
        return target, _tmpfs_fields(fields)
    if kind == "volume":
        raise _no_volume(source)
    if kind != "bind":
        raise InvalidInput(f'invalid mount config for type "{kind}": mount type unknown')
    return _bind(fields, source, target)


def _mount_field(item: str) -> tuple[str, str]:
    typed, equals, value = item.partition("=")
    name = _ALIASES.get(typed.lower(), typed.lower())
    if not equals and name not in {"readonly", "bind-nonrecursive", "volume-nocopy"}:
        raise InvalidInput(f"invalid field '{item}' must be a key=value pair")
    if name == "readonly" and equals and value.lower() not in {"1", "0", "t", "f", "true", "false"}:
        raise InvalidInput(f"invalid value for {typed}: {value}")
    if name not in _FIELDS | _KIND_FIELDS and not name.startswith("volume-"):
        raise InvalidInput(f"unexpected key '{typed}' in '{item}'")
    return name, value if equals else "true"


def _tmpfs_fields(fields: dict[str, str]) -> str:
    from swapbox.containers.limits import parse_memory

    if fields.get("source"):
        raise InvalidInput('invalid mount config for type "tmpfs": field Source must not be specified')
    options = ["ro"] if _is_true(fields.get("readonly", "")) else []
    if mode := fields.get("tmpfs-mode"):
        if set(mode) - set("01234567"):
            raise InvalidInput(f"invalid value for tmpfs-mode: {mode}")
        options.append(f"mode={mode}")
    if size := fields.get("tmpfs-size"):
        try:
            options.append(f"size={parse_memory(size)}")
        except InvalidInput:
            raise InvalidInput(f"invalid value for tmpfs-size: {size}") from None
    return ",".join(options)


def _bind(fields: dict[str, str], source: str, target: str) -> MountSpec:
    start = 'invalid mount config for type "bind"'
    if not source:
        raise InvalidInput(f"{start}: field Source must not be empty")
    if not source.startswith("/"):
        raise InvalidInput(f"{start}: invalid mount path: '{source}' mount path must be absolute")
    if not os.path.lexists(source):
        raise InvalidInput(f"{start}: bind source path does not exist: {source}")
    propagation = fields.get("bind-propagation", "rprivate")
    if propagation not in PROPAGATION:
        raise InvalidInput(f"{start}: invalid propagation mode: {propagation}")
    recursive = fields.get("bind-recursive", "enabled")
    if recursive not in {"enabled", "disabled", "writable", "readonly"}:
        words = 'must be "enabled", "disabled", "writable", or "readonly"'
        raise InvalidInput(f"invalid value for bind-recursive: {recursive} ({words})")
    return MountSpec(
        source=_normal(source),
        target=target,
        read_only=_is_true(fields.get("readonly", "")),
        propagation=propagation,
        recursive=recursive != "disabled" and not _is_true(fields.get("bind-nonrecursive", "")),
    )


def _is_true(text: str) -> bool:
    return text.lower() in {"1", "t", "true"}


def parse_tmpfs(values: Iterable[str]) -> dict[str, str]:
    """Read ``--tmpfs /target[:options]``; options as for mount(8), a comma between them."""
    parts = [value.partition(":") for value in values]
    result = {_target(target): options for target, _, options in parts}
    for options in result.values():
        tmpfs_options(options)
    return result
