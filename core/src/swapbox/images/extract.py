"""One layer from a blob to a directory: decompressed, hashed and written in one pass, then compared to its diffID.

What this module needs is all that a process of :mod:`swapbox.images.crew` imports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from swapbox.config import Limits
from swapbox.descriptors import Descriptor
from swapbox.drivers.storage import LayerTarget
from swapbox.errors import DataError
from swapbox.images.apply import apply_layer
from swapbox.images.compression import ByteSource, Decompressed, decompress
from swapbox.images.readahead import ReadAhead

_REPORT_EVERY = 1024 * 1024


class Rules(NamedTuple):
    """What holds for every layer that is unpacked; see :func:`swapbox.images.apply.apply_layer`."""

    limits: Limits = Limits()
    unprivileged: bool = False


class Work(NamedTuple):
    """A layer to write.

    :param diff_id: what its uncompressed bytes must have for a digest.
    """

    descriptor: Descriptor
    diff_id: str
    rules: Rules


def extract(
    blob: BinaryIO,
    work: Work,
    write: Callable[[ReadAhead, ByteSource], int],
    *,
    report: Callable[[int], object],
) -> int:
    """Give the uncompressed layer to ``write``, check its digest, and return what ``write`` returns.

    :param blob: the compressed layer; closed at the end.
    :param report: told how many compressed bytes were taken, whenever that is another mebibyte.
    :raises DataError: the layer is malformed or not what its diffID promises.
    """
    name = work.descriptor.digest
    plain = decompress(blob, work.descriptor.media_type, max_ratio=work.rules.limits.max_ratio)
    algorithm = work.diff_id.partition(":")[0]
    try:
        with ReadAhead(plain, algorithm=algorithm, release=blob.close) as ahead:
            size = write(ahead, _Reported(ahead, plain, report))
            if ahead.digest != work.diff_id:
                raise DataError(f"layer {name} unpacks to {ahead.digest}, its image config says {work.diff_id}")
            return size
    except DataError as error:
        if name in error.message:
            raise
        raise DataError(f"layer {name}: {error.message}", hint=error.hint) from error


def write_layer(
    source: ByteSource, target: LayerTarget, rules: Rules, *, has_lower: bool, warn: Callable[[str], None]
) -> int:
    """Write an uncompressed layer; see :func:`swapbox.images.apply.apply_layer`."""
    return apply_layer(
        source,
        target,
        limits=rules.limits,
        unprivileged=rules.unprivileged,
        has_lower=has_lower,
        warn=warn,
    )


class _Reported:
    """Reads, and reports whenever another mebibyte of the compressed layer was taken."""

    def __init__(self, ahead: ReadAhead, plain: Decompressed, report: Callable[[int], object]) -> None:
        self._ahead = ahead
        self._plain = plain
        self._report = report
        self._told = 0

    def read(self, size: int, /) -> bytes:
        piece = self._ahead.read(size)
        taken = self._plain.compressed_bytes
        if taken - self._told >= _REPORT_EVERY:
            self._told = taken
            self._report(taken)
        return piece
