"""Small OCI images for tests, made in pure Python from what the host has.

``busybox_image`` needs a static busybox (Debian's ``busybox-static``). :mod:`swapbox.testing.debian` makes a whole
distribution, :mod:`swapbox.testing.hostile` layers that try to break out, and :mod:`swapbox.testing.publish` puts
images where an engine can pull them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from swapbox.descriptors import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor
from swapbox.errors import Unsupported

if TYPE_CHECKING:
    import random

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CREATED = "2024-01-01T00:00:00Z"
_MTIME = 1704067200
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)

Entry = tuple[tarfile.TarInfo, bytes]
"""One member of a layer and its content."""


class Blob(NamedTuple):
    """A descriptor and the bytes it describes, in memory or in a file."""

    descriptor: Descriptor
    source: bytes | Path

    @classmethod
    def of(cls, media_type: str, data: bytes) -> Blob:
        """Describe ``data``."""
        return cls(Descriptor(media_type, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)), data)

    def open(self) -> IO[bytes]:
        """Return a stream of the bytes."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")


class Layer(NamedTuple):
    """A compressed layer and the digest of its uncompressed tar."""

    blob: Blob
    diff_id: str


class Image(NamedTuple):
    """Everything one image consists of; ``manifest`` refers to the rest by digest."""

    manifest: Blob
    config: Blob
    layers: tuple[Layer, ...]

    def blobs(self) -> Iterator[Blob]:
        """Yield config and layers: what a registry must have before it takes the manifest."""
        yield self.config
        for layer in self.layers:
            yield layer.blob


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, _MTIME
    return info


def file(name: str, data: bytes = b"", *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    """Return a regular file."""
    info = _info(name, tarfile.REGTYPE, mode)
    info.size, info.uid, info.gid = len(data), uid, gid
    return info, data


def directory(name: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    """Return a directory."""
    info = _info(name, tarfile.DIRTYPE, mode)
    info.uid, info.gid = uid, gid
    return info, b""


def symlink(name: str, target: str) -> Entry:
    """Return a symbolic link."""
    info = _info(name, tarfile.SYMTYPE, 0o777)
    info.linkname = target
    return info, b""


def hardlink(name: str, target: str) -> Entry:
    """Return a hard link to another member."""
    info = _info(name, tarfile.LNKTYPE, 0o644)
    info.linkname = target
    return info, b""


def whiteout(path: str) -> Entry:
    """Return the marker that deletes ``path`` of the layers below."""
    head, _, tail = path.rpartition("/")
    return file(f"{head}/.wh.{tail}" if head else f".wh.{tail}")


def opaque(path: str) -> Entry:
    """Return the marker that hides what the layers below have in the directory ``path``."""
    return file(f"{path}/.wh..wh..opq")


def layer_of(entries: Iterable[Entry], *, level: int = 6) -> Layer:
    """Make a gzip layer; the same entries always give the same digest."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    tar = raw.getvalue()
    packed = gzip.compress(tar, compresslevel=level, mtime=0)
    return Layer(Blob.of(f"{OCI_LAYER}+gzip", packed), f"sha256:{hashlib.sha256(tar).hexdigest()}")


def image_of(layers: Iterable[Layer], *, config: Mapping[str, Any] | None = None, created: str = CREATED) -> Image:
    """Make an image of ``layers``, bottom first.

    :param config: the image specification's ``config`` object: ``Cmd``, ``Env``, ``Entrypoint``, ``User``, ...
    :param created: when, as RFC 3339 has it.
    """
    stack = tuple(layers)
    document = {
        "created": created,
        "architecture": _ARCHITECTURE,
        "os": "linux",
        "config": {"Env": [PATH], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in stack]},
        "history": [{"created": CREATED, "created_by": "swapbox.testing"} for _ in stack],
    }
    config_blob = Blob.of(OCI_CONFIG, json.dumps(document, sort_keys=True).encode())
    return Image(manifest_of(config_blob, stack), config_blob, stack)


def manifest_of(config: Blob, layers: Iterable[Layer]) -> Blob:
    """Make the manifest that ties ``config`` and ``layers`` together, whatever they contain."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor.to_json(),
        "layers": [layer.blob.descriptor.to_json() for layer in layers],
    }
    return Blob.of(OCI_MANIFEST, json.dumps(document).encode())


_PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\n"
    b"app:x:1000:1000:app:/home/app:/bin/sh\n"
    b"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
)
_GROUP = b"root:x:0:\napp:x:1000:\nstaff:x:50:app\naudio:x:29:app,root\nnogroup:x:65534:\n"


def busybox_layer() -> Layer:
    """Make a layer of the host's static busybox, its applets, and a few users.

    :raises Unsupported: the host has no busybox.
    """
    program = Path("/bin/busybox")
    if not program.exists():
        raise Unsupported("no /bin/busybox to make an image of", hint="install the package busybox-static")
    directories = ("bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "var", "var/tmp")
    entries = [directory(name, mode=0o1777 if name.endswith("tmp") else 0o755) for name in directories]
    entries.append(directory("home/app", uid=1000, gid=1000))
    entries.append(file("bin/busybox", program.read_bytes(), mode=0o755))
    entries += [symlink(f"bin/{applet}", "busybox") for applet in _applets(program)]
    entries += [
        file("etc/passwd", _PASSWD),
        file("etc/group", _GROUP),
        file("etc/not-executable", b"no program\n"),
    ]
    return layer_of(entries)


def _applets(program: Path) -> list[str]:
    import subprocess

    listed = subprocess.run([program, "--list"], capture_output=True, check=True, text=True).stdout.split()
    return sorted(set(listed) - {"busybox"})


def busybox_image(*, config: Mapping[str, Any] | None = None, extra: Iterable[Layer] = ()) -> Image:
    """Make an image of busybox, with ``extra`` layers on top.

    :raises Unsupported: the host has no busybox.
    """
    return image_of([busybox_layer(), *extra], config={"Cmd": ["sh"], **(config or {})})


def layered_image(count: int) -> Image:
    """Make a busybox image of ``count`` layers, each of which changes and deletes what those below made.

    In the whole, ``/layers/N`` is there for the last layer only, ``/kept/N`` for all, and ``/opaque`` holds just
    the last layer's file.
    """
    layers = [busybox_layer()]
    for number in range(1, count):
        text = f"{number}\n".encode()
        entries = [directory("layers"), directory("kept"), file(f"kept/{number}", text)]
        entries += [file(f"layers/{number}", text), whiteout(f"layers/{number - 1}")]
        entries += [directory("opaque"), opaque("opaque"), file(f"opaque/{number}", text)]
        layers.append(layer_of(entries))
    return image_of(layers, config={"Cmd": ["sh"]})


def small_files_image(*, layers: int, files: int) -> Image:
    """Make an image of many small files, as source trees have them: a third compressed, 30 in a directory.

    :param files: in all layers together.
    """
    import random

    chance = random.Random(files)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz_", k=chance.randint(2, 12))) for _ in range(2000)]
    text = b" ".join(chance.choices(words, k=100_000))
    return image_of(layer_of(_small_files(number, files // layers, chance, text)) for number in range(layers))


def _small_files(layer: int, files: int, chance: random.Random, text: bytes) -> Iterator[Entry]:
    yield directory("srv")
    yield directory(f"srv/{layer}")
    for number in range(files):
        place = f"srv/{layer}/{number // 300}"
        if number % 300 == 0:
            yield directory(place)
        if number % 30 == 0:
            yield directory(f"{place}/{number // 30}")
        start = chance.randrange(len(text))
        data = text[start : start + chance.randint(100, 8000)]
        yield file(f"{place}/{number // 30}/{number}.txt", data)


def incompressible_image(sizes: Iterable[int]) -> Image:
    """Make an image of layers with one file each, of so many bytes, none of which gzip can make shorter."""
    return image_of(_incompressible(number, size) for number, size in enumerate(sizes))


def _incompressible(number: int, size: int) -> Layer:
    block = os.urandom(1_000_000)  # longer than gzip looks back
    return layer_of([file(f"random/{number}", block * (size // len(block)))], level=0)
