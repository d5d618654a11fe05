"""The tar reader, held against the standard library's, GNU tar's archives, and nonsense."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from swapbox.errors import DataError
from swapbox.images.tarstream import DIRECTORY, REGULAR, TarEntry, TarStream

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = "d" * 60 + "/" + "e" * 60 + "/" + "f" * 90


class Dripping:
    """A source that gives a few bytes at a time."""

    def __init__(self, data: bytes, *, step: int) -> None:
        self._file = io.BytesIO(data)
        self._step = step

    def read(self, _size: int, /) -> bytes:
        return self._file.read(self._step)


def read_all(data: bytes, *, step: int = 1 << 20) -> list[tuple[TarEntry, bytes]]:
    stream = TarStream(Dripping(data, step=step))
    found = []
    for entry in stream:
        body = b""
        while piece := stream.read():
            body += piece
        found.append((entry, body))
    return found


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mtime = kind, 1_700_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def tricky(format: int) -> bytes:
    names = ["plain", "ünïcode", "a b", "new\nline", "x" * 100, LONG]
    members = [(entry(name, mode=0o4755, uid=1, gid=2), name.encode()) for name in names]
    members += [
        (entry("dir", tarfile.DIRTYPE, mode=0o1777), b""),
        (entry("sym", tarfile.SYMTYPE, linkname="plain"), b""),
        (entry("hard", tarfile.LNKTYPE, linkname="plain"), b""),
        (entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        (entry("loop", tarfile.BLKTYPE, devmajor=7, devminor=0), b""),
        (entry("pipe", tarfile.FIFOTYPE), b""),
        (entry("empty"), b""),
        (entry("large", mode=0o600), bytes(range(256)) * 100),
    ]
    if format != tarfile.USTAR_FORMAT:
        members += [
            (entry("longlink", tarfile.SYMTYPE, linkname="t" * 300), b""),
            (entry("n" * 400), b"long"),
            (entry("big", uid=3_000_000, gid=4_000_000), b""),
            (entry("old", mtime=-5), b""),
        ]
    return archive(*members, format=format)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("step", [1 << 20, 512, 700, 1])
def test_it_reads_what_the_standard_library_reads(format: int, step: int) -> None:
    data = tricky(format)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [
            (info, (tar.extractfile(info) or io.BytesIO()).read() if info.isreg() else b"") for info in tar
        ]
    found = read_all(data, step=step)
    assert [(one.name.rstrip(b"/").decode(), body) for one, body in found] == [
        (info.name, body) for info, body in expected
    ]
    for (one, _), (info, _) in zip(found, expected, strict=True):
        assert (one.kind, one.mode, one.uid, one.gid) == (info.type[0], info.mode, info.uid, info.gid)
        assert (one.mtime, one.link.decode()) == (int(info.mtime) * 10**9, info.linkname)
        if info.isdev() and not info.isfifo():
            assert one.device == (info.devmajor, info.devminor)


def test_bodies_that_are_not_read_are_skipped() -> None:
    stream = TarStream(io.BytesIO(tricky(tarfile.PAX_FORMAT)))
    names = []
    for one in stream:
        names.append(one.name)
        stream.read(3)
    assert names[-1] == b"old"


def test_extended_headers_give_exact_times_sizes_and_attributes() -> None:
    info = entry("file")
    info.pax_headers = {"mtime": "1700000000.123456789", "SCHILY.xattr.user.x": "välue=1", "uid": "4294967294"}
    [(one, _)] = read_all(archive((info, b"")))
    assert one.mtime == 1_700_000_000_123_456_789
    assert one.xattrs == {b"user.x": "välue=1".encode()}
    assert one.uid == 4294967294


def test_a_time_before_the_epoch_keeps_its_fraction() -> None:
    info = entry("file")
    info.pax_headers = {"mtime": "-1.25"}
    assert read_all(archive((info, b"")))[0][0].mtime == -1_250_000_000


def test_global_headers_hold_for_all_that_follow_and_give_way_to_an_entrys_own() -> None:
    own = entry("b")
    own.pax_headers = {"mtime": "2"}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", pax_headers={"mtime": "1", "comment": "none"}) as tar:
        for info in (entry("a"), own, entry("c")):
            tar.addfile(info)
    assert [one.mtime for one, _ in read_all(made.getvalue())] == [10**9, 2 * 10**9, 10**9]


def test_a_name_with_a_slash_at_its_end_is_a_directory_in_the_oldest_format() -> None:
    [(one, _)] = read_all(archive((entry("dir/", tarfile.AREGTYPE), b""), format=tarfile.USTAR_FORMAT))
    assert one.kind == DIRECTORY


def test_archives_without_end_blocks_are_whole() -> None:
    data = archive((entry("a"), b"x"))[:1024]
    assert [one.name for one, _ in read_all(data)] == [b"a"]
    assert read_all(b"") == []
    assert read_all(data + bytes(512))[0][0].name == b"a"


def test_the_source_is_read_to_its_end() -> None:
    stream = TarStream(io.BytesIO(archive((entry("a"), b"")) + bytes(3_000_000)))
    list(stream)
    assert stream.bytes_read == 10240 + 3_000_000


@pytest.mark.parametrize(
    "options", ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"]
)
def test_sparse_files_of_gnu_tar_are_read_with_their_holes(options: str, tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        for offset in range(0, 30 * 1_000_000, 1_000_000):
            file.seek(offset)
            file.write(b"data at %d" % offset)
        file.truncate(40_000_000)
    option = [options] if options.startswith("--format") else ["--format=pax", options]
    command = ["tar", "-C", str(tmp_path), "--sparse", *option, "-cf", str(tmp_path / "tar"), "sparse"]
    subprocess.run(command, check=True)
    [(one, body)] = read_all((tmp_path / "tar").read_bytes())
    assert (one.name, one.kind, one.size) == (b"sparse", REGULAR, 40_000_000)
    assert one.sparse is not None
    restored = bytearray(one.size)
    for offset, length in one.sparse:
        restored[offset : offset + length], body = body[:length], body[length:]
    assert restored == source.read_bytes()
    assert len(one.sparse) >= 30


def header(**fields: bytes) -> bytes:
    """Return a header block with raw fields and a right checksum."""
    places = {
        "name": 0,
        "mode": 100,
        "uid": 108,
        "size": 124,
        "mtime": 136,
        "type": 156,
        "link": 157,
        "magic": 257,
    }
    block = bytearray(tarfile.TarInfo("file").tobuf(tarfile.GNU_FORMAT))
    for field, value in fields.items():
        block[places[field] : places[field] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(type=kind, size=b"%011o\0" % len(records)) + records + bytes(-len(records) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def corrupt_checksum() -> bytes:
    return header()[:20] + b"X" + header()[21:]


MALFORMED: dict[str, tuple[Callable[[], bytes], str]] = {
    "wrong checksum": (corrupt_checksum, "checksum"),
    "half a header": (lambda: header()[:100], "truncated"),
    "no header": (lambda: b"#!/bin/sh\n" * 100, "malformed number|checksum"),
    "half a body": (lambda: header(size=b"00000001000\0") + bytes(100), "truncated"),
    "no padding": (lambda: header(size=b"00000000001\0") + b"x", "truncated"),
    "data behind the end": (lambda: bytes(512) + header(), "after its end"),
    "empty name": (lambda: header(name=bytes(100)), "empty name"),
    "unknown type": (lambda: header(type=b"?"), "unknown type '\\?'"),
    "multi-volume": (lambda: header(type=b"M"), "unknown type 'M'"),
    "link to nothing": (lambda: header(type=b"2"), "link to nothing"),
    "digits that are none": (lambda: header(mode=b"000\xff644\0"), "malformed number"),
    "decimal digits": (lambda: header(mode=b"0000999\0"), "malformed number"),
    "python's digits": (lambda: header(mode=b"0o00644\0"), "malformed number"),
    "negative size": (lambda: header(size=b"\xff" * 12), "-1 bytes"),
    "immense size": (lambda: header(size=b"\x80" + b"\xff" * 11), "bytes"),
    "owner minus one": (lambda: header(uid=b"\x80\0\0\0\xff\xff\xff\xff"), "owner 4294967295"),
    "negative owner": (lambda: header(uid=b"\xff" * 8), "owner -1"),
    "record without length": (lambda: pax(b"path=x\n") + header(), "malformed record"),
    "record longer than the header": (lambda: pax(b"99 path=x\n") + header(), "malformed record"),
    "record of no length": (lambda: pax(b"0 path=x\n") + header(), "malformed record"),
    "record without a newline": (lambda: pax(b"9 path=xy") + header(), "malformed record"),
    "record without a key": (lambda: pax(b"5 =x\n") + header(), "malformed record"),
    "null byte in a path": (lambda: pax(record(b"path", b"a\0b")) + header(), "null byte"),
    "null byte in a link": (lambda: pax(record(b"linkpath", b"a\0b")) + header(type=b"2"), "null byte"),
    "null byte in an attribute": (
        lambda: pax(record(b"SCHILY.xattr.a\0b", b"x")) + header(),
        "extended attribute",
    ),
    "nameless attribute": (lambda: pax(record(b"SCHILY.xattr.", b"x")) + header(), "extended attribute"),
    "size in words": (lambda: pax(record(b"size", b"big")) + header(), "size b'big' is not a number"),
    "negative record": (lambda: pax(record(b"uid", b"-1")) + header(), "uid b'-1' is not a number"),
    "ten thousand digits": (lambda: pax(record(b"size", b"9" * 10_000)) + header(), "is not a number"),
    "time in words": (lambda: pax(record(b"mtime", b"noon")) + header(), "time b'noon' is not a number"),
    "extended header of an immense size": (lambda: header(type=b"x", size=b"77777777777\0"), "extended header of"),
    "extended header and no entry": (lambda: pax(record(b"path", b"x")), "ends after an extended header"),
    "long name and no entry": (lambda: header(type=b"L", size=b"00000000001\0") + b"x" + bytes(511), "ends after"),
    "sparse map out of the file": (
        lambda: pax(record(b"GNU.sparse.map", b"5,10") + record(b"GNU.sparse.size", b"10")) + header(),
        "sparse map has 10 bytes at 5 in a file of 10",
    ),
    "sparse map that overlaps": (
        lambda: pax(record(b"GNU.sparse.map", b"0,5,3,5") + record(b"GNU.sparse.size", b"10")) + header(),
        "sparse map has 5 bytes at 3",
    ),
    "sparse map without its data": (
        lambda: pax(record(b"GNU.sparse.map", b"0,5") + record(b"GNU.sparse.size", b"10")) + header(),
        "does not add up",
    ),
    "sparse map of one number": (
        lambda: pax(record(b"GNU.sparse.map", b"0") + record(b"GNU.sparse.size", b"10")) + header(),
        "ends with an offset",
    ),
    "sparse map in no body": (
        lambda: (
            pax(
                record(b"GNU.sparse.major", b"1")
                + record(b"GNU.sparse.minor", b"0")
                + record(b"GNU.sparse.realsize", b"1")
            )
            + header()
        ),
        "longer than the entry",
    ),
    "sparse format of the future": (lambda: pax(record(b"GNU.sparse.major", b"9")) + header(), "unknown format"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_archive_is_an_error_that_says_what_is_wrong(case: str) -> None:
    make, message = MALFORMED[case]
    with pytest.raises(DataError, match=message):
        read_all(make())


def test_a_time_out_of_range_is_the_epoch() -> None:
    assert read_all(header(mtime=b"\x80" + b"\xff" * 11))[0][0].mtime == 0


def test_whatever_is_in_an_archive_the_only_error_is_a_data_error() -> None:
    chance = random.Random(20240101)
    good = [tricky(format) for format in FORMATS]
    bad = [make() for make, _ in MALFORMED.values()]
    outcomes = set()
    for _ in range(2000):
        data = bytearray(chance.choice(chance.choice([good, good, bad])))
        for _ in range(chance.randint(1, 4)):
            mutate(data, chance)
        try:
            read_all(bytes(data), step=chance.choice([512, 1000, 1 << 20]))
            outcomes.add("read")
        except DataError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def mutate(data: bytearray, chance: random.Random) -> None:
    """Change, cut, repeat or insert bytes; often with the checksum made right again, so that more is reached."""
    at = chance.randrange(len(data) + 1)
    block = at // 512 * 512
    match chance.randrange(6):
        case 0 | 1 | 2:
            data[at : at + 1] = bytes([chance.choice([0, 0x20, 0x2F, 0x37, 0x80, 0xFF, chance.randrange(256)])])
        case 3:
            del data[at : at + chance.choice([1, 100, 512])]
        case 4:
            data[block:block] = data[block : block + 512]
        case 5:
            data[at:at] = chance.randbytes(chance.choice([1, 12, 512]))
    if len(data) >= block + 512 and chance.random() < 0.8:
        data[block + 148 : block + 156] = b" " * 8
        data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
