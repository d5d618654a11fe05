"""Inputs made from others that keep their form: tar archives with right checksums, JSON that can be read.

A fuzzer that changes bytes alone rarely gets past the first check of a format.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

Other = Callable[[bytes], bytes]
"""Changes bytes without knowing what they are."""

BLOCK = 512
_DIGEST = f"sha256:{'a' * 64}"

# -- tar ----------------------------------------------------------------------------------------------------------

_NAME, _MODE, _SIZE, _CHECKSUM, _TYPE, _LINK = (
    slice(0, 100),
    slice(100, 108),
    slice(124, 136),
    slice(148, 156),
    slice(156, 157),
    slice(157, 257),
)
_DEVICE, _PREFIX = slice(329, 345), slice(345, 500)
_TYPES = (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"S", b"g", b"x", b"D", b"\0", b"Z")
_PARTS = (
    *(b"a", b"b", b"l", b"..", b".", b"", b"mnt", b"store", b"target", b"outside", b"below", b"precious", b"proc"),
    *(b".wh.a", b".wh.l", b".wh.precious", b".wh..wh..opq", b".wh.", b".wh...", b"self", b"root", b"c" * 90),
)
_WHOLE = (
    *(b"/", b"..", b".", b"/mnt/outside", b"/mnt/outside/precious", b"../../outside", b"../precious", b"../.."),
    *(b"/mnt/store/target", b"/proc/self/root/mnt/outside", b"/proc/self/cwd", b"a", b"l", b"l/precious"),
)
_RECORDS = (
    *(b"path", b"linkpath", b"size", b"uid", b"mtime", b"GNU.sparse.name", b"GNU.sparse.major", b"GNU.sparse.map"),
    *(b"SCHILY.xattr.trusted.overlay.opaque", b"SCHILY.xattr.user.overlay.redirect", b"SCHILY.xattr.user.a"),
    b"SCHILY.xattr.security.capability",
)
_NUMBERS = (b"0", b"1", b"512", b"-1", b"99999999999", b"18446744073709551616", b"1.5", b"")


def tar(data: bytes, chance: random.Random, other: Other) -> bytes:
    """Return another archive: entries changed, made, moved, doubled or left out; now and then bytes changed."""
    members = _members(data)
    for _ in range(chance.randint(1, 3)):
        match chance.randrange(8):
            case 0 | 1 if members:
                member = chance.choice(members)
                member[:BLOCK] = _changed(bytes(member[:BLOCK]), chance)
            case 2 | 3 | 4:
                members.insert(chance.randint(0, len(members)), _member(chance))
            case 5 if members:
                members.insert(chance.randint(0, len(members)), bytearray(chance.choice(members)))
            case 6 if len(members) > 1:
                members.insert(chance.randrange(len(members)), members.pop(chance.randrange(len(members))))
            case 7 if members:
                members.pop(chance.randrange(len(members)))
    made = b"".join(members) + bytes(2 * BLOCK)
    return other(made) if chance.random() < 0.1 else made


def _members(data: bytes) -> list[bytearray]:
    """Take an archive apart: each header with its body."""
    found, at = [], 0
    while at + BLOCK <= len(data) and any(data[at : at + BLOCK]):
        size = _octal(data[at : at + BLOCK][_SIZE])
        end = at + BLOCK + (size + BLOCK - 1) // BLOCK * BLOCK if size < len(data) else at + BLOCK
        found.append(bytearray(data[at:end]))
        at = end
    return found


def _octal(field: bytes) -> int:
    try:
        return max(int(field.strip(b" \0") or b"0", 8), 0)
    except ValueError:
        return 0


def _member(chance: random.Random) -> bytearray:
    """Make an entry, or an extended header for the entry after it."""
    kind = chance.choice(_TYPES)
    match kind:
        case b"x" | b"g":
            body = b"".join(_record(chance) for _ in range(chance.randint(1, 2)))
        case b"L" | b"K":
            body = _path(chance) + b"\0"
        case b"0" | b"7":
            body = b"escaped"
        case _:
            body = b""
    header = bytearray(BLOCK)
    header[_NAME], header[_LINK], header[_TYPE] = _filled(_path(chance)), _filled(_path(chance)), kind
    header[_MODE] = b"%07o\0" % chance.choice((0o644, 0o755, 0o6777, 0, 0o7777))
    header[_SIZE] = b"%011o\0" % len(body)
    header[_DEVICE] = b"%07o\0%07o\0" % (chance.choice((0, 1, 7)), chance.choice((0, 3)))
    header[257:265] = b"ustar\x0000"
    return bytearray(_signed(header) + body + bytes(-len(body) % BLOCK))


def _changed(block: bytes, chance: random.Random) -> bytes:
    """Change a field of a header."""
    header = bytearray(block)
    match chance.randrange(6):
        case 0:
            header[_NAME] = _filled(_path(chance))
        case 1:
            header[_LINK] = _filled(_path(chance))
        case 2:
            header[_TYPE] = chance.choice(_TYPES)
        case 3:
            header[_PREFIX] = _path(chance)[:155].ljust(155, b"\0")
        case 4:
            header[_SIZE] = chance.choice((b"%011o\0" % chance.choice((0, 1, 511, 513)), b"\x80" + bytes(11)))
        case _:
            header[chance.randrange(BLOCK)] = chance.randrange(256)
    return _signed(header)


def _record(chance: random.Random) -> bytes:
    """Make a record of a PAX header, whose length counts itself."""
    key = chance.choice(_RECORDS)
    value = _path(chance) if b"path" in key or b"name" in key else chance.choice((*_NUMBERS, b"y", _path(chance)))
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + 2
    return b"%d%b" % (length if length < 100 else length + 1, rest)


def _path(chance: random.Random) -> bytes:
    if chance.random() < 0.4:
        return chance.choice(_WHOLE)
    return b"/".join(chance.choice(_PARTS) for _ in range(chance.randint(1, 4)))


def _filled(text: bytes) -> bytes:
    return text[:100].ljust(100, b"\0")


def _signed(header: bytearray) -> bytes:
    header[_CHECKSUM] = b" " * 8
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


# -- JSON ---------------------------------------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, 2, -1, 2**63, 1e308, "", "a", "\0", "linux", "amd64", _DIGEST, _DIGEST[:-1], [], {}),
    *("layers", "sha512:" + "b" * 128, [None], {"a": {}}, "application/vnd.oci.image.config.v1+json"),
    {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": _DIGEST, "size": 1},
)
_KEYS = (
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform", "urls", "os"),
    *("annotations", "rootfs", "diff_ids", "type", "history", "architecture", "Env", "Labels", "subject", "data"),
)


def json_text(data: bytes, chance: random.Random, other: Other) -> bytes:
    """Return another JSON text: values and keys changed, made, copied or left out; now and then bytes changed."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return other(data)
    for _ in range(chance.randint(1, 3)):
        value = _altered(value, chance, copy.deepcopy(chance.choice((*_VALUES, value))))
    made = json.dumps(value).encode()
    return other(made) if chance.random() < 0.1 else made


def _altered(value: Any, chance: random.Random, new: Any) -> Any:
    """Return a value with one thing in it another."""
    if isinstance(value, dict) and chance.random() < 0.9:
        key = chance.choice((*value, chance.choice(_KEYS)))
        if key in value and chance.random() < 0.2:
            del value[key]
        else:
            value[key] = _altered(value[key], chance, new) if key in value else new
        return value
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        value[at : at + chance.randint(0, 1)] = [_altered(value[at], chance, new)]
        return value
    return new


MUTATIONS: Mapping[str, Callable[[bytes, random.Random, Other], bytes]] = {
    "reference": lambda data, _chance, other: other(data),
    "manifest": json_text,
    "layer": tar,
}
"""By the name of a corpus: makes another input from one."""
