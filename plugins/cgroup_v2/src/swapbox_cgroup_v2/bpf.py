"""The bpf(2) calls that load a program and attach it to a group, by ctypes."""

from __future__ import annotations

import ctypes
import os
import struct

from swapbox.linux import cgroupfs

_SYSCALL = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, 280)
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_MOST_PROGRAMS = 64
# No function of the kernel is called that asks for a GPL-compatible program.
_LICENSE = ctypes.create_string_buffer(b"Apache-2.0")


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """Call bpf(2); return its result and the attributes as the kernel left them."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = libc.syscall(
        ctypes.c_long(_SYSCALL), ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes))
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def obstacle() -> str | None:
    """Return why no program can be loaded here, None when it can."""
    from swapbox_cgroup_v2.devices import assemble

    try:
        os.close(load(assemble([])))
    except OSError as error:
        return f"device programs cannot be loaded: {os.strerror(error.errno or 0).lower()}"
    return None


def load(program: bytes) -> int:
    """Load a device program and return its descriptor."""
    code = ctypes.create_string_buffer(program, len(program))
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(_LICENSE),
        0,
        0,
        0,
        0,
        0,
        b"swapbox_devices",
    )
    return _bpf(_PROG_LOAD, attributes)[0]


def replace_device_program(group: str, program: bytes) -> None:
    """Make ``program`` the only one on a group.

    The programs of all groups up to the root have to agree; so do, for a moment, the old and the new one.

    :raises PermissionDenied: the caller may not load programs; it takes CAP_BPF or CAP_SYS_ADMIN.
    """
    try:
        _replace(group, program)
    except OSError as error:
        failure = cgroupfs.translated(error, f"attach device rules to {group}")
        failure.hint = "device rules of cgroup v2 need CAP_BPF in the initial user namespace"
        raise failure from error


def _replace(group: str, program: bytes) -> None:
    directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened = [directory]
    try:
        for number in attached(directory):
            opened.append(_bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))[0])
        old = opened[1:]
        new = load(program)
        opened.append(new)
        _bpf(_PROG_ATTACH, struct.pack("=IIII", directory, new, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI))
        for fd in old:
            _bpf(_PROG_DETACH, struct.pack("=IIII", directory, fd, _ATTACH_CGROUP_DEVICE, 0))
    finally:
        for fd in opened:
            os.close(fd)


def attached(directory: int) -> list[int]:
    """Return the ids of the programs attached to a group."""
    numbers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attributes = struct.pack(
        "=IIIIQI", directory, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(numbers), _MOST_PROGRAMS
    )
    _, answer = _bpf(_PROG_QUERY, attributes)
    (count,) = struct.unpack_from("=I", answer, 24)
    return list(numbers[:count])
