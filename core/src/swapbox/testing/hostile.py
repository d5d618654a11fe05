"""Layers that try to write outside their tree, or to fill the disk.

Each name in :data:`ESCAPES` aims at a path under a victim directory on the host; after an attempt to unpack it
that directory must be as empty as before.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from swapbox.descriptors import OCI_LAYER
from swapbox.testing.images import Blob, Entry, Layer, directory, file, hardlink, layer_of, symlink


def _climbing(victim: Path) -> str:
    return "../" * 40 + str(victim).lstrip("/")


def _device(name: str) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.BLKTYPE, 0o666
    info.devmajor, info.devminor = 7, 0
    return info, b""


def dot_dot(victim: Path) -> Layer:
    """A file whose name climbs out with ``..``."""
    return layer_of([file(f"{_climbing(victim)}/written", b"escaped\n")])


def absolute(victim: Path) -> Layer:
    """A file whose name is an absolute path."""
    return layer_of([file(f"{victim}/written", b"escaped\n")])


def through_absolute_symlink(victim: Path) -> Layer:
    """A symbolic link to a host directory, and a file below the link."""
    return layer_of([symlink("link", str(victim)), file("link/written", b"escaped\n")])


def through_relative_symlink(victim: Path) -> Layer:
    """The same with a link that climbs out."""
    return layer_of([directory("a"), symlink("a/link", _climbing(victim)), file("a/link/written", b"escaped\n")])


def hardlink_out(victim: Path) -> Layer:
    """A hard link to a host file by ``..``, then a write through it."""
    target = f"{_climbing(victim)}/precious"
    return layer_of([hardlink("stolen", target), file("stolen", b"overwritten\n")])


def hardlink_through_symlink(victim: Path) -> Layer:
    """A hard link whose target's parent is a symbolic link to the host."""
    entries = [symlink("link", str(victim)), hardlink("stolen", "link/precious"), file("stolen", b"overwritten\n")]
    return layer_of(entries)


def whiteout_out(victim: Path) -> Layer:
    """A whiteout that would delete a host file."""
    return layer_of([symlink("link", str(victim)), file("link/.wh.precious")])


def whiteout_dot_dot(_victim: Path) -> Layer:
    """A whiteout of ``..``: the parent of the tree itself."""
    return layer_of([file(".wh..."), file("bin/.wh..")])


ESCAPES: Mapping[str, Callable[[Path], Layer]] = {
    "dot-dot": dot_dot,
    "absolute": absolute,
    "absolute-symlink": through_absolute_symlink,
    "relative-symlink": through_relative_symlink,
    "hardlink": hardlink_out,
    "hardlink-symlink": hardlink_through_symlink,
    "whiteout": whiteout_out,
    "whiteout-dot-dot": whiteout_dot_dot,
}
"""By name: makes a layer that attacks the given host directory, which holds one file ``precious``."""


def devices() -> Layer:
    """A block device that would give access to the host's loop device 0."""
    return layer_of([directory("node"), _device("node/loop0")])


def zeros(size: int) -> Layer:
    """A gzip bomb: one file of ``size`` zero bytes in about a thousandth of that.

    The stream is the same compressed piece many times, so making it costs neither time nor memory. Its diffID is
    a made-up one: nobody gets to the end of it.
    """
    piece = 16 << 20
    info = tarfile.TarInfo("zeros")
    info.size = size - size % piece
    header = info.tobuf(tarfile.GNU_FORMAT)
    # A full flush ends at a byte boundary and forgets the window, so the piece may follow itself.
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = pack.compress(header) + pack.flush(zlib.Z_FULL_FLUSH)
    repeated = pack.compress(bytes(piece)) + pack.flush(zlib.Z_FULL_FLUSH)
    gzip_header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    data = gzip_header + start + repeated * (size // piece) + b"\x03\0" + bytes(8)
    return Layer(Blob.of(f"{OCI_LAYER}+gzip", data), f"sha256:{'0' * 64}")
