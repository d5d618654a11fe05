"""The last program before the container's own: waits at the start gate, then executes the command.

When a container is set up, its init is still a copy of the Python process that made it. It must not wait in that
shape, nor execute the command from it:

- ``/proc/self/exe`` would be the host's interpreter. A command such as ``#!/proc/self/exe`` would run it inside
  the container and could write to it through that link (CVE-2019-5736). No check of the path closes this hole,
  because another process can swap the file between the check and the execve.
- Every created container would hold a copy of Python's memory.

So init first executes this program, 200 bytes of code in a sealed memfd: nobody can write to it, and it needs no
file in the image. It reads one byte from descriptor 3, closes it and executes the command. If that fails it says
``exec PATH: exec format error`` on stderr and exits with 255, as runc does; if no byte comes because nobody can
send one any more, it exits with 255 silently. The source is in ``gate/<machine>.s`` beside ``src``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from swapbox.errors import Unsupported

_CODE: Mapping[str, str] = {
    "x86_64": (
        "6a00bf030000004889e6ba0100000031c00f0583f8fc74ea83f801756ebf03000000b8030000000f05488b7c2418488d74242848"
        "8b442408488d54c418b83b0000000f05f7d889c3488b74242031d2803c16007404ffc2ebf6bf02000000b8010000000f0583fb29"
        "720231dbc1e306488d35210000004801de0fb61648ffc6bf02000000b8010000000f05bfff000000b8e70000000f05"
    ),
    "aarch64": (
        "ff4300d1600080d2e1030091220080d2e80780d2010000d41f1000b140ffff541f0400f1c1030054600080d2280780d2010000d4"
        "e01340f9e1c30091e20b40f9e26f228b42800091a81b80d2010000d4f30300cbe11740f9020080d2236862386300003442040091"
        "fdffff17400080d2080880d2010000d47fa600f143000054130080d2210100102118138b22144038400080d2080880d2010000d4"
        "e01f80d2c80b80d2010000d4"
    ),
}
_ELF_MACHINE = {"x86_64": 62, "aarch64": 183}
_TEXTS = 41
_TEXT_SIZE = 64
_ADDRESS = 0x400000
_HEADERS = 64 + 56

FD = 3
"""The descriptor it reads from."""


def open_gate(machine: str | None = None) -> int:
    """Return a descriptor of the program, sealed against every change.

    :raises Unsupported: this kernel is set to refuse executable memory files.
    """
    import fcntl

    fd = os.memfd_create("swapbox-init", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, program(machine or os.uname().machine))
    # Python 3.11 has no names for them: F_ADD_SEALS, and SEAL, SHRINK, GROW, WRITE.
    fcntl.fcntl(fd, 1033, 0x1 | 0x2 | 0x4 | 0x8)
    if not os.access(f"/proc/self/fd/{fd}", os.X_OK):
        os.close(fd)
        hint = "set the sysctl vm.memfd_noexec to 0"
        raise Unsupported("this kernel refuses to execute memory files", hint=hint)
    return fd


def arguments(path: str, args: tuple[str, ...]) -> list[str]:
    """Return the program's argv for a command at ``path`` with its own argv ``args``."""
    return ["swapbox-init", path, f"exec {path}: ", *args]


def program(machine: str) -> bytes:
    """Return the ELF file: headers, code, and the texts of the error numbers below 41."""
    code = bytes.fromhex(_CODE[machine])
    body = code + b"".join(_text(number) for number in range(_TEXTS))
    return _elf_headers(_ELF_MACHINE[machine], _HEADERS + len(body)) + body


def code(machine: str) -> bytes:
    """Return the machine code alone."""
    return bytes.fromhex(_CODE[machine])


def _text(number: int) -> bytes:
    text = (os.strerror(number).lower() if number else "unknown error").encode() + b"\n"
    return bytes((len(text),)) + text.ljust(_TEXT_SIZE - 1, b"\0")


def _elf_headers(machine: int, size: int) -> bytes:
    """Return a static executable's ELF header and one program header that loads the whole file (elf(5))."""
    import struct

    entry = _ADDRESS + _HEADERS
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x10000)
    return ident + header + segment
