"""Compile an OCI ``linux.seccomp`` object to BPF with libseccomp, and answer for system calls newer than it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from ctypes import c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

from swapbox.errors import InvalidInput, SwapboxError, Unsupported

ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
_TAKES_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_PASSING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
OPERATORS = {
    name: number
    for number, name in enumerate(
        ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"),
        start=1,
    )
}
_X32 = 0x4000003E  # libseccomp's token; the kernel tells x32 from x86_64 by a bit in the number
_X86_64 = 0xC000003E
_X32_BIT = 0x40000000
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE; 2 is a binary tree instead of a list
_NO_NEW_PRIVS = 3  # SCMP_FLTATR_CTL_NNP

_LOAD, _JUMP_EQ, _JUMP_GT, _JUMP_GE, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_OFFSET_NR, _OFFSET_ARCH = 0, 4


class _Compare(ctypes.Structure):
    _fields_ = (("arg", c_uint), ("op", c_int), ("a", c_uint64), ("b", c_uint64))


def compile_policy(policy: Mapping[str, Any], library: str) -> bytes:
    """Return the BPF program, an array of struct sock_filter.

    System calls with a number above all that the policy names answer ENOSYS, not the policy's default error: the C
    library then falls back to an older call, as it would on an older kernel, instead of failing.

    :raises InvalidInput: the object has an unknown action or operator.
    :raises Unsupported: libseccomp is not installed.
    """
    scmp = _load_library(library)
    context = scmp.seccomp_init(_action(policy, policy.get("defaultAction"), policy.get("defaultErrnoRet")))
    if not context:
        raise InvalidInput(f"libseccomp refuses the default action {policy.get('defaultAction')}")
    try:
        scmp.seccomp_attr_set(context, _NO_NEW_PRIVS, 0)
        scmp.seccomp_attr_set(context, _OPTIMIZE, 2)  # an older libseccomp does without
        arches = _add_architectures(scmp, context, policy)
        for rule in policy.get("syscalls") or ():
            _add_rule(scmp, context, policy, rule)
        program = _export(scmp, context)
    finally:
        scmp.seccomp_release(context)
    if policy.get("defaultAction") in _PASSING:
        return program
    return unknown_is_enosys(_newest(scmp, arches, policy)) + program


def _load_library(library: str) -> Any:
    try:
        scmp = ctypes.CDLL(library)
    except OSError:
        hint = "install libseccomp (package libseccomp2), or use --security-opt seccomp=unconfined"
        raise Unsupported("a seccomp filter needs libseccomp.so.2, which is not installed", hint=hint) from None
    scmp.seccomp_init.restype = c_void_p
    scmp.seccomp_init.argtypes = (c_uint32,)
    scmp.seccomp_release.argtypes = (c_void_p,)
    scmp.seccomp_attr_set.argtypes = (c_void_p, c_int, c_uint32)
    scmp.seccomp_arch_resolve_name.argtypes = (c_char_p,)
    scmp.seccomp_arch_resolve_name.restype = c_uint32
    scmp.seccomp_arch_native.restype = c_uint32
    scmp.seccomp_arch_add.argtypes = (c_void_p, c_uint32)
    scmp.seccomp_syscall_resolve_name.argtypes = (c_char_p,)
    scmp.seccomp_syscall_resolve_name_arch.argtypes = (c_uint32, c_char_p)
    scmp.seccomp_rule_add_array.argtypes = (c_void_p, c_uint32, c_int, c_uint, c_void_p)
    scmp.seccomp_export_bpf.argtypes = (c_void_p, c_int)
    return scmp


def _action(policy: Mapping[str, Any], name: Any, number: int | None) -> int:
    if name not in ACTIONS:
        raise Unsupported(f"the ns driver does not support the seccomp action {name!r}")
    if name not in _TAKES_ERRNO:
        return ACTIONS[name]
    return ACTIONS[name] | (errno.EPERM if number is None else number) & 0xFFFF


def _add_architectures(scmp: Any, context: int, policy: Mapping[str, Any]) -> list[int]:
    tokens = [scmp.seccomp_arch_native()]
    for name in policy.get("architectures") or ():
        token = scmp.seccomp_arch_resolve_name(name.removeprefix("SCMP_ARCH_").lower().encode())
        if not token:
            raise InvalidInput(f"unknown seccomp architecture {name!r}")
        if token not in tokens:
            _check(scmp.seccomp_arch_add(context, token), f"add the architecture {name}")
            tokens.append(token)
    return tokens


def _add_rule(scmp: Any, context: int, policy: Mapping[str, Any], rule: Mapping[str, Any]) -> None:
    action = _action(policy, rule.get("action"), rule.get("errnoRet"))
    if action == _action(policy, policy.get("defaultAction"), policy.get("defaultErrnoRet")):
        return  # libseccomp takes no rule that says what is said already
    conditions = [_condition(item) for item in rule.get("args") or ()]
    for name in rule.get("names") or ():
        number = scmp.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            continue  # newer than this libseccomp
        for chain in _chains(conditions):
            array = (_Compare * len(chain))(*chain)
            result = scmp.seccomp_rule_add_array(context, action, number, len(chain), array)
            if result not in (0, -errno.EEXIST):
                _check(result, f"add a rule for {name}")


def _condition(item: Mapping[str, Any]) -> _Compare:
    operator = str(item.get("op")).removeprefix("SCMP_CMP_")
    if operator not in OPERATORS:
        raise InvalidInput(f"unknown seccomp operator {item.get('op')!r}")
    return _Compare(item["index"], OPERATORS[operator], item.get("value") or 0, item.get("valueTwo") or 0)


def _chains(conditions: Sequence[_Compare]) -> Iterator[Sequence[_Compare]]:
    """Yield rules: conditions on different arguments must all hold, those on the same one are alternatives."""
    if len({condition.arg for condition in conditions}) == len(conditions):
        yield conditions
    else:
        for condition in conditions:
            yield [condition]


def _check(result: int, what: str) -> None:
    if result < 0:
        raise SwapboxError(f"libseccomp cannot {what}: {os.strerror(-result).lower()}")


def _export(scmp: Any, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with open(fd, "rb") as file:
        _check(scmp.seccomp_export_bpf(context, fd), "export the filter")
        file.seek(0)
        return file.read()


def _newest(scmp: Any, arches: Sequence[int], policy: Mapping[str, Any]) -> dict[int, int]:
    """Return the highest number that the policy names, for each architecture."""
    names = {name.encode() for rule in policy.get("syscalls") or () for name in rule.get("names") or ()}
    newest = {}
    for arch in arches:
        numbers = [scmp.seccomp_syscall_resolve_name_arch(arch, name) for name in names]
        real = [number for number in numbers if number >= 0]
        if real:
            newest[arch] = max(real)
    return newest


def unknown_is_enosys(newest: Mapping[int, int]) -> bytes:
    """Return the start of a program: what is above the newest number of its architecture returns ENOSYS."""
    program = b""
    enosys = _instruction(_RETURN, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)
    for arch, number in newest.items():
        if arch == _X32:
            test = [_instruction(_JUMP_GT, number | _X32_BIT, 0, 1), enosys]
        elif arch == _X86_64:
            # x32's numbers come after all of x86_64's and are not meant here.
            test = [_instruction(_JUMP_GE, _X32_BIT, 2, 0), _instruction(_JUMP_GT, number, 0, 1), enosys]
        else:
            test = [_instruction(_JUMP_GT, number, 0, 1), enosys]
        kernel_arch = _X86_64 if arch == _X32 else arch
        program += _instruction(_LOAD, _OFFSET_ARCH)
        program += _instruction(_JUMP_EQ, kernel_arch, 0, len(test) + 1)
        program += _instruction(_LOAD, _OFFSET_NR) + b"".join(test)
    return program


def _instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)
