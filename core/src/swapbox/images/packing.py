"""Layers that are made here: compressed and hashed on their way into the content store."""

from __future__ import annotations

import hashlib
import time
import zlib
from typing import Any

from swapbox.config import Limits
from swapbox.store.staging import StagedBlob

OWN_LAYERS = Limits(max_ratio=2**40)
"""What a layer that was compressed here may ask for: how well it compresses says nothing of who made it."""

_GZIP = 31  # zlib's wbits: the largest window, gzip framing


class PackedLayer:
    """Compresses a layer into a blob, and hashes what it was before."""

    def __init__(self, blob: StagedBlob) -> None:
        self._blob = blob
        self._hash = hashlib.sha256()
        self._compressor: Any = _compressor()

    @property
    def digest(self) -> str:
        """The diffID of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Append bytes of the uncompressed layer."""
        self._hash.update(data)
        if packed := self._compressor.compress(data):
            self._blob.write(packed)

    def finish(self) -> None:
        """Write what the compressor still holds."""
        self._blob.write(self._compressor.flush())


def created_now() -> str:
    """Return the time as image configs have it: RFC 3339 with nanoseconds."""
    seconds, fraction = divmod(time.time_ns(), 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{fraction:09d}Z"


def _compressor() -> Any:
    """Return isal's compressor where it is installed: several times as fast as zlib's."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(wbits=_GZIP)
    return isal_zlib.compressobj(wbits=_GZIP)
