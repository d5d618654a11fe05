"""What a program needs beside itself to run: its interpreter, and the shared libraries that one would load."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from swapbox.errors import InvalidInput, NotFound

MAGIC = b"\x7fELF"
_PT_INTERP = 3
_PATH_MAX = 4096


def interpreter(program: Path) -> str | None:
    """Return the path of an ELF program's dynamic loader; None when it is static.

    :raises InvalidInput: the file is damaged.
    """
    try:
        with open(program, "rb") as file:
            wide, order = _ident(file.read(16))
            # e_type to e_shstrndx (elf(5)).
            fields = struct.unpack(f"{order}HHI{'QQQ' if wide else 'III'}IHHHHHH", file.read(48 if wide else 36))
            offset, size, count = fields[4], fields[8], fields[9]
            for number in range(count):
                file.seek(offset + number * size)
                header = struct.unpack(
                    f"{order}{'IIQQQQQQ' if wide else 'IIIIIIII'}", file.read(56 if wide else 32)
                )
                if header[0] == _PT_INTERP:
                    file.seek(header[2] if wide else header[1])
                    length = header[5] if wide else header[4]
                    return os.fsdecode(file.read(min(length, _PATH_MAX)).rstrip(b"\0"))
    except (struct.error, LookupError, OverflowError) as error:
        raise InvalidInput(f"{program} is a damaged ELF file") from error
    return None


def _ident(ident: bytes) -> tuple[bool, str]:
    """Return whether the file is of the 64-bit kind, and its byte order."""
    return {1: False, 2: True}[ident[4]], {1: "<", 2: ">"}[ident[5]]


def libraries(loader: str, program: Path) -> list[str]:
    """Return the paths of the shared libraries of a program, by asking its loader, which does not run it.

    :raises NotFound: a library is missing on this host.
    :raises InvalidInput: the loader refuses the program.
    """
    import subprocess

    try:
        done = subprocess.run([loader, "--list", program], env={"LC_ALL": "C"}, capture_output=True, check=False)
    except OSError as error:
        raise NotFound(f"program {program} needs the loader {loader}: {error.strerror}") from error
    if done.returncode:
        raise InvalidInput(f"{loader} cannot load {program}: {done.stderr.decode(errors='replace').strip()}")
    paths = []
    for line in map(os.fsdecode, done.stdout.splitlines()):
        name, arrow, where = line.strip().rpartition(" => ")
        if where.startswith("not found"):
            raise NotFound(f"program {program} needs the library {name}, which this host does not have")
        path = where.rpartition(" (")[0]
        if path.startswith("/"):
            paths.append(path)
        elif arrow and path:
            raise InvalidInput(f"{loader} finds the library {name} at the relative path {path}")
    return paths
