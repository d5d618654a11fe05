"""Decompression: every format, every way to break one, and what the media type may claim."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
from collections.abc import Callable

import pytest
import zstandard

from swapbox.descriptors import OCI_LAYER
from swapbox.errors import DataError, Unavailable, Unsupported
from swapbox.images.compression import CHUNK, ByteSource, Decompressed, decompress
from swapbox.images.readahead import ReadAhead
from swapbox.testing.hostile import zeros

DATA = random.Random(1).randbytes(300_000) + bytes(3_000_000) + b"end"


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zstd_of_unknown_size(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd,
    "zstd-unknown-size": zstd_of_unknown_size,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "tar": bytes,
}
COMPRESSED = [name for name in PACK if name != "tar"]


@pytest.fixture(params=["isal", "zlib"])
def gzip_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to decompress gzip, if isal is there."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal.igzip_lib", None)


class Dripping:
    def __init__(self, data: bytes, *, step: int) -> None:
        self._file = io.BytesIO(data)
        self._step = step

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._step))


def everything(source: ByteSource, media_type: str = "", *, size: int = CHUNK) -> bytes:
    reader = decompress(source, media_type)
    return b"".join(iter(lambda: reader.read(size), b""))


def drain(reader: Decompressed) -> None:
    while reader.read():
        pass


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("step", [1, 1000, CHUNK])
def test_a_format_is_told_by_its_first_bytes(name: str, step: int) -> None:
    data = DATA[250_000:310_000] if step == 1 else DATA
    assert everything(Dripping(PACK[name](data), step=step)) == data


@pytest.mark.parametrize("name", PACK)
def test_a_read_returns_no_more_than_asked_for(name: str) -> None:
    reader = decompress(io.BytesIO(PACK[name](DATA)))
    assert len(reader.read(10)) == 10
    assert everything(reader, size=7777) == DATA[10:]


@pytest.mark.parametrize("name", PACK)
def test_it_counts_what_went_in_and_what_came_out(name: str) -> None:
    packed = PACK[name](DATA)
    reader = decompress(io.BytesIO(packed))
    drain(reader)
    assert (reader.compressed_bytes, reader.uncompressed_bytes) == (len(packed), len(DATA))


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize("name", COMPRESSED)
def test_several_streams_one_after_the_other_are_one(name: str) -> None:
    pack = PACK[name]
    packed = pack(b"one ") + pack(b"") + pack(b"two")
    for step in (1, 7, CHUNK):
        assert everything(Dripping(packed, step=step)) == b"one two"


def test_zstd_frames_to_be_skipped_are_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (300_000).to_bytes(4, "little") + bytes(300_000)
    assert everything(io.BytesIO(skippable + zstd(b"one ") + skippable + zstd(b"two") + skippable)) == b"one two"


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize("tail", [bytes(1), bytes(700_000), b"garbage", b"\x1f"])
def test_what_follows_gzip_is_ignored_as_gzip_does_but_read(tail: bytes) -> None:
    source = io.BytesIO(gzip.compress(b"data") + tail)
    assert everything(source) == b"data"
    assert source.read() == b""


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize("name", COMPRESSED)
def test_truncated_data_is_an_error_wherever_it_ends(name: str) -> None:
    packed = PACK[name](DATA[299_000:310_000])
    for length in [*range(6, len(packed), 41), *range(len(packed) - 20, len(packed))]:
        with pytest.raises(DataError, match=r"truncated|corrupt"):
            everything(io.BytesIO(packed[:length]))


@pytest.mark.usefixtures("gzip_library")
def test_a_wrong_checksum_or_length_is_an_error() -> None:
    packed = bytearray(gzip.compress(DATA))
    for place in (-8, -1):
        broken = packed.copy()
        broken[place] ^= 1
        with pytest.raises(DataError, match="corrupt gzip data"):
            everything(io.BytesIO(broken))


@pytest.mark.usefixtures("gzip_library")
@pytest.mark.parametrize("name", COMPRESSED)
def test_whatever_is_broken_the_only_error_is_a_data_error(name: str) -> None:
    chance = random.Random(name)
    packed = PACK[name](DATA[299_900:301_000])
    refused = 0
    for _ in range(400):
        broken = bytearray(packed)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            everything(io.BytesIO(broken))
        except DataError:
            refused += 1
    assert refused > 50


def test_a_plain_tar_may_be_labelled_as_compressed() -> None:
    assert everything(io.BytesIO(b"plain tar"), f"{OCI_LAYER}+gzip") == b"plain tar"


def test_compressed_data_may_be_labelled_as_plain() -> None:
    assert everything(io.BytesIO(gzip.compress(b"x")), OCI_LAYER) == b"x"


def test_a_claim_of_one_compression_over_another_is_an_error() -> None:
    with pytest.raises(DataError, match="is compressed with gzip"):
        everything(io.BytesIO(gzip.compress(b"x")), f"{OCI_LAYER}+zstd")


def test_an_encrypted_layer_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="is encrypted"):
        everything(io.BytesIO(b"secret"), f"{OCI_LAYER}+gzip+encrypted")


def test_a_bomb_is_refused_when_it_has_grown_a_gibibyte() -> None:
    bomb = zeros(10 << 30)
    assert isinstance(bomb.blob.source, bytes)
    reader = decompress(io.BytesIO(bomb.blob.source), max_ratio=200)
    with pytest.raises(DataError, match="over 200 times as many") as raised:
        drain(reader)
    assert raised.value.hint is not None
    assert "limits.max-ratio" in raised.value.hint
    assert reader.uncompressed_bytes < (1 << 30) + 2 * CHUNK


def test_a_zstd_bomb_takes_no_more_memory_than_a_piece() -> None:
    reader = decompress(io.BytesIO(zstd(bytes(500 << 20))))
    assert 0 < len(reader.read(1 << 40)) <= CHUNK


def test_zstd_without_its_library_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstd(b"x")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(Unsupported, match="zstd"):
        everything(io.BytesIO(packed))


class Failing:
    """A source whose network fails."""

    def __init__(self) -> None:
        self._left = [b"abc"]

    def read(self, _size: int, /) -> bytes:
        if self._left:
            return self._left.pop()
        raise Unavailable("the registry is gone")


def test_reading_ahead_gives_the_same_bytes_and_their_digest() -> None:
    import hashlib

    for algorithm in ("sha256", "sha512"):
        with ReadAhead(io.BytesIO(DATA), algorithm=algorithm) as ahead:
            assert b"".join(iter(ahead.read, b"")) == DATA
            assert ahead.read() == b""
            assert ahead.digest == f"{algorithm}:{hashlib.new(algorithm, DATA).hexdigest()}"


def test_reading_ahead_raises_what_the_source_raised_in_its_place() -> None:
    released: list[bool] = []
    with ReadAhead(Failing(), release=lambda: released.append(True)) as ahead:
        assert ahead.read() == b"abc"
        with pytest.raises(Unavailable, match="the registry is gone"):
            ahead.read()
    assert released == [True]


def test_reading_ahead_can_be_given_up_in_the_middle() -> None:
    released: list[bool] = []
    endless = io.BytesIO(bytes(100 * CHUNK))
    with ReadAhead(endless, release=lambda: released.append(True)) as ahead:
        ahead.read()
    assert released == [True]
    assert endless.tell() < 100 * CHUNK
