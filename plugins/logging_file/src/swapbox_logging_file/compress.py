"""Compress one rotated log: a program for a bare interpreter, run as ``python -IS compress.py FILE``.

``FILE.gz`` appears whole or not at all, and ``FILE`` goes only after that. The gzip header carries the inode of
the file it was made from (an extra field, RFC 1952 section 2.3.1.1), so that a reader who still holds that file
knows which of the rotated files it is.
"""

# A program of 10 ms has no time for pathlib.

from __future__ import annotations

import os
import struct
import sys
import zlib

_BLOCK = 1 << 20
_INODE_FIELD = b"SI"
_HEADER = struct.Struct("<4sIBBH2sHQ")


def pack_header(inode: int) -> bytes:
    """Return a gzip header with an extra field that holds the inode."""
    return _HEADER.pack(b"\x1f\x8b\x08\x04", 0, 0, 255, 12, _INODE_FIELD, 8, inode)


def source_inode(path: str | os.PathLike[str]) -> int:
    """Return the inode of the file that ``path`` was made from, 0 when its header does not say."""
    with open(path, "rb") as file:
        header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return 0
    fields = _HEADER.unpack(header)
    return int(fields[7]) if header[3] & 4 and fields[5] == _INODE_FIELD else 0


def compress(path: str) -> None:
    """Replace ``path`` by ``path.gz``, with its times."""
    partial = f"{path}.gz.partial"
    with open(path, "rb") as source, open(partial, "wb") as target:
        status = os.fstat(source.fileno())
        target.write(pack_header(status.st_ino))
        deflate, checksum = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS), 0
        while block := source.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
            target.write(deflate.compress(block))
        target.write(deflate.flush() + struct.pack("<II", checksum, status.st_size & 0xFFFFFFFF))
        os.fchmod(target.fileno(), status.st_mode & 0o777)
    os.utime(partial, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(partial, f"{path}.gz")
    os.unlink(path)


if __name__ == "__main__":
    compress(sys.argv[1])
