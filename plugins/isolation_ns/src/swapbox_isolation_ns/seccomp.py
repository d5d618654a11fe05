"""The seccomp filter of a ``config.json``: compiled once, kept on disk, and loaded as bytes from then on."""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

try:  # hashlib loads OpenSSL, 4 ms that a container's start can do without
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

from swapbox.errors import InvalidInput, Unsupported
from swapbox.linux import syscalls

_LIBRARY = "libseccomp.so.2"
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": syscalls.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": syscalls.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": syscalls.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
}
_FORMAT = 1  # of the cached programs; another number makes all be compiled anew


class Filter(NamedTuple):
    """A program for seccomp(2).

    :param allows_execveat: whether the filter lets execveat(2) pass, however it is called.
    """

    program: bytes
    flags: int
    allows_execveat: bool


def load_filter(policy: Mapping[str, Any], cache: Path) -> Filter:
    """Return the filter for an OCI ``linux.seccomp`` object.

    :param cache: directory of compiled programs; made when missing.
    :raises InvalidInput: the object has an unknown action, operator or flag.
    :raises Unsupported: libseccomp is not installed, or the object wants a listener.
    """
    if policy.get("listenerPath"):
        raise Unsupported("the ns driver does not support seccomp.listenerPath")
    flags = _flags(policy.get("flags") or ())
    library = _find_library()
    path = cache / f"{_key(policy, library)}.bpf"
    try:
        program = path.read_bytes()
    except OSError:
        from swapbox_isolation_ns.seccomp_compile import compile_policy

        program = compile_policy(policy, library)
        _store(path, program)
    return Filter(program, flags, allows(policy, "execveat"))


def allows(policy: Mapping[str, Any], syscall: str) -> bool:
    """Say whether a policy lets a system call pass whatever its arguments."""
    passing = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    rules = [rule for rule in policy.get("syscalls") or () if syscall in rule.get("names", ())]
    if any(rule.get("action") in passing and not rule.get("args") for rule in rules):
        return True
    return not rules and policy.get("defaultAction") in passing


def _flags(names: Iterable[str]) -> int:
    result = 0
    for name in names:
        if name not in FLAGS:
            raise InvalidInput(f"unknown seccomp flag {name!r}")
        result |= FLAGS[name]
    return result


def _find_library() -> str:
    """Return libseccomp's file with its version in the name, or its bare name when it is in an unusual place."""
    multiarch = getattr(sys.implementation, "_multiarch", "")
    for directory in (f"/usr/lib/{multiarch}", "/usr/lib64", "/usr/lib", "/usr/local/lib"):
        path = f"{directory}/{_LIBRARY}"
        if os.path.exists(path):
            return os.path.realpath(path)
    return _LIBRARY


def _key(policy: Mapping[str, Any], library: str) -> str:
    what = [_FORMAT, library, os.uname().machine, policy]
    return blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=32).hexdigest()


def _store(path: Path, program: bytes) -> None:
    """Keep a program; several processes may do so at once. A file system that refuses costs time only."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(program)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
