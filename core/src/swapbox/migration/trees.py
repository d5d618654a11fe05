"""One digest for all that a directory tree is, whatever storage driver shows it.

The digest is SHA-256 over one record per file, in the order of :func:`swapbox.linux.descent.walk`: names in order
of their bytes, each directory followed by what it holds, the root first. A record is a sequence of fields, each
written as its length in decimal digits, a colon and its bytes:

- the path below the root, without a ``/`` at its start: empty for the root;
- of a second or later name of a file: ``link`` and the path of its first name, and nothing more;
- type and permissions (``st_mode``), user and group id, and the time of the last change in nanoseconds, in
  decimal;
- of a regular file its size in decimal and the SHA-256 of its content (32 bytes); of a symbolic link where it
  leads; of a device its major and minor number with a colon between;
- name and value of each extended attribute, in order of their names (see :func:`attributes`).

Each record ends with a newline.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator

from swapbox.linux.descent import Node, walk

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK = 1 << 20
_CAPABILITY = "security.capability"


def tree_digest(root: int, *, directory_times: bool = True) -> str:
    """Return the digest of a tree that nobody changes meanwhile, as ``sha256:`` and 64 digits.

    :param root: descriptor of its root directory.
    :param directory_times: False leaves out when directories were changed last.
    :raises OSError: something cannot be read.
    """
    total = hashlib.sha256()
    links: dict[tuple[int, int], bytes] = {}
    for node in _nodes(root):
        first = links.setdefault((node.info.st_dev, node.info.st_ino), node.path) if is_linked(node.info) else b""
        if first and first != node.path:
            fields = [node.path, b"link", first]
        else:
            fields = [node.path, *_fields(node, directory_times=directory_times)]
        total.update(b"".join(b"%d:%b" % (len(field), field) for field in fields) + b"\n")
    return f"sha256:{total.hexdigest()}"


def is_linked(info: os.stat_result) -> bool:
    """Say whether a file may have further names; those of directories do not count."""
    return info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode)


def attributes(path: bytes) -> dict[str, bytes]:
    """Return the extended attributes that belong to a file, by name.

    Of the namespace ``security`` that is the capabilities alone: the others are the host's policy. The marks by
    which overlay keeps its books are not among them, as its mounts do not show them; where such a name is seen, it
    is an attribute like any other.
    """
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(os.listxattr(path, follow_symlinks=False))
        if name == _CAPABILITY or not name.startswith("security.")
    }


def place(parent: int, name: bytes) -> bytes:
    """Return a path to a name in an open directory, for calls that take no descriptor."""
    return b"/proc/self/fd/%d/%b" % (parent, name)


def _nodes(root: int) -> Iterator[Node]:
    yield Node(b"", b".", root, os.stat(".", dir_fd=root))
    yield from walk(root)


def _fields(node: Node, *, directory_times: bool) -> Iterator[bytes]:
    info, mode = node.info, node.info.st_mode
    timed = directory_times or not stat.S_ISDIR(mode)
    for number in (mode, info.st_uid, info.st_gid, *([info.st_mtime_ns] if timed else [])):
        yield b"%d" % number
    if stat.S_ISREG(mode):
        yield b"%d" % info.st_size
        yield _content(node)
    elif stat.S_ISLNK(mode):
        yield os.readlink(node.name, dir_fd=node.parent)
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        yield b"%d:%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
    for name, value in attributes(place(node.parent, node.name)).items():
        yield os.fsencode(name)
        yield value


def _content(node: Node) -> bytes:
    digest = hashlib.sha256()
    fd = os.open(node.name, READ, dir_fd=node.parent)
    try:
        while piece := os.read(fd, _CHUNK):
            digest.update(piece)
    finally:
        os.close(fd)
    return digest.digest()
