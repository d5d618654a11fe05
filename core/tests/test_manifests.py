from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swapbox.descriptors import DOCKER_MANIFEST, MANIFEST_LIMIT, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from swapbox.errors import DataError, SwapboxError, Unsupported
from swapbox.images import manifests

DIGEST = f"sha256:{'a' * 64}"
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_MANIFEST,
    "config": {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 1},
    "layers": [{"mediaType": OCI_LAYER, "digest": DIGEST, "size": 1, "annotations": {"a": "b"}}],
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [{"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1, "platform": {"os": "linux"}}],
}
CONFIG: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Cmd": ["sh"], "Env": ["A=b"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}, "User": "app"},
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created_by": "x"}],
}


def _manifest(**changes: object) -> bytes:
    return json.dumps(MANIFEST | changes).encode()


def test_a_manifest_names_its_config_and_layers() -> None:
    manifest = manifests.parse_manifest(_manifest(), media_type=OCI_MANIFEST)
    assert manifest.config.digest == DIGEST
    assert [layer.media_type for layer in manifest.layers] == [OCI_LAYER]


def test_an_index_names_its_manifests() -> None:
    index = manifests.parse(json.dumps(INDEX).encode(), OCI_INDEX)
    assert isinstance(index, manifests.Index)
    assert index.manifests[0].platform == {"os": "linux"}


def test_a_config_names_its_diff_ids() -> None:
    assert manifests.parse_config(json.dumps(CONFIG).encode()).diff_ids == (DIGEST,)


def test_a_config_without_layers_gets_an_empty_list() -> None:
    config = manifests.parse_config(b'{"rootfs": {"type": "layers", "diff_ids": null}}')
    assert config.value["rootfs"]["diff_ids"] == []


def test_the_media_type_may_be_said_by_the_document_alone() -> None:
    data = _manifest(mediaType=DOCKER_MANIFEST)
    assert manifests.parse_manifest(data).media_type == DOCKER_MANIFEST
    with pytest.raises(DataError, match="its media type is"):
        manifests.parse_manifest(data, media_type=OCI_MANIFEST)


def test_schema_1_is_refused_with_a_way_out() -> None:
    for data, media_type in (
        (b'{"schemaVersion": 1}', DOCKER_MANIFEST),
        (b"", "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    ):
        with pytest.raises(Unsupported, match="schema 1 is not supported") as caught:
            manifests.parse(data, media_type)
        assert caught.value.hint


@pytest.mark.parametrize("field", ["layers", "config"])
def test_an_index_that_is_a_manifest_too_is_refused(field: str) -> None:
    with pytest.raises(DataError, match="fields of a manifest"):
        manifests.parse_index(json.dumps(INDEX | {field: MANIFEST[field]}).encode())


def test_a_manifest_that_is_an_index_too_is_refused() -> None:
    with pytest.raises(DataError, match="fields of an index"):
        manifests.parse_manifest(_manifest(manifests=[]))


def test_what_is_no_container_image_is_refused_by_its_media_type() -> None:
    config = MANIFEST["config"] | {"mediaType": "application/vnd.cncf.helm.config.v1+json"}
    with pytest.raises(Unsupported, match="helm"):
        manifests.parse_manifest(_manifest(config=config))


def test_a_layer_that_is_no_tar_is_refused_by_its_media_type() -> None:
    layer = MANIFEST["layers"][0] | {"mediaType": f"{OCI_LAYER}+encrypted"}
    with pytest.raises(Unsupported, match="encrypted"):
        manifests.parse_manifest(_manifest(layers=[layer]))


def test_a_document_without_end_is_refused() -> None:
    with pytest.raises(DataError, match="longer than"):
        manifests.parse_manifest(b" " * (MANIFEST_LIMIT + 1))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"3", b"\xff", b"[" * 100_000, b'{"schemaVersion": 2.0}', b'{"a": NaN}']
)
def test_what_is_no_document_is_a_data_error(data: bytes) -> None:
    for parse in (manifests.parse_manifest, manifests.parse_index, manifests.parse_config):
        with pytest.raises(DataError, match="invalid"):
            parse(data)


@pytest.mark.parametrize(
    ("document", "parse"),
    [(MANIFEST, manifests.parse_manifest), (INDEX, manifests.parse_index), (CONFIG, manifests.parse_config)],
    ids=["manifest", "index", "config"],
)
def test_any_field_may_be_anything_without_a_surprise(
    document: dict[str, Any], parse: Callable[[bytes], object]
) -> None:
    """Every node replaced by each odd value, and removed: a result, or an error that is ours."""
    for place in _places(document):
        for odd in (None, True, -1, 1.5, 10**30, "", "x", "\ud800", [], [None], [[]], {}, {"a": None}, _REMOVE):
            data = json.dumps(_changed(document, place, odd)).encode()
            try:
                parse(data)
            except SwapboxError as error:
                assert error.message  # noqa: PT017


def test_bytes_changed_at_random_are_no_surprise() -> None:
    chance = random.Random(1)
    for _ in range(2000):
        data = bytearray(json.dumps(chance.choice([MANIFEST, INDEX, CONFIG])).encode())
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        for parse in (manifests.parse_manifest, manifests.parse_index, manifests.parse_config):
            try:
                parse(bytes(data))
            except SwapboxError as error:
                assert error.message  # noqa: PT017


_REMOVE = object()


def _places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*path, key))


def _changed(document: dict[str, Any], place: tuple[Any, ...], odd: object) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    parent: Any = changed
    for key in place[:-1]:
        parent = parent[key]
    if odd is _REMOVE:
        del parent[place[-1]]
    else:
        parent[place[-1]] = odd
    return changed
