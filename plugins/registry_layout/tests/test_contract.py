from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.descriptors import Descriptor, digest_of
from swapbox.distribution.store import Source
from swapbox.layouts import File, docker_images
from swapbox.references import Reference
from swapbox.testing.registry import RegistryDriverContract
from swapbox.testing.registry_contents import RegistryContents
from swapbox_registry_layout.driver import Driver


class Layouts(RegistryContents):
    """Writes a layout directory for each repository whenever something is added to it."""

    transport = "oci"

    def __init__(self, root: Path) -> None:
        super().__init__("")
        self.root = root

    def reference(self, repository: str, tag: str = "latest") -> Reference:
        return Reference("", str(self.root / repository), tag, transport=self.transport)

    def add_manifest(self, repository: str, tag: str | None, media_type: str, data: bytes) -> Descriptor:
        descriptor = super().add_manifest(repository, tag, media_type, data)
        self.write(self.root / repository, self.files(repository))
        return descriptor

    def files(self, repository: str) -> dict[str, bytes]:
        files = {f"blobs/{digest.replace(':', '/')}": data_of(source) for digest, source in self.blobs.items()}
        entries = []
        for (where, name), manifest in self.manifests.items():
            described = Descriptor(manifest.media_type, digest_of(manifest.data), len(manifest.data))
            files[f"blobs/{described.digest.replace(':', '/')}"] = manifest.data
            if where == repository and ":" not in name:
                notes = {"org.opencontainers.image.ref.name": name}
                entries.append(described._replace(annotations=notes).to_json())
        index = {"schemaVersion": 2, "manifests": entries}
        return {
            **files,
            "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
            "index.json": json.dumps(index).encode(),
        }

    def write(self, path: Path, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)


class OciArchives(Layouts):
    transport = "oci-archive"

    def write(self, path: Path, files: dict[str, bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


class CompressedArchives(OciArchives):
    def write(self, path: Path, files: dict[str, bytes]) -> None:
        super().write(path, files)
        with tarfile.open(path) as plain, tarfile.open(path.with_name("new"), "w:xz") as packed:
            for info in plain:
                packed.addfile(info, plain.extractfile(info))
        path.with_name("new").rename(path)


class DockerArchives(OciArchives):
    """Its layers have names of their own, and its manifests are those that the driver makes."""

    transport = "docker-archive"

    def add_image(self, repository: str, tag: str | None = "latest", **settings: Any) -> Descriptor:
        super().add_image(repository, tag, **settings)
        found = docker_images(_Memory(self.files(repository)))
        return next(one.descriptor for one in found if f"{repository}:{tag}" in one.names)

    def files(self, repository: str) -> dict[str, bytes]:
        files, images = {}, []
        for (where, tag), manifest in self.manifests.items():
            if where == repository and ":" not in tag:
                value = json.loads(manifest.data)
                layers = [f"layer-{layer['digest'][7:17]}.tar" for layer in value["layers"]]
                for name, layer in zip(layers, value["layers"], strict=True):
                    files[name] = data_of(self.blobs[layer["digest"]])
                config = f"{value['config']['digest'][7:]}.json"
                files[config] = data_of(self.blobs[value["config"]["digest"]])
                images.append({"Config": config, "RepoTags": [f"{repository}:{tag}"], "Layers": layers})
        return {**files, "manifest.json": json.dumps(images).encode()}


class _Memory:
    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def read(self, name: str) -> bytes:
        return self._files[name]

    def file(self, name: str) -> File:
        data = self._files[name]
        return File(digest_of(data), len(data), data[:4])


def data_of(source: Source) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


class _Contract(RegistryDriverContract):
    publisher: type[Layouts]

    @pytest.fixture
    def server(self, tmp_path: Path) -> Layouts:
        return self.publisher(tmp_path / "images")

    @pytest.fixture
    def driver(self, server: Any, tmp_path: Path) -> Iterator[Driver]:
        driver = Driver(self.publisher.transport, scratch=tmp_path / "scratch")
        yield driver
        driver.close()


class TestOci(_Contract):
    publisher = Layouts


class TestOciArchive(_Contract):
    publisher = OciArchives


class TestCompressedOciArchive(_Contract):
    publisher = CompressedArchives


class TestDockerArchive(_Contract):
    publisher = DockerArchives
    exempt = {
        "test_an_index_leads_to_the_manifest_of_each_platform": "an image of a docker-archive is for one platform"
    }
