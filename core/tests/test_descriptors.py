from __future__ import annotations

import pytest

from swapbox.descriptors import OCI_LAYER, OCI_MANIFEST, Descriptor, check_digest, digest_of
from swapbox.errors import DataError

DIGEST = f"sha256:{'a' * 64}"
GOOD = {"mediaType": OCI_LAYER, "digest": DIGEST, "size": 3}


def test_a_descriptor_comes_back_as_it_was_written() -> None:
    descriptor = Descriptor(
        OCI_MANIFEST,
        DIGEST,
        3,
        platform={"os": "linux", "architecture": "arm", "variant": "v7", "os.features": ["x"]},
        annotations={"a": "b"},
        urls=("https://example.com/x",),
    )
    assert Descriptor.from_json(descriptor.to_json()) == descriptor


def test_empty_fields_are_left_out() -> None:
    assert Descriptor(OCI_LAYER, DIGEST, 3).to_json() == GOOD


def test_null_means_absent() -> None:
    nulls = {"platform": None, "annotations": None, "urls": None}
    assert Descriptor.from_json(GOOD | nulls) == Descriptor.from_json(GOOD)


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": None},
        {"mediaType": ""},
        {"mediaType": 3},
        {"digest": None},
        {"digest": "sha256:short"},
        {"digest": f"md5:{'a' * 32}"},
        {"digest": f"sha256:{'A' * 64}"},
        {"digest": f"{DIGEST}\n"},
        {"digest": f"sha256:../../{'a' * 58}"},
        {"size": None},
        {"size": -1},
        {"size": True},
        {"size": 1.5},
        {"size": "3"},
        {"size": 2**63},
        {"platform": []},
        {"annotations": {"a": 1}},
        {"annotations": "a"},
        {"urls": "https://example.com"},
        {"urls": [1]},
    ],
)
def test_a_malformed_field_is_a_data_error(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"^invalid .*"):
        Descriptor.from_json(GOOD | change)


@pytest.mark.parametrize("value", [None, 3, "text", [], [GOOD]])
def test_what_is_no_object_is_a_data_error(value: object) -> None:
    with pytest.raises(DataError, match="invalid descriptor"):
        Descriptor.from_json(value)


def test_both_registered_algorithms_are_known() -> None:
    assert check_digest(digest_of(b"x")).startswith("sha256:")
    assert check_digest(digest_of(b"x", "sha512")).startswith("sha512:")
