"""Device rules as a BPF program, for the unified hierarchy has no files for them.

The program is run whenever a process of the group opens or makes a device (``BPF_PROG_TYPE_CGROUP_DEVICE``). It
gets what is wanted, a set of the accesses read, write and mknod, and says whether all of it is allowed. The rules
mean what they mean to cgroup v1: later ones count more, each speaks about its own accesses only, and what no rule
is about is allowed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swapbox.errors import InvalidInput

# linux/bpf.h: struct bpf_cgroup_dev_ctx and the values in it.
_ACCESS = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS = 7
_TYPES = {"b": (1,), "c": (2,), "u": (2,), "a": ()}
_OFFSET_ACCESS, _OFFSET_MAJOR, _OFFSET_MINOR = 0, 4, 8

# Operation codes of eBPF: the ones needed, each with an immediate operand unless it says otherwise.
_LOAD_WORD, _MOVE, _MOVE_REGISTER = 0x61, 0xB7, 0xBF
_AND, _SHIFT_RIGHT = 0x57, 0x77
_JUMP_IF_EQUAL, _JUMP_IF_NOT_EQUAL, _EXIT = 0x15, 0x55, 0x95

_ANSWER, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR, _SCRATCH = range(7)
"""Registers: r0 is the answer, r1 the context; the others are ours."""


def instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    """Encode one instruction."""
    return struct.pack("=BBhi", code, target | source << 4, offset, immediate)


def assemble(rules: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the program for the OCI ``linux.resources.devices`` list.

    :raises InvalidInput: a rule is wrong.
    """
    # From the last rule to the first: the wanted accesses that a rule allows are crossed off, until none is left.
    blocks = [b"".join(_block(rule)) for rule in reversed(rules)]
    return b"".join((*_prologue(), *blocks, *_answer(1)))


def _prologue() -> Iterator[bytes]:
    yield instruction(_LOAD_WORD, _TYPE, _CONTEXT, _OFFSET_ACCESS)
    yield instruction(_MOVE_REGISTER, _WANTED, _TYPE)
    yield instruction(_AND, _TYPE, immediate=0xFFFF)
    yield instruction(_SHIFT_RIGHT, _WANTED, immediate=16)
    yield instruction(_LOAD_WORD, _MAJOR, _CONTEXT, _OFFSET_MAJOR)
    yield instruction(_LOAD_WORD, _MINOR, _CONTEXT, _OFFSET_MINOR)


def _answer(value: int) -> tuple[bytes, bytes]:
    return instruction(_MOVE, _ANSWER, immediate=value), instruction(_EXIT)


def _block(rule: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the instructions of one rule: what does not match jumps over the rest of them."""
    rest = _allow(_bits(rule)) if rule.get("allow") else _deny(_bits(rule))
    conditions = list(_conditions(rule))
    for at, (register, value) in enumerate(conditions):
        skipped = len(conditions) - at - 1 + len(rest)
        yield instruction(_JUMP_IF_NOT_EQUAL, register, offset=skipped, immediate=value)
    yield from rest


def _allow(access: int) -> list[bytes]:
    return [
        instruction(_AND, _WANTED, immediate=_EVERY_ACCESS & ~access),
        instruction(_JUMP_IF_NOT_EQUAL, _WANTED, offset=2),
        *_answer(1),
    ]


def _deny(access: int) -> list[bytes]:
    return [
        instruction(_MOVE_REGISTER, _SCRATCH, _WANTED),
        instruction(_AND, _SCRATCH, immediate=access),
        instruction(_JUMP_IF_EQUAL, _SCRATCH, offset=2),
        *_answer(0),
    ]


def _conditions(rule: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    for kind in _TYPES[rule.get("type") or "a"]:
        yield _TYPE, kind
    for register, name in ((_MAJOR, "major"), (_MINOR, "minor")):
        number = rule.get(name)
        if number is not None and number != -1:
            yield register, number


def _bits(rule: Mapping[str, Any]) -> int:
    access = rule.get("access") or "rwm"
    if (rule.get("type") or "a") not in _TYPES or set(access) - set(_ACCESS):
        raise InvalidInput(
            f"invalid device rule {dict(rule)!r}: the type is a, b, c or u, the access of r, w and m"
        )
    return sum(_ACCESS[letter] for letter in set(access))
