from __future__ import annotations

import pytest

from swapbox.errors import InvalidInput
from swapbox.references import Reference

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("alpine", "docker.io/library/alpine", "alpine"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("index.docker.io/alpine", "docker.io/library/alpine", "alpine"),
        ("docker.io/library/alpine", "docker.io/library/alpine", "alpine"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("bitnami/redis:7", "docker.io/bitnami/redis:7", "bitnami/redis:7"),
        ("ghcr.io/a/b/c:x", "ghcr.io/a/b/c:x", "ghcr.io/a/b/c:x"),
        ("localhost/a", "localhost/a", "localhost/a"),
        ("localhost", "docker.io/library/localhost", "localhost"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
        ("127.0.0.1:5000/a_b/c__d:x", "127.0.0.1:5000/a_b/c__d:x", "127.0.0.1:5000/a_b/c__d:x"),
        ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
        ("Host/a", "Host/a", "Host/a"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}", f"alpine@{DIGEST}"),
        (f"alpine:3@{DIGEST}", f"docker.io/library/alpine:3@{DIGEST}", f"alpine:3@{DIGEST}"),
        ("a/b---c", "docker.io/a/b---c", "a/b---c"),
    ],
)
def test_a_reference_has_a_canonical_and_a_familiar_form(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar
    assert Reference.parse(canonical) == reference
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "alpine:",
        "alpine@",
        "alpine@sha256:short",
        "alpine:a:b",
        "-a",
        "a_-b",
        "a//b",
        "a/",
        "/a",
        "a..b/c/..",
        "ghcr.io/",
        "ghcr.io:port/a",
        "-host.example/a",
        "a b",
        "a\nb",
        "alpine\n",
        "alpine:.x",
        "alpine:" + "x" * 129,
        "a/" * 128 + "a",
        "ä",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"invalid reference format|must not be more than"):
        Reference.parse(text)


def test_capitals_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"repository name \(library/Alpine\) must be lowercase"):
        Reference.parse("Alpine:3")


def test_a_name_that_looks_like_an_id_is_refused() -> None:
    with pytest.raises(InvalidInput, match="64-byte hexadecimal"):
        Reference.parse("a" * 64)


@pytest.mark.parametrize(("text", "tag"), [("alpine", "latest"), ("alpine:3", "3"), (f"alpine@{DIGEST}", None)])
def test_the_default_tag_is_for_names_alone(text: str, tag: str | None) -> None:
    assert Reference.parse(text).with_default_tag().tag == tag


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("oci:/srv/app", ("oci", "/srv/app", None, None)),
        ("oci:/srv/app:1.0", ("oci", "/srv/app", "1.0", None)),
        (f"oci:/srv/app:1.0@{DIGEST}", ("oci", "/srv/app", "1.0", DIGEST)),
        (f"oci:/srv/app@{DIGEST}", ("oci", "/srv/app", None, DIGEST)),
        (
            "docker-archive:/My Files/a.tar:localhost:5000/a:1",
            ("docker-archive", "/My Files/a.tar", "localhost:5000/a:1", None),
        ),
        ("x:/", ("x", "/", None, None)),
    ],
)
def test_an_image_in_a_file_has_a_transport_and_a_path(
    text: str, parts: tuple[str, str, str | None, str | None]
) -> None:
    reference = Reference.parse(text)
    assert (reference.transport, reference.path, reference.tag, reference.digest) == parts
    assert reference.host == ""
    assert str(reference) == reference.familiar == text
    with pytest.raises(InvalidInput):
        Reference.parse_name(text)


def test_the_path_of_a_file_is_normal() -> None:
    assert str(Reference.parse("oci:/srv//./x/../app/:1").with_default_tag()) == "oci:/srv/app:1"
    assert str(Reference.parse("oci:/srv/app").with_default_tag()) == "oci:/srv/app:latest"


@pytest.mark.parametrize(
    "text",
    [
        "oci:./app",
        "https://example.com/app:1",
        "oci:../app",
        "OCI:/app",
        "oci:/app:",
        "oci:/app@",
        "oci:/app@sha256:x",
        "oci:/a:b c",
        "oci:/a\nb",
        ":/a",
    ],
)
def test_what_is_nearly_a_file_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidInput):
        Reference.parse(text)
