"""``-v``, ``--volumes-from`` and ``--tmpfs`` in Docker's syntax; ``--mount`` is in :mod:`~.mount_flag`."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from swapbox.containers.config import MountSpec, MountType
from swapbox.containers.mounts import PROPAGATION, tmpfs_options
from swapbox.errors import InvalidInput

# What the third part of -v may hold; at most one of each kind.
_MODES: tuple[frozenset[str], ...] = (
    frozenset({"ro", "rw"}),
    frozenset({"z", "Z"}),
    PROPAGATION,
    frozenset({"nocopy"}),
    frozenset({"consistent", "cached", "delegated", "default"}),
)
_NOT_IMPORTED = PROPAGATION | {"nocopy"}


def parse_volume(text: str, directory: Path, *, driver: str = "") -> MountSpec:
    """Read ``-v SOURCE:TARGET[:MODE]``: a path of the host, or the name of a volume.

    :param directory: a host path that starts with ``.`` is relative to it.
    :param driver: of a volume that is not there yet.
    :raises InvalidInput: with Docker's words.
    """
    source, target, mode = _sections(text)
    if source.startswith("."):
        source = os.path.join(directory, source)
    kind: MountType = "bind" if source.startswith("/") else "volume"
    start = f"invalid volume specification: '{text}': invalid mount config for type \"{kind}\": "
    words = mode.split(",")
    propagation = next((word for word in words if word in PROPAGATION), "")
    if kind == "volume" and propagation:
        raise InvalidInput(f"{start}field BindOptions must not be specified")
    if kind == "bind" and "nocopy" in words:
        raise InvalidInput(f"{start}field VolumeOptions must not be specified")
    spec = MountSpec(source="", target=checked_target(target, start), read_only="ro" in words, mode=mode)
    if kind == "volume":
        return spec._replace(type="volume", name=source, driver=driver, propagation="", copy="nocopy" not in words)
    return spec._replace(source=normal(source), propagation=propagation or "rprivate", create_source=True)


def _sections(text: str) -> tuple[str, str, str]:
    """Return source, target and mode, which may be empty."""
    parts = text.split(":")
    if len(parts) > 3:
        raise InvalidInput(f"invalid spec: {text}: too many colons")
    if not all(parts):
        raise InvalidInput(f"invalid spec: {text}: empty section between colons")
    if len(parts) == 2 and is_mode(parts[1]):
        raise InvalidInput(f"invalid volume specification: '{text}'")
    mode = parts[2] if len(parts) == 3 else ""
    if not is_mode(mode):
        raise InvalidInput(f"invalid mode: {mode}")
    return parts[0], parts[1], mode


def parse_anonymous(text: str) -> str:
    """Read ``-v TARGET``: a volume without a name."""
    if not text:
        raise InvalidInput("invalid empty volume spec")
    if normal(f"/{text}") == "/":
        reason = "invalid specification: destination can't be '/'"
        raise InvalidInput(f"invalid volume specification: '{text}': {reason}")
    return text


def is_mode(text: str) -> bool:
    """Say whether a text is a mode of ``-v``, or empty."""
    kinds = [kind for word in text.split(",") for kind, words in enumerate(_MODES) if word in words]
    return not text or (len(kinds) == len(set(kinds)) == text.count(",") + 1)


def checked_target(path: str, start: str = "") -> str:
    """Return a normalized path in the container.

    :param start: of the message, when it is wrong.
    :raises InvalidInput: it is not absolute, or the root.
    """
    if normal(path) == "/":
        raise InvalidInput(f"{start}invalid specification: destination can't be '/'")
    if not path.startswith("/"):
        raise InvalidInput(f"{start}invalid mount path: '{path}' mount path must be absolute")
    return normal(path)


def normal(path: str) -> str:
    """Return a path without ``.``, ``..`` and superfluous slashes."""
    result = posixpath.normpath(path)
    return result[1:] if result.startswith("//") else result


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """Read ``--volumes-from CONTAINER[:ro|rw]``: return the container, and whether all is read-only.

    :raises InvalidInput: with Docker's words.
    """
    if not text:
        raise InvalidInput("volumes-from specification cannot be an empty string")
    name, _, mode = text.partition(":")
    words = mode.split(",")
    if not is_mode(mode) or _NOT_IMPORTED.intersection(words):
        raise InvalidInput(f"invalid mode: {mode}")
    return name, "ro" in words


def parse_tmpfs(values: Iterable[str]) -> dict[str, str]:
    """Read ``--tmpfs /target[:options]``; options as for mount(8), a comma between them."""
    parts = [value.partition(":") for value in values]
    result = {checked_target(target): options for target, _, options in parts}
    for options in result.values():
        tmpfs_options(options)
    return result
