"""An image of a whole Debian: some 90 MB and thousands of files, made once per machine by ``debootstrap``."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zlib
from pathlib import Path
from typing import IO, Any

from swapbox.descriptors import OCI_LAYER, Descriptor
from swapbox.errors import Unsupported
from swapbox.testing.images import Blob, Image, Layer, image_of


def cache_directory() -> Path:
    """Return where slow images are kept: ``SWAPBOX_TEST_CACHE``, else a folder of the temporary directory."""
    import tempfile

    default = Path(tempfile.gettempdir()) / "swapbox-test-cache"
    path = Path(os.environ.get("SWAPBOX_TEST_CACHE", default))
    path.mkdir(parents=True, exist_ok=True)
    return path


def debian_image(cache: Path | None = None) -> Image:
    """Make an image of a minimal Debian in one gzip -6 layer of about 90 MB, or take it from the cache.

    :raises Unsupported: there is no ``debootstrap`` here, or it failed.
    """
    folder = cache or cache_directory()
    blob, facts = folder / "debian.tar.gz", folder / "debian.json"
    if not facts.exists():
        _write_atomically(facts, json.dumps(_make_debian(folder, blob)).encode())
    known = json.loads(facts.read_bytes())
    descriptor = Descriptor(f"{OCI_LAYER}+gzip", known["digest"], known["size"])
    return image_of([Layer(Blob(descriptor, blob), known["diff_id"])], config={"Cmd": ["bash"]})


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(data)
    temporary.rename(path)


def _make_debian(folder: Path, blob: Path) -> dict[str, Any]:
    import platform
    import tempfile

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree, packed = Path(scratch) / "tree", Path(scratch) / "layer"
        _debootstrap(platform.freedesktop_os_release().get("VERSION_CODENAME", "stable"), tree)
        facts = _pack_tree(tree, packed)
        packed.rename(blob)
    return facts


def _debootstrap(suite: str, tree: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("debootstrap") is None:
        raise Unsupported("no debootstrap to make a Debian image with", hint="install the package debootstrap")
    result = subprocess.run(
        ["debootstrap", "--variant=minbase", suite, tree], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode:
        last = result.stdout.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unsupported(f"debootstrap of {suite} failed: {last}")


class _DigestingGzip(io.RawIOBase):
    """A write-only stream that compresses, and digests both sides."""

    def __init__(self, sink: IO[bytes], level: int) -> None:
        super().__init__()
        self._sink = sink
        self._pack = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self.plain, self.packed, self.size = hashlib.sha256(), hashlib.sha256(), 0

    def write(self, data: Any, /) -> int:
        """Take uncompressed bytes."""
        self.plain.update(data)
        self._emit(self._pack.compress(data))
        return len(data)

    def _emit(self, data: bytes) -> None:
        self.packed.update(data)
        self.size += len(data)
        self._sink.write(data)

    def finish(self) -> None:
        """Write the end of the gzip stream."""
        self._emit(self._pack.flush())


def _pack_tree(tree: Path, target: Path) -> dict[str, Any]:
    with target.open("wb") as sink:
        stream = _DigestingGzip(sink, 6)
        # A stream ("w|") because gzip and digests cannot seek back.
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive:
            for path in sorted(tree.iterdir()):
                archive.add(path, arcname=path.name)
        stream.finish()
    return {
        "digest": f"sha256:{stream.packed.hexdigest()}",
        "size": stream.size,
        "diff_id": f"sha256:{stream.plain.hexdigest()}",
    }
