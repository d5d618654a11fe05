"""Small images from the host's own programs: each with its libraries, its links and just enough of ``/etc``.

The same programs give the same bytes: names are sorted, owners are root, times are one fixed time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from swapbox.descriptors import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from swapbox.errors import AlreadyExists, InvalidInput
from swapbox.images import platforms
from swapbox.images.closure import Closure, Node, find
from swapbox.layouts import REF_NAME

if TYPE_CHECKING:
    import tarfile

    from swapbox.store.content import ContentStore

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_CHUNK = 1024 * 1024


class HostImage(NamedTuple):
    """An image of one layer, ready to be stored.

    :param layer: the file that holds the compressed layer.
    :param descriptor: of the layer.
    :param config: the image config, as stored.
    """

    layer: Path
    descriptor: Descriptor
    diff_id: str
    config: bytes

    @property
    def manifest(self) -> bytes:
        """The manifest, as stored."""
        config = Descriptor(OCI_CONFIG, _digest(self.config), len(self.config))
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": config.to_json(),
                "layers": [self.descriptor.to_json()],
            }
        )


def image_from_host(
    programs: Sequence[str],
    *,
    layer: Path,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    epoch: int | None = None,
) -> HostImage:
    """Write the layer of an image with these programs, and describe the image.

    :param programs: names to look for in ``PATH``, or paths.
    :param layer: the file to write.
    :param command: what the image runs; the first program when empty.
    :param environment: added to ``PATH``.
    :param epoch: the time of everything, in seconds; None for ``SOURCE_DATE_EPOCH`` or else 0.
    :raises NotFound: a program, or a library it needs, is not on this host.
    :raises InvalidInput: a file is neither an ELF program nor a script.
    """
    if not programs:
        raise InvalidInput("no program named for the image")
    if epoch is None:
        epoch = _source_date_epoch()
    paths = [find(name) for name in programs]
    closure = Closure()
    for path in paths:
        closure.add_program(path)
    descriptor, diff_id = _write_layer(closure.nodes, layer, epoch)
    config = _config(
        diff_id,
        command=list(command) or [paths[0] if "/" in programs[0] else programs[0]],
        environment={"PATH": DEFAULT_PATH} | dict(environment or {}),
        created_by=" ".join(["swapbox image from-host", *programs]),
        epoch=epoch,
    )
    return HostImage(layer, descriptor, diff_id, config)


def write_image(content: ContentStore, image: HostImage) -> Descriptor:
    """Store layer, config and manifest; return the manifest's descriptor."""
    with contextlib.suppress(AlreadyExists), content.ingest(image.descriptor) as ingest:
        with open(image.layer, "rb") as file:
            file.seek(ingest.offset)
            while piece := file.read(_CHUNK):
                ingest.write(piece)
        ingest.commit()
    content.put(image.config)
    return Descriptor(OCI_MANIFEST, content.put(image.manifest), len(image.manifest))


def write_layout(directory: Path, image: HostImage, *, name: str) -> Descriptor:
    """Write or extend an OCI image layout (image-spec, ``image-layout.md``); return the manifest's descriptor.

    :param name: becomes the annotation ``org.opencontainers.image.ref.name``; an image of that name is replaced.
    """
    import shutil

    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image.layer, blobs / image.descriptor.digest.removeprefix("sha256:"))
    for data in (image.config, image.manifest):
        (blobs / _digest(data).removeprefix("sha256:")).write_bytes(data)
    manifest = Descriptor(
        OCI_MANIFEST, _digest(image.manifest), len(image.manifest), _platform(), {REF_NAME: name}
    )
    index = directory / "index.json"
    others = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    others = [other for other in others if other.get("annotations", {}).get(REF_NAME) != name]
    manifests = [*others, manifest.to_json()]
    index.write_bytes(_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}))
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return manifest


def _source_date_epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not text.isdecimal() or len(text) > 12:
        raise InvalidInput(f"SOURCE_DATE_EPOCH {text!r} is not a number of seconds")
    return int(text)


def _write_layer(nodes: Mapping[str, Node], layer: Path, epoch: int) -> tuple[Descriptor, str]:
    """Write the files as a gzip-compressed tar; return its descriptor and its diffID."""
    import gzip
    import tarfile

    with open(layer, "wb") as file:
        compressed: Any = _Hashed(file)  # has of a file what gzip and tarfile use, but not what their stubs ask
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=compressed, mtime=0) as stream:
            plain: Any = _Hashed(stream)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for path in sorted(nodes):
                    _add(tar, path, nodes[path], epoch)
    return Descriptor(f"{OCI_LAYER}+gzip", compressed.digest, compressed.size), plain.digest


def _add(tar: tarfile.TarFile, path: str, node: Node, epoch: int) -> None:
    import tarfile

    info = tarfile.TarInfo(path.lstrip("/"))
    info.mode, info.mtime = stat.S_IMODE(node.mode), epoch
    if node.target is not None:
        info.type, info.linkname = tarfile.SYMTYPE, node.target
        tar.addfile(info)
    elif stat.S_ISDIR(node.mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif node.source is not None:
        with open(node.source, "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            tar.addfile(info, file)
    else:
        info.size = len(node.data)
        tar.addfile(info, io.BytesIO(node.data))


class _Writer(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _Hashed:
    """Hashes and counts what is written through it."""

    def __init__(self, inner: _Writer) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes, /) -> int:
        self._inner.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing; gzip asks for it."""


def _config(
    diff_id: str, *, command: list[str], environment: Mapping[str, str], created_by: str, epoch: int
) -> bytes:
    import time

    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    return _json(
        {
            "created": created,
            **_platform(),
            "config": {"Env": [f"{key}={value}" for key, value in environment.items()], "Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": created, "created_by": created_by}],
        }
    )


def _platform() -> dict[str, str]:
    return {key: value for key, value in platforms.default()._asdict().items() if value}


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
