"""The key sequence that detaches a terminal from its container."""

from __future__ import annotations

from swapbox.errors import InvalidInput

DEFAULT_KEYS = "ctrl-p,ctrl-q"
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse_keys(text: str) -> bytes:
    """Read ``--detach-keys``: single characters and ``ctrl-<letter>``, a comma between them.

    :raises InvalidInput: a key is neither.
    """
    keys = bytearray()
    for key in text.split(","):
        control = key.removeprefix("ctrl-")
        if key != control and len(control) == 1 and control.lower() in _CONTROL:
            keys.append(_CONTROL.index(control.lower()))
        elif len(key) == 1 and key.isascii():
            keys.append(ord(key))
        else:
            raise InvalidInput(f"invalid detach keys ({text}): unknown key {key!r}", hint="such as ctrl-p,ctrl-q")
    return bytes(keys)


class DetachKeys:
    """Looks for the sequence in what is typed; a beginning that does not go on is passed on after all."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to pass on, and whether the sequence was completed."""
        out = bytearray()
        for byte in data:
            if byte != self._keys[self._matched] and self._matched:
                out += self._keys[: self._matched]
                self._matched = 0
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(out), True
            else:
                out.append(byte)
        return bytes(out), False
