"""Archives: what is saved is loaded again, and a hostile one leaves nothing behind."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from swapbox import Engine
from swapbox.descriptors import OCI_INDEX
from swapbox.errors import DataError, NotFound, SwapboxError
from swapbox.images.lease import Lease
from swapbox.images.load import Loaded, load
from swapbox.images.save import save
from swapbox.layouts import blob_name
from swapbox.testing import images
from swapbox.testing.archives import archive_of, blobs_of, docker_files, layout_files
from swapbox.testing.images import Image

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for owners of files")

Files = dict[str, bytes]
IMAGE = images.image_of([images.layer_of([images.file("one", b"1")]), images.layer_of([images.file("two", b"2")])])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(root=tmp_path / "root", run_root=tmp_path / "run", storage="vfs", environment={}) as engine:
        yield engine


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def layout(image: Image = IMAGE, *names: str) -> Files:
    return layout_files(image, *names)


def docker_archive(image: Image = IMAGE, *names: str) -> Files:
    return docker_files(image, *names)


def loaded(engine: Engine, data: bytes, *, platform: str | None = None) -> list[Loaded]:
    return list(load(engine, io.BytesIO(data), platform=platform))


def tree(engine: Engine, image: Loaded) -> dict[str, bytes]:
    storage = engine.selector.open("storage")
    with_mounts = storage.view("look", image.image.top_chain)
    root = Path(str(with_mounts[0].source))
    found = {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}
    storage.remove("look")
    return found


def assert_nothing_is_left(engine: Engine) -> None:
    assert engine.images.all() == []
    assert list(engine.content.walk()) == []
    assert list(engine.paths.content.glob("ingest/*")) == []
    assert engine.database.rows("SELECT * FROM leases") == []
    assert list(engine.selector.open("storage").walk()) == []


@pytest.mark.parametrize("form", [layout, docker_archive])
def test_an_image_is_loaded_with_its_names(engine: Engine, form: Callable[..., Files]) -> None:
    (one,) = loaded(engine, archive_of(form(IMAGE, "app:1", "localhost:5000/team/app:2")))
    assert [name.familiar for name in one.names] == ["app:1", "localhost:5000/team/app:2"]
    assert one.image.id == IMAGE.config.descriptor.digest
    assert one.image.names == ("docker.io/library/app:1", "localhost:5000/team/app:2")
    assert tree(engine, one) == {"one": b"1", "two": b"2"}
    assert engine.database.rows("SELECT * FROM leases") == []


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: zstandard.ZstdCompressor().compress(data)]
)
def test_an_archive_may_be_compressed(engine: Engine, pack: Callable[[bytes], bytes]) -> None:
    assert loaded(engine, pack(archive_of(layout())))[0].image.id == IMAGE.config.descriptor.digest


def test_what_is_saved_is_loaded_as_the_same_image(engine: Engine, tmp_path: Path) -> None:
    loaded(engine, archive_of(layout(IMAGE, "app:1", "app:2", "other:1")))
    pieces: list[bytes] = []
    save(engine, ["app", IMAGE.config.descriptor.digest], pieces.append)
    again: list[bytes] = []
    save(engine, ["app:1", "app:2"], again.append)
    assert b"".join(pieces) == b"".join(again)
    with Engine(root=tmp_path / "2", run_root=tmp_path / "run2", storage="vfs", environment={}) as other:
        (one,) = loaded(other, b"".join(pieces))
        assert (one.image.id, one.image.manifest) == (
            IMAGE.config.descriptor.digest,
            IMAGE.manifest.descriptor.digest,
        )
        assert [name.familiar for name in one.names] == ["app:1", "app:2"]
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        (file,) = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        assert file["RepoTags"] == ["app:1", "app:2"]
        assert [gzip.decompress(tar.extractfile(name).read()) for name in file["Layers"]] == [  # type: ignore[union-attr]
            gzip.decompress(layer.blob.open().read()) for layer in IMAGE.layers
        ]


def test_a_damaged_blob_is_not_saved(engine: Engine) -> None:
    loaded(engine, archive_of(layout(IMAGE, "app:1")))
    path = engine.content.path(IMAGE.layers[0].blob.descriptor.digest)
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataError, match="is damaged on disk"):
        save(engine, ["app:1"], lambda _piece: None)


def test_a_name_that_moves_is_told(engine: Engine) -> None:
    (before,) = loaded(engine, archive_of(layout(IMAGE, "app:1")))
    (after,) = loaded(engine, archive_of(layout(images.image_of([IMAGE.layers[0]]), "app:1")))
    ((name, lost),) = after.replaced
    assert (name.familiar, lost) == ("app:1", before.image.id)
    assert loaded(engine, archive_of(layout(images.image_of([IMAGE.layers[0]]), "app:1")))[0].replaced == ()


def test_an_image_that_is_here_keeps_its_blobs_and_gets_the_names(engine: Engine) -> None:
    loaded(engine, archive_of(layout(IMAGE, "app:1")))
    before = set(engine.content.walk())
    (one,) = loaded(engine, archive_of(docker_archive(IMAGE, "app:2")))
    assert one.image.names == ("docker.io/library/app:1", "docker.io/library/app:2")
    assert set(engine.content.walk()) == before


def test_layers_that_are_links_to_others_are_read(engine: Engine) -> None:
    twice = images.image_of([IMAGE.layers[0], IMAGE.layers[0]])
    files = docker_archive(twice, "app:1")
    second = f"{1:064x}/layer.tar"
    del files[second]
    assert loaded(engine, archive_of(files, link(second, f"../{0:064x}/layer.tar")))[0].image.id
    del files["manifest.json"]
    assert loaded(engine, archive_of(layout(twice), link("other", "index.json", tarfile.LNKTYPE)))


def test_the_platform_chooses_from_an_index(engine: Engine) -> None:
    entries, files = [], layout()
    for architecture, text in (("amd64", b"x"), ("arm64", b"y")):
        one = images.image_of([images.layer_of([images.file("f", text)])])
        config = one.config.open().read().replace(b'"amd64"', f'"{architecture}"'.encode())
        changed = images.Blob.of(one.config.descriptor.media_type, config)
        manifest = images.manifest_of(changed, one.layers)
        files |= blobs_of(images.Image(manifest, changed, one.layers))
        platform = {"os": "linux", "architecture": architecture}
        entries.append(manifest.descriptor._replace(platform=platform).to_json())
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    index = images.Blob.of(OCI_INDEX, json.dumps(document).encode())
    files[blob_name(index.descriptor.digest)] = index.open().read()
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [index.descriptor.to_json()]}).encode()
    (one_loaded,) = loaded(engine, archive_of(files), platform="linux/arm64")
    assert one_loaded.image.config["architecture"] == "arm64"
    with pytest.raises(NotFound, match="linux/s390x"):
        loaded(engine, archive_of(files), platform="linux/s390x")


def test_an_image_for_another_platform_is_not_loaded(engine: Engine) -> None:
    with pytest.raises(NotFound, match=r"app:1 is for linux/.*, not for the requested platform linux/s390x"):
        loaded(engine, archive_of(layout(IMAGE, "app:1")), platform="linux/s390x")
    assert_nothing_is_left(engine)


def damaged(name: str, data: bytes) -> bytes:
    return archive_of({**layout(), name: data})


def without(name: str) -> bytes:
    return archive_of({key: data for key, data in layout().items() if key != name})


LAYER, CONFIG = (blob_name(one.descriptor.digest) for one in (IMAGE.layers[1].blob, IMAGE.config))
MANIFEST_BLOB = blob_name(IMAGE.manifest.descriptor.digest)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "neither manifest.json nor oci-layout"),
    "not a tar": (b"junk" * 1000, "invalid tar archive"),
    "truncated": (archive_of(layout())[:6000], "truncated tar archive"),
    "truncated gzip": (gzip.compress(archive_of(layout()))[:500], "truncated gzip data"),
    "a blob that is not its digest": (damaged(LAYER, b"other"), "verification failed for blob sha256:"),
    "a config that is not its digest": (damaged(CONFIG, b"{}"), "verification failed for blob sha256:"),
    "a manifest that is not its digest": (damaged(MANIFEST_BLOB, b"{}"), "verification failed for blob sha256:"),
    "no layer": (without(LAYER), "blob sha256:.* is not in it"),
    "no config": (without(CONFIG), "blob sha256:.* is not in it"),
    "no manifest": (without(MANIFEST_BLOB), "manifest sha256:.* is not in it"),
    "no index": (without("index.json"), "neither manifest.json nor oci-layout"),
    "an unknown layout": (damaged("oci-layout", b'{"imageLayoutVersion": "2"}'), "imageLayoutVersion is '2'"),
    "an index that is no JSON": (damaged("index.json", b"["), "invalid index.json: not JSON"),
    "an index of nothing": (damaged("index.json", b'{"manifests": 1}'), "manifests is 1"),
    "a path that climbs": (archive_of({**layout(), "../evil": b""}), "'../evil' leads out of it"),
    "a path that climbs later": (archive_of({**layout(), "a/../../evil": b""}), "leads out of it"),
    "an absolute path": (archive_of({**layout(), "/etc/evil": b""}), "'/etc/evil' leads out of it"),
    "a link that climbs": (archive_of(layout(), link("a", "../../etc/passwd")), "'a' leads out of it"),
    "an absolute link": (archive_of(layout(), link("a", "/etc/passwd")), "'a' leads out of it"),
    "a loop of links": (archive_of(layout(), link("a", "b"), link("b", "a")), "loop of links"),
    "a device": (archive_of(layout(), link("a", "", tarfile.CHRTYPE)), "'a' is not a plain file"),
    "a file twice": (archive_of(layout(), tarfile.TarInfo("index.json")), "'index.json' is in it twice"),
    "a bad tag": (archive_of(layout(IMAGE, "UPPER:1")), "invalid tag 'UPPER:1'"),
    "a long document": (damaged("manifest.json", bytes(5 * 1024 * 1024)), "manifest.json is longer than"),
    "a manifest.json of no images": (archive_of({"manifest.json": b"[1]"}), "1 is no image"),
    "a config that leads nowhere": (
        archive_of({"manifest.json": b'[{"Config": "nope", "Layers": []}]'}),
        "there is no 'nope' in it",
    ),
    "a config behind a link that climbs": (
        archive_of({"manifest.json": b'[{"Config": "a", "Layers": []}]'}, link("a", "../../../etc/hostname")),
        "'a' leads out of it",
    ),
    "fewer layers than diffIDs": (
        archive_of({**docker_archive(), "manifest.json": b'[{"Config": "config.json", "Layers": []}]'}),
        "layers length mismatch: expected 2, got 0",
    ),
    "a layer with another diffID": (
        archive_of({**docker_archive(), f"{1:064x}/layer.tar": archive_of({"three": b"3"})}),
        "its image config says sha256:",
    ),
}


@pytest.mark.parametrize(("data", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_bad_archive_is_refused_and_leaves_nothing(engine: Engine, data: bytes, message: str) -> None:
    with pytest.raises(SwapboxError, match=message):
        loaded(engine, data)
    assert_nothing_is_left(engine)


def test_a_bomb_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swapbox.images.compression.RATIO_FREE", 1024)
    with pytest.raises(DataError, match="over 200 times as many"):
        loaded(engine, gzip.compress(archive_of({"a": bytes(10_000_000)})))
    assert_nothing_is_left(engine)


def test_the_images_before_a_bad_one_stay(engine: Engine) -> None:
    other = images.image_of([images.layer_of([images.file("three")])])
    files = {**blobs_of(other), **layout(IMAGE, "app:1")}
    del files[blob_name(other.layers[0].blob.descriptor.digest)]
    entries = [one.manifest.descriptor.to_json() for one in (IMAGE, other)]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    with pytest.raises(DataError):
        loaded(engine, archive_of(files))
    assert [image.id for image in engine.images.all()] == [IMAGE.config.descriptor.digest]
    kept = {one.descriptor.digest for one in (IMAGE.manifest, *IMAGE.blobs())}
    assert set(engine.content.walk()) == kept


def test_a_transfer_that_broke_off_is_gone_on_with(engine: Engine) -> None:
    one = IMAGE.layers[0].blob
    with Lease(engine) as lease, lease.content.ingest(one.descriptor) as ingest:
        ingest.write(one.open().read()[:50])
    assert loaded(engine, archive_of(layout()))[0].image.id == IMAGE.config.descriptor.digest
