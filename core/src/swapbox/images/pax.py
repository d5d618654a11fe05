"""PAX extended headers: records of ``length keyword=value`` (POSIX.1-2017, pax, "pax Extended Header")."""

from __future__ import annotations

import re

from swapbox.errors import DataError

Records = dict[bytes, bytes]

_LENGTH = re.compile(rb"(\d{1,9}) ")
_TIME = re.compile(rb"(-?)(\d{1,20})(?:\.(\d*))?")
_SIZE = re.compile(rb"\d{1,19}")
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
SPARSE_MAP = b"GNU.sparse.map"


def parse_records(data: bytes) -> Records:
    """Read the records of one header; an empty value says that the keyword does not apply.

    GNU's sparse format 0.0 repeats two keywords; they are joined to the map that format 0.1 has.

    :raises DataError: a record is malformed.
    """
    records: Records = {}
    pairs: list[bytes] = []
    at = 0
    while at < len(data):
        match = _LENGTH.match(data, at)
        start, end = (match.end(), at + int(match[1])) if match else (0, 0)
        key, equals, value = data[start : end - 1].partition(b"=") if start < end else (b"", b"", b"")
        if not key or not equals or end > len(data) or data[end - 1] != 0x0A:
            raise DataError(f"invalid tar archive: malformed record {data[at : at + 40]!r} in an extended header")
        if key in _SPARSE_PAIR:
            if key != _SPARSE_PAIR[len(pairs) % 2]:
                raise DataError("invalid tar archive: sparse map with a length before its offset")
            pairs.append(value)
        records[key] = value
        at = end
    if pairs:
        records[SPARSE_MAP] = b",".join(pairs)
    return records


def parse_size(value: bytes, key: str) -> int:
    """Read a decimal number of at most 19 digits.

    :raises DataError: it is something else.
    """
    if not _SIZE.fullmatch(value):
        raise DataError(f"invalid tar archive: {key} {value[:40]!r} is not a number")
    return int(value)


def parse_time(value: bytes) -> int:
    """Read decimal seconds with an optional fraction as nanoseconds.

    :raises DataError: it is something else.
    """
    match = _TIME.fullmatch(value)
    if not match:
        raise DataError(f"invalid tar archive: time {value[:40]!r} is not a number")
    nanoseconds = int(match[2]) * 10**9 + int((match[3] or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if match[1] else nanoseconds
