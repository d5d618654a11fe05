"""Maps of sparse files in tar archives: GNU's old format, PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, D.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swapbox.errors import DataError
from swapbox.images.pax import SPARSE_MAP, Records, parse_size

Segments = tuple[tuple[int, int], ...]
"""Offset and length of each piece of data, ascending; the rest of the file is holes."""

_MAP_LIMIT = 1024 * 1024

HOLE = 64 * 1024
"""Bytes of zeros that are worth a hole."""

_ZEROS = bytes(1024 * 1024)


def is_hole(piece: bytes | memoryview) -> bool:
    """Say whether a piece of a file is zeros and long enough to be left out."""
    length = len(piece)
    if not HOLE <= length <= len(_ZEROS) or piece[0] or piece[length - 1]:
        return False
    return bytes(piece) == _ZEROS[:length]


def from_header(header: bytes, block: Callable[[], bytes], number: Callable[[bytes], int]) -> tuple[Segments, int]:
    """Read the map and the real size from an old GNU header and the blocks that follow it.

    :param block: takes the next 512 bytes of the archive.
    :param number: reads a numeric header field.
    """
    fields = [header[at : at + 12] for at in range(386, 482, 12)]
    more, size = header[482], number(header[483:495])
    while more:
        extension = block()
        fields += [extension[at : at + 12] for at in range(0, 504, 12)]
        more = extension[504]
        if len(fields) * 12 > _MAP_LIMIT:
            raise DataError("invalid tar archive: sparse map is too long")
    return _pairs([number(field) for field in fields if field[0]]), size


def from_records(records: Records, block: Callable[[], bytes]) -> tuple[Segments, int] | None:
    """Read the map and the real size that extended headers give; None when they describe no sparse file.

    :param block: takes the next 512 bytes of the body, where format 1.0 keeps its map.
    """
    if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
        size = parse_size(records.get(b"GNU.sparse.realsize", b""), "sparse size")
        return _pairs(_body_map(block)), size
    if b"GNU.sparse.major" in records:
        raise DataError("invalid tar archive: sparse file of unknown format")
    if SPARSE_MAP not in records:
        return None
    size = parse_size(records.get(b"GNU.sparse.size", b""), "sparse size")
    text = records[SPARSE_MAP]
    return _pairs([parse_size(number, "sparse map") for number in text.split(b",")] if text else []), size


def check(segments: Segments, *, size: int, stored: int) -> Segments:
    """Return the map when it is ascending, inside the file and as long as the data.

    :param size: of the file once written, in bytes.
    :param stored: bytes of data in the archive.
    :raises DataError: it is not.
    """
    if not 0 <= size < 2**63:
        raise DataError(f"invalid tar archive: a sparse file of {size} bytes")
    end = 0
    for offset, length in segments:
        if not end <= offset <= offset + length <= size:
            raise DataError(f"invalid tar archive: sparse map has {length} bytes at {offset} in a file of {size}")
        end = offset + length
    if sum(length for _, length in segments) != stored:
        raise DataError(f"invalid tar archive: sparse map does not add up to the {stored} bytes of data")
    return segments


def _body_map(block: Callable[[], bytes]) -> list[int]:
    """Read decimal numbers, one a line: how many pairs, then the pairs; padded to whole blocks."""
    text = block()
    while b"\n" not in text:
        text += _next(text, block)
    count = parse_size(text[: text.index(b"\n")], "sparse map")
    while text.count(b"\n") < 1 + 2 * count:
        text += _next(text, block)
    return [parse_size(number, "sparse map") for number in text.split(b"\n")[1 : 1 + 2 * count]]


def _next(text: bytes, block: Callable[[], bytes]) -> bytes:
    if len(text) >= _MAP_LIMIT:
        raise DataError("invalid tar archive: sparse map is too long")
    return block()


def _pairs(numbers: Sequence[int]) -> Segments:
    if len(numbers) % 2:
        raise DataError("invalid tar archive: sparse map ends with an offset")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
