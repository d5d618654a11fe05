"""What is said of files and not of registries: names, several images in one archive, and hostile archives."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.descriptors import OCI_INDEX, Descriptor, digest_of
from swapbox.drivers.common import BY_NAME
from swapbox.errors import DataError, InvalidInput, NotFound, SwapboxError, Unavailable, Unsupported
from swapbox.references import Reference
from swapbox.testing import images
from swapbox.testing.publish import write_layout
from swapbox_registry_layout import swapbox_registries
from swapbox_registry_layout.directory import Directory
from swapbox_registry_layout.driver import Driver
from swapbox_registry_layout.parts import Part

ONE, TWO = (images.image_of([images.layer_of([images.file(name)])]) for name in ("one", "two"))


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver("docker-archive", scratch=tmp_path / "scratch")
    yield driver
    driver.close()


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver("oci", scratch=tmp_path / "scratch")
    yield driver
    driver.close()


def archive(path: Path, files: dict[str, bytes], *links: tuple[str, str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def docker_archive(
    path: Path, *named: tuple[images.Image, list[str]], links: tuple[tuple[str, str], ...] = ()
) -> Path:
    files: dict[str, bytes] = {}
    entries = []
    for image, names in named:
        config = f"{image.config.descriptor.digest[7:]}.json"
        layers = [f"{layer.diff_id[7:]}/layer.tar" for layer in image.layers]
        files |= {config: image.config.open().read()}
        files |= {
            name: gzip.decompress(layer.blob.open().read())
            for name, layer in zip(layers, image.layers, strict=True)
        }
        entries.append({"Config": config, "RepoTags": names, "Layers": layers})
    return archive(path, {**files, "manifest.json": json.dumps(entries).encode()}, *links)


def config_of(driver: Driver, text: str) -> str:
    reference = Reference.parse(text)
    manifest = json.loads(driver.manifest(reference, driver.resolve(reference)))
    return str(manifest["config"]["digest"])


def test_images_are_asked_for_by_name_or_tag(docker: Driver, tmp_path: Path) -> None:
    path = docker_archive(
        tmp_path / "a.tar", (ONE, ["app:1", "localhost:5000/team/app:2"]), (TWO, ["other:1", "other:latest"])
    )
    for text in ("app:1", "docker.io/library/app:1", "2", "localhost:5000/team/app:2"):
        assert config_of(docker, f"docker-archive:{path}:{text}") == ONE.config.descriptor.digest
    for text in ("other:1", "other", "latest"):
        assert config_of(docker, f"docker-archive:{path}:{text}") == TWO.config.descriptor.digest
    assert list(docker.tags(Reference.parse(f"docker-archive:{path}"))) == ["app:1", "2", "other:1", "latest"]
    with pytest.raises(InvalidInput, match="could be several images") as caught:
        docker.resolve(Reference.parse(f"docker-archive:{path}:1"))
    assert caught.value.hint == "choose of app:1, 2, other:1, latest"
    with pytest.raises(NotFound) as missing:
        docker.resolve(Reference.parse(f"docker-archive:{path}:3"))
    assert missing.value.hint == "there are: app:1, 2, other:1, latest"


def test_the_only_image_needs_no_name(docker: Driver, oci: Driver, tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", (ONE, []))
    assert config_of(docker, f"docker-archive:{path}") == ONE.config.descriptor.digest
    write_layout(tmp_path / "layout", {"1.0": ONE})
    assert config_of(oci, f"oci:{tmp_path}/layout") == ONE.config.descriptor.digest
    write_layout(tmp_path / "both", {"1.0": ONE, "2.0": TWO})
    with pytest.raises(NotFound):
        oci.resolve(Reference.parse(f"oci:{tmp_path}/both"))


def test_images_that_are_in_no_file_are_never_looked_for_in_one() -> None:
    assert all(BY_NAME in offer.capabilities for offer in swapbox_registries())


def test_an_index_that_is_named_a_thousand_times_is_read_once(
    oci: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below: list[Descriptor] = []
    for _ in range(3):
        index = {"schemaVersion": 2, "manifests": [one.to_json() for one in below * 1000]}
        data = json.dumps(index).encode()
        below = [Descriptor(OCI_INDEX, digest_of(data), len(data))]
        blob = tmp_path / "layout/blobs/sha256" / below[0].digest[7:]
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
    (tmp_path / "layout/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (tmp_path / "layout/index.json").write_text(json.dumps({"manifests": [below[0].to_json()]}))
    read: list[str] = []
    real = Directory.read

    def noted(self: Directory, name: str) -> bytes:
        read.append(name)
        assert len(read) < 100
        return real(self, name)

    monkeypatch.setattr(Directory, "read", noted)
    with pytest.raises(NotFound):
        oci.resolve(Reference.parse(f"oci:{tmp_path}/layout@sha256:{'0' * 64}"))
    assert len(set(read)) == len(read) == 5


def test_layers_that_are_links_are_read(docker: Driver, tmp_path: Path) -> None:
    path = docker_archive(
        tmp_path / "a.tar", (ONE, ["app:1"]), links=(("again/layer.tar", "../x"), ("x", "again/layer.tar"))
    )
    assert config_of(docker, f"docker-archive:{path}") == ONE.config.descriptor.digest
    layer = f"{ONE.layers[0].diff_id[7:]}/layer.tar"
    entry = {"Config": "config.json", "Layers": ["again/layer.tar"]}
    files = {
        "config.json": ONE.config.open().read(),
        layer: gzip.decompress(ONE.layers[0].blob.open().read()),
        "manifest.json": json.dumps([entry]).encode(),
    }
    path = archive(tmp_path / "b.tar", files, ("again/layer.tar", f"../{layer}"))
    reference = Reference.parse(f"docker-archive:{path}")
    (found,) = json.loads(docker.manifest(reference, docker.resolve(reference)))["layers"]
    assert found["digest"] == ONE.layers[0].diff_id


@pytest.mark.parametrize(
    ("files", "links", "error"),
    [
        ({}, (), NotFound),
        ({"manifest.json": b"{"}, (), DataError),
        ({"manifest.json": b'[{"Config": "x", "Layers": []}]'}, (), DataError),
        ({"manifest.json": b'[{"Config": "x", "Layers": []}]'}, (("x", "/etc/hostname"),), DataError),
        ({"manifest.json": b'[{"Config": "x", "Layers": []}]'}, (("x", "../../../etc/hostname"),), DataError),
        ({"manifest.json": b'[{"Config": "x", "Layers": []}]'}, (("x", "y"), ("y", "x")), DataError),
        ({"manifest.json": bytes(5 * 1024 * 1024)}, (), DataError),
    ],
)
def test_a_bad_archive_is_a_clear_error(
    docker: Driver,
    tmp_path: Path,
    files: dict[str, bytes],
    links: tuple[tuple[str, str], ...],
    error: type[SwapboxError],
) -> None:
    path = archive(tmp_path / "a.tar", files, *links)
    with pytest.raises(error):
        docker.resolve(Reference.parse(f"docker-archive:{path}"))


def test_a_truncated_archive_is_a_data_error(docker: Driver, tmp_path: Path) -> None:
    path = docker_archive(
        tmp_path / "a.tar", (images.image_of([images.layer_of([images.file("f", bytes(9000))])]), [])
    )
    os.truncate(path, 5000)
    with pytest.raises(DataError, match="truncated tar archive"):
        docker.resolve(Reference.parse(f"docker-archive:{path}"))


def test_what_is_no_file_is_refused(docker: Driver, oci: Driver, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(Unsupported, match="is not a plain file"):
            docker.resolve(Reference.parse(f"docker-archive:{path}"))
    for path in (tmp_path, tmp_path / "nosuch", tmp_path / "fifo"):
        with pytest.raises(NotFound, match="no such file"):
            oci.resolve(Reference.parse(f"oci:{path}"))


def test_a_reference_of_another_kind_is_refused(oci: Driver) -> None:
    with pytest.raises(InvalidInput, match="registry driver 'oci' cannot find alpine:latest"):
        oci.resolve(Reference.parse("alpine:latest"))


def test_a_blob_of_another_size_is_refused(oci: Driver, tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"1.0": ONE})
    layer = ONE.layers[0].blob.descriptor
    with pytest.raises(DataError, match="bytes instead of"):
        oci.open_blob(Reference.parse(f"oci:{tmp_path}/layout"), Descriptor("", layer.digest, layer.size + 1))


def test_a_blob_that_is_closed_while_it_is_read_is_unavailable() -> None:
    part = Part(os.open("/bin/sh", os.O_RDONLY), 0, 100)
    part.close()
    with pytest.raises(Unavailable):
        part.read(10)


def test_a_compressed_archive_leaves_no_file(docker: Driver, tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "a.tar", (ONE, ["app:1"]))
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert config_of(docker, f"docker-archive:{packed}") == ONE.config.descriptor.digest
    assert list((tmp_path / "scratch").iterdir()) == []
