"""Whatever strangers write is understood or refused with an error of ours: references, manifests, layers.

Each property is tried on some hundred inputs; what has failed once is kept beside it as an ``@example``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swapbox import layouts
from swapbox.descriptors import CONFIGS, INDEXES, LAYERS, MANIFESTS, digest_of
from swapbox.errors import DataError, NotFound
from swapbox.images import manifests
from swapbox.images.compression import decompress
from swapbox.images.tarstream import TarStream
from swapbox.testing import properties

bounded = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
few = settings(bounded, max_examples=100)

# -- references ---------------------------------------------------------------------------------------------------

DIGEST = f"sha256:{'a' * 64}"
PARTS = (
    *("a", "B", "0", "library", "localhost", "docker.io", "index.docker.io", "oci", "docker-archive"),
    *(
        ".",
        "..",
        "_",
        "__",
        "-",
        "/",
        ":",
        "@",
        "[::1]",
        ":5000",
        "sha256:",
        DIGEST,
        "a" * 64,
        " ",
        "\n",
        "é",
        "\0",
    ),
)
texts = st.one_of(st.text(), st.lists(st.sampled_from(PARTS), max_size=12).map("".join))


@bounded
@given(texts)
@example("docker.io/localhost/a")
@example("oci:/a//../..:b@" + DIGEST)
def test_any_text_is_a_reference_that_means_itself_or_an_invalid_one(text: str) -> None:
    properties.reference(text)


# -- manifests ----------------------------------------------------------------------------------------------------

_simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    _simple, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
_types = st.sampled_from(sorted(INDEXES | MANIFESTS | CONFIGS | LAYERS))


def nearly(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What belongs there, or now and then something else."""
    return st.integers(0, 9).flatmap(lambda number: anything if number == 0 else value)


descriptors = st.fixed_dictionaries(
    {
        "mediaType": nearly(_types),
        "digest": nearly(st.just(DIGEST)),
        "size": nearly(st.integers(0, 2**40)),
    },
    optional={
        "platform": nearly(st.fixed_dictionaries({"os": nearly(st.just("linux")), "architecture": anything})),
        "annotations": nearly(st.dictionaries(st.text(max_size=5), nearly(st.text(max_size=5)), max_size=2)),
        "urls": anything,
    },
)
documents = st.fixed_dictionaries(
    {"schemaVersion": nearly(st.just(2))},
    optional={
        "mediaType": nearly(_types),
        "config": nearly(descriptors),
        "layers": nearly(st.lists(nearly(descriptors), max_size=3)),
        "manifests": nearly(st.lists(nearly(descriptors), max_size=3)),
    },
)
_settings = ("User", "Env", "Cmd", "Labels", "Volumes", "Healthcheck")
configs = st.fixed_dictionaries(
    {"rootfs": nearly(st.fixed_dictionaries({"diff_ids": nearly(st.lists(nearly(st.just(DIGEST)), max_size=3))}))},
    optional={
        "os": nearly(st.text(max_size=5)),
        "architecture": nearly(st.text(max_size=5)),
        "variant": nearly(st.text(max_size=5)),
        "history": nearly(st.lists(anything, max_size=2)),
        "config": nearly(st.dictionaries(st.sampled_from(_settings), anything, max_size=3)),
    },
)


@bounded
@given(documents.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40), _types)
@example(b"[" * 100_000, "application/vnd.oci.image.index.v1+json")
def test_any_bytes_are_a_manifest_an_index_or_an_error(data: bytes, media_type: str) -> None:
    properties.manifest(data, media_type)


@bounded
@given(configs.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_any_bytes_are_an_image_config_or_an_error(data: bytes) -> None:
    properties.config(data)


class Files:
    """A layout or archive in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def read(self, name: str) -> bytes:
        if name not in self._files:
            raise NotFound(f"no {name!r}")
        return self._files[name]

    def file(self, name: str) -> layouts.File:
        data = self.read(name)
        return layouts.File(digest_of(data), len(data), data[:4])


_image = st.fixed_dictionaries(
    {
        "Config": nearly(st.sampled_from(["config", "nope"])),
        "Layers": nearly(st.lists(nearly(st.just("layer")), max_size=2)),
    },
    optional={"RepoTags": nearly(st.lists(nearly(st.text(max_size=5)), max_size=2))},
)
_index = st.fixed_dictionaries({"manifests": nearly(st.lists(nearly(descriptors), max_size=2))})


@bounded
@given(
    nearly(st.lists(nearly(_image), max_size=2)),
    nearly(_index),
    nearly(st.just({"imageLayoutVersion": "1.0.0"})),
    st.sets(st.sampled_from(["manifest.json", "index.json", "oci-layout"])),
)
def test_any_archive_has_images_or_is_an_error(archive: Any, index: Any, version: Any, there: set[str]) -> None:
    values = {"manifest.json": archive, "index.json": index, "oci-layout": version}
    files = {name: json.dumps(values[name]).encode() for name in there}
    with contextlib.suppress(DataError):
        for found in layouts.images(Files({**files, "config": b"{}", "layer": b"\x1f\x8b"})):
            assert all(isinstance(name, str) for name in found.names)
            if found.document is not None:
                assert digest_of(found.document) == found.descriptor.digest
                manifests.parse_manifest(found.document)


# -- archives and layers ------------------------------------------------------------------------------------------

_names = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", ".wh.", "n" * 200, "é", "\udc80"]),
    min_size=1,
    max_size=4,
).map("/".join)
_kinds = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, b"Z"]
)


@st.composite
def tar_archives(draw: st.DrawFn) -> bytes:
    """Archives that are well formed and say strange things."""
    data = io.BytesIO()
    with tarfile.open(
        fileobj=data, mode="w", format=draw(st.sampled_from([0, 1, 2])), errors="surrogateescape"
    ) as tar:
        for name in draw(st.lists(_names, max_size=6)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = draw(_kinds), draw(_names), draw(st.integers(0, 0o7777))
            content = draw(st.binary(max_size=20)) if info.type == tarfile.REGTYPE else b""
            info.size = len(content)
            with contextlib.suppress(ValueError):  # a long name that this format has no place for
                tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


@st.composite
def broken_archives(draw: st.DrawFn) -> bytes:
    """Archives with some bytes changed, cut out or doubled."""
    data = bytearray(draw(tar_archives()))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 600))
        data[at : at + length] = draw(st.sampled_from([b"", bytes(length), b"7" * length, bytes(data[:length])]))
    return bytes(data)


@bounded
@given(broken_archives() | st.binary(max_size=2000))
def test_any_bytes_are_an_archive_or_a_data_error(data: bytes) -> None:
    with contextlib.suppress(DataError):
        archive = TarStream(decompress(io.BytesIO(data)))
        for entry in archive:
            assert entry.name
            while archive.read():
                pass


@few
@given(broken_archives() | st.binary(max_size=2000))
def test_an_archive_that_is_passed_over_is_the_one_that_is_read(data: bytes) -> None:
    """Seeking sees the entries that reading sees, and each body where it is."""
    read: list[Any] = []
    with contextlib.suppress(DataError):
        read.extend(
            (entry, bytes(archive.read())) for archive in [TarStream(io.BytesIO(data))] for entry in archive
        )
    file, passed = io.BytesIO(data), []
    with contextlib.suppress(DataError):
        archive = TarStream(file, seek=lambda count: file.seek(count, os.SEEK_CUR))
        for entry in archive:
            stored = sum(length for _, length in entry.sparse or ()) if entry.sparse is not None else entry.size
            passed.append((entry, data[archive.offset : archive.offset + stored]))
    assert passed[: len(read)] == read


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what root may write is what must be refused")
@few
@given(broken_archives() | st.binary(max_size=2000))
def test_any_layer_is_unpacked_below_its_target_or_refused(layer: bytes) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        properties.Arena(Path(directory)).layer(layer)
