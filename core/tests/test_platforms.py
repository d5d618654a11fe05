from __future__ import annotations

import os

import pytest

from swapbox.descriptors import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor
from swapbox.errors import InvalidInput
from swapbox.images import platforms
from swapbox.images.platforms import Platform


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/aarch64/8", "linux/arm64/v8"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armel", "linux/arm/v6"),
        ("arm64", "linux/arm64/v8"),
        ("linux/riscv64", "linux/riscv64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_a_platform_is_normalized(text: str, expected: str) -> None:
    assert str(Platform.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "/", "linux/", "linux//v7", "a/b/c/d", "linux/am d64", "linux/arm\n"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="error parsing specified platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64/v8"),
        ("armv7l", "linux/arm/v7"),
        ("s390x", "linux/s390x"),
    ],
)
def test_the_default_is_this_host(machine: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*name[:4], machine)))
    assert str(platforms.default()) == expected


def _entry(platform: str | None, media_type: str = OCI_MANIFEST) -> Descriptor:
    fields = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False)) if platform else None
    return Descriptor(media_type, f"sha256:{abs(hash(platform)):064x}", 1, platform=fields)


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], ["linux/amd64"]),
        ("linux/amd64", ["linux/386", "linux/amd64/v2", "linux/amd64"], ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], ["linux/amd64/v2", "linux/amd64"]),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], ["linux/arm/v6", "linux/arm/v5"]),
        (
            "linux/arm64",
            ["linux/arm/v7", "linux/arm64", "linux/arm"],
            ["linux/arm64", "linux/arm/v7", "linux/arm"],
        ),
        ("linux/amd64", ["windows/amd64", "unknown/unknown"], []),
        ("linux/s390x", ["linux/amd64"], []),
    ],
)
def test_the_best_of_what_can_run_comes_first(wanted: str, offered: list[str], chosen: list[str]) -> None:
    ranked = platforms.ranked(Platform.parse(wanted), [_entry(text) for text in offered])
    assert ranked == [_entry(text) for text in chosen]


def test_entries_without_a_platform_come_last() -> None:
    nested, unnamed = _entry(None, OCI_INDEX), _entry(None)
    named = _entry("linux/amd64")
    assert platforms.ranked(Platform.parse("linux/amd64"), [nested, named, unnamed]) == [named, nested, unnamed]


def test_attestations_and_other_artifacts_are_left_out() -> None:
    attestation = _entry("linux/amd64")._replace(annotations={"vnd.docker.reference.type": "attestation-manifest"})
    assert platforms.ranked(Platform.parse("linux/amd64"), [attestation, _entry("linux/amd64", OCI_LAYER)]) == []


@pytest.mark.parametrize(
    "value", [{}, {"os": 1, "architecture": 2}, {"os": "linux"}, {"os": [], "architecture": ""}]
)
def test_an_object_that_names_no_platform_is_none(value: dict[str, object]) -> None:
    assert platforms.of(value) is None
