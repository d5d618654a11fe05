"""The key sequence that detaches a terminal from its container."""

from __future__ import annotations

import os
from collections.abc import Mapping

from swapbox.cli.app import ClientError

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def chosen_keys(text: str, environment: Mapping[str, str]) -> bytes:
    """Read ``--detach-keys``, or where it was not given what is configured; raises as :func:`parse_keys`."""
    return parse_keys(text or configured_keys(environment))


def parse_keys(text: str) -> bytes:
    """Read ``--detach-keys``: single characters, ``ctrl-<letter>`` and ``DEL``, a comma between them.

    :raises ClientError: a key is none of them.
    """
    return bytes(_code(key, text) for key in text.split(","))


def _code(key: str, text: str) -> int:
    control = key.removeprefix("ctrl-")
    if key != control and len(control) == 1 and control in _CONTROL:
        return _CONTROL.index(control)
    if len(key) == 1 and key.isascii():
        return ord(key)
    if key == "DEL":
        return 127
    raise ClientError(f"invalid detach keys ({text}): Unknown character: '{key}'")


def configured_keys(environment: Mapping[str, str]) -> str:
    """Return ``detachKeys`` of the Docker client's ``config.json``, or the default ones.

    The file is looked for as Docker does: below ``DOCKER_CONFIG``, or ``~/.docker``. One that cannot be read says
    nothing.
    """
    directory = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME", "/"), ".docker")
    try:
        with open(os.path.join(directory, "config.json"), "rb") as file:
            data = file.read()
    except OSError:
        return DEFAULT_KEYS
    if b'"detachKeys"' not in data:
        return DEFAULT_KEYS
    import json

    try:
        found = json.loads(data)["detachKeys"]
    except (ValueError, TypeError, KeyError):
        return DEFAULT_KEYS
    return found if isinstance(found, str) and found else DEFAULT_KEYS


class DetachKeys:
    """Looks for the sequence in what is typed; a beginning that does not go on is passed on after all."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to pass on, and whether the sequence was completed."""
        if not self._held and self._keys[0] not in data:
            return data, False
        out = bytearray()
        for byte in data:
            self._held += bytes((byte,))
            while not self._keys.startswith(self._held):
                out.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._keys:
                return bytes(out), True
        return bytes(out), False

    def rest(self) -> bytes:
        """Return what was held back when nothing more is typed."""
        held, self._held = self._held, b""
        return held
