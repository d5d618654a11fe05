"""What holds of whatever strangers write: references, manifests, archives and layers.

Each function takes one input and raises when swapbox takes it otherwise than promised; an error of ours that
refuses the input is no failure. Property tests and fuzzers share them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from swapbox.config import Limits
from swapbox.descriptors import INDEXES, MANIFESTS, Descriptor
from swapbox.drivers.storage import LayerTarget, WhiteoutStyle
from swapbox.errors import DataError, InvalidReference, SwapboxError, Unsupported
from swapbox.images import manifests, platforms
from swapbox.images.apply import NeedsLower, apply_layer
from swapbox.images.compression import decompress
from swapbox.images.rooted import RootedTree, clear
from swapbox.linux import syscalls
from swapbox.references import Reference

STYLES: tuple[WhiteoutStyle, ...] = ("remove", "overlay", "overlay-user")

PLACE = Path("/mnt")
"""Where :meth:`Arena.apart` has its directory: what attacks in a corpus aim at is below ``/mnt``."""

_PRECIOUS = b"precious"
_LONGEST_MESSAGE = 1000


def reference(text: str) -> None:
    """Expect a reference that means itself, or an error that says what is wrong."""
    try:
        parsed = Reference.parse(text)
    except InvalidReference as error:
        assert error.message
        return
    assert Reference.parse(str(parsed)) == parsed
    assert parsed.with_default_tag().with_default_tag() == parsed.with_default_tag()
    assert (parsed.host == "") == (parsed.transport != "")
    assert not set(str(parsed)) & set("\0\n")


def manifest(data: bytes, media_type: str) -> None:
    """Expect a manifest or index that is well typed, or an error that a terminal can be shown."""
    try:
        parsed = manifests.parse(data, media_type)
    except (DataError, Unsupported) as error:
        assert len(error.message) < _LONGEST_MESSAGE
        return
    found = parsed.manifests if isinstance(parsed, manifests.Index) else (parsed.config, *parsed.layers)
    assert all(Descriptor.from_json(one.to_json()) == one for one in found)
    platforms.ranked(platforms.default(), found)


def config(data: bytes) -> None:
    """Expect an image config, or a ``DataError``."""
    with contextlib.suppress(DataError):
        parsed = manifests.parse_config(data)
        assert all(one.startswith(("sha256:", "sha512:")) for one in parsed.diff_ids)
        platforms.of(parsed.value)


def document(data: bytes) -> None:
    """Expect the same of whatever the bytes are said to be."""
    for media_type in sorted(INDEXES | MANIFESTS):
        manifest(data, media_type)
    config(data)


class Arena:
    """A target for layers, and beside it what they must not touch.

    :param directory: an empty one.
    """

    def __init__(self, directory: Path) -> None:
        self._target = directory / "store/target"
        self._outside = directory / "outside"
        self._directory = directory
        for path in (self._target, self._outside / "below"):
            path.mkdir(parents=True)
        for path in (self._outside, self._outside / "below", self._target.parent):
            (path / "precious").write_bytes(_PRECIOUS)
        self._before = self._seen()

    @classmethod
    def apart(cls, *writable: Path) -> Arena:
        """Move this process into a mount namespace in which nothing else can be written, and make one there.

        So a layer that gets out anywhere meets a read-only file system, and :meth:`layer` says so.

        :param writable: directories that stay so.
        """
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        for path in writable:
            syscalls.mount(path, path, None, syscalls.MS_BIND)
        syscalls.mount_setattr(Path("/"), set=syscalls.MOUNT_ATTR_RDONLY, flags=syscalls.AT_RECURSIVE)
        for path in writable:
            syscalls.mount_setattr(path, clear=syscalls.MOUNT_ATTR_RDONLY)
        syscalls.mount(Path("tmpfs"), PLACE, "tmpfs", syscalls.MS_NODEV)
        return cls(PLACE)

    def layer(self, data: bytes) -> None:
        """Expect a layer to be unpacked below the target or refused, whatever is there already."""
        for style in STYLES:
            for has_lower in (False, True):
                self._unpack(data, style, has_lower=has_lower)
            with RootedTree(self._target) as tree:
                clear(tree.open(b"").fd, b".")

    def _unpack(self, data: bytes, style: WhiteoutStyle, *, has_lower: bool) -> None:
        descriptors = os.listdir("/proc/self/fd")
        try:
            source = decompress(io.BytesIO(data))
            apply_layer(source, LayerTarget(self._target, style), limits=Limits(), has_lower=has_lower)
        except NeedsLower:
            assert has_lower
        except SwapboxError as error:
            assert len(error.message) < _LONGEST_MESSAGE
            cause = error.__cause__
            assert not (isinstance(cause, OSError) and cause.errno == errno.EROFS), f"got out: {error.message}"
        assert os.listdir("/proc/self/fd") == descriptors
        assert self._seen() == self._before
        if style == "remove":
            self._check_marks()

    def _seen(self) -> Mapping[str, _Seen]:
        """Return everything that is not below the target."""
        found = {}
        for path, directories, files in os.walk(self._directory):
            if path == str(self._target):
                directories.clear()
                continue
            for name in (".", *directories, *files):
                found[os.path.join(path, name)] = _look(os.path.join(path, name), inside=self._target)
        return found

    def _check_marks(self) -> None:
        """Expect none of the marks for deleted files where all is one tree."""
        for name in os.listdir(self._target):
            info = os.lstat(self._target / name)
            assert not name.startswith(".wh.")
            assert not (stat.S_ISCHR(info.st_mode) and info.st_rdev == 0)


class _Seen(NamedTuple):
    mode: int
    owner: tuple[int, int]
    links: int
    content: bytes
    attributes: list[str]


def _look(path: str, *, inside: Path) -> _Seen:
    info = os.lstat(path)
    if os.path.normpath(path) == str(inside):  # a layer may say what its root is like
        return _Seen(stat.S_IFDIR, (0, 0), 0, b"", [])
    content = Path(path).read_bytes() if stat.S_ISREG(info.st_mode) else b""
    attributes = os.listxattr(path, follow_symlinks=False)
    return _Seen(info.st_mode, (info.st_uid, info.st_gid), info.st_nlink, content, attributes)


CHECKS: Mapping[str, Callable[[bytes], None]] = {
    "reference": lambda data: reference(data.decode(errors="surrogateescape")),
    "manifest": document,
}
"""By the name of a corpus: what holds of each input. ``layer``, which needs an :class:`Arena`, is not here."""
