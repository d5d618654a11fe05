"""Manifests that a registry has, as ``manifest inspect`` shows them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox import Engine
from swapbox.cli.app import run
from swapbox.errors import DataError, NotFound
from swapbox.images.remote import Remote
from swapbox.testing.registry_server import RegistryServer


@pytest.fixture
def fake_registry() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(root=tmp_path / "root", run_root=tmp_path / "run", environment={})


def add_index(server: RegistryServer, *, docker: bool = False) -> None:
    entries = []
    for name in ("amd64", "arm64"):
        layers = [gzip.compress(name.encode(), mtime=0)]
        image = server.add_image("multi", None, layers=layers, docker=docker, config={"architecture": name})
        entries.append(image._replace(platform={"os": "linux", "architecture": name}))
    server.add_index("multi", "latest", entries, docker=docker)


def said(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> str:
    assert run(["--root", str(tmp_path / "root"), "--run-root", str(tmp_path / "run"), *arguments]) == 0
    return capsys.readouterr().out


def test_a_manifest_is_shown_as_it_is(
    fake_registry: RegistryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = fake_registry.add_image("app", layers=[gzip.compress(b"x")])
    raw = fake_registry.manifests["app", "latest"].data
    reference = f"{fake_registry.host}/app"
    assert (
        said(capsys, tmp_path, "manifest", "inspect", reference) == json.dumps(json.loads(raw), indent="\t") + "\n"
    )
    shown: dict[str, Any] = json.loads(said(capsys, tmp_path, "manifest", "inspect", "-v", reference))
    assert list(shown) == ["Ref", "Descriptor", "Raw", "OCIManifest"]
    assert shown["Ref"] == f"{reference}:latest"
    assert shown["Descriptor"] == {
        "mediaType": image.media_type,
        "digest": image.digest,
        "size": image.size,
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    assert base64.b64decode(shown["Raw"]) == raw
    assert shown["OCIManifest"] == json.loads(raw)


@pytest.mark.parametrize("docker", [False, True])
def test_an_index_is_shown_with_its_platforms(
    fake_registry: RegistryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], docker: bool
) -> None:
    add_index(fake_registry, docker=docker)
    reference = f"{fake_registry.host}/multi:latest"
    text = said(capsys, tmp_path, "manifest", "inspect", reference)
    raw = json.loads(fake_registry.manifests["multi", "latest"].data)
    assert text.startswith('{\n   "schemaVersion": 2,\n   "mediaType": "application/')
    shown = json.loads(text)
    assert shown == raw
    assert list(shown["manifests"][0]) == ["mediaType", "size", "digest", "platform"]
    each = json.loads(said(capsys, tmp_path, "manifest", "inspect", "-v", reference))
    digests = [entry["digest"] for entry in raw["manifests"]]
    assert [one["Ref"] for one in each] == [f"{reference}@{digest}" for digest in digests]
    assert [one["Descriptor"]["platform"]["architecture"] for one in each] == ["amd64", "arm64"]
    assert all(("SchemaV2Manifest" if docker else "OCIManifest") in one for one in each)


@pytest.mark.parametrize("flags", [(), ("-v",)])
def test_what_a_terminal_would_obey_is_escaped_and_means_the_same(
    fake_registry: RegistryServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    image = fake_registry.add_image("app", layers=[gzip.compress(b"x")])
    raw = json.loads(fake_registry.manifests["app", "latest"].data)
    raw["annotations"] = {"odd": "\ud800 \x9b31m \x7f \x1b[31m caf\u00e9"}
    data = json.dumps(raw).encode()
    fake_registry.add_manifest("app", "latest", image.media_type, data)
    fake_registry.add_index("app", "all", [image._replace(platform={"os": "\udfff\x9b", "architecture": "x"})])
    text = said(capsys, tmp_path, "manifest", "inspect", *flags, f"{fake_registry.host}/app")
    assert r'"\ud800 \u009b31m \u007f \u001b[31m café"' in text
    shown = json.loads(text)
    assert (shown["OCIManifest"] if flags else shown) == raw
    index = said(capsys, tmp_path, "manifest", "inspect", f"{fake_registry.host}/app:all")
    assert r'"os": "\udfff\u009b"' in index


def test_what_is_not_there_or_not_well_formed_is_an_error(fake_registry: RegistryServer, engine: Engine) -> None:
    with pytest.raises(NotFound, match="manifest unknown"):
        Remote(engine, f"{fake_registry.host}/nosuch").document()
    descriptor = fake_registry.add_manifest("bad", "latest", "application/vnd.oci.image.manifest.v1+json", b"{}")
    assert descriptor.size
    with pytest.raises(DataError):
        Remote(engine, f"{fake_registry.host}/bad").document()
