"""Mount flags: bind mounts, tmpfs, and the volumes that are yet to come."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.containers.config import MountSpec
from swapbox.containers.mounts import tmpfs_options
from swapbox.containers.volumes import parse_mount, parse_tmpfs, parse_volume
from swapbox.errors import InvalidInput, Unsupported

HERE = Path("/home/me")


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("/a:/b", MountSpec("/a", "/b", create_source=True)),
        ("/a/:/b//c/../d/", MountSpec("/a", "/b/d", create_source=True)),
        ("/a:/b:ro", MountSpec("/a", "/b", read_only=True, mode="ro", create_source=True)),
        ("/a:/b:rw,z", MountSpec("/a", "/b", mode="rw,z", create_source=True)),
        (
            "/a:/b:ro,rshared,cached",
            MountSpec(
                "/a", "/b", read_only=True, propagation="rshared", mode="ro,rshared,cached", create_source=True
            ),
        ),
        ("./a:/b", MountSpec("/home/me/a", "/b", create_source=True)),
        ("..:/b", MountSpec("/home", "/b", create_source=True)),
    ],
)
def test_a_host_directory_is_bound_where_it_was_asked_for(text: str, mount: MountSpec) -> None:
    assert parse_volume(text, HERE) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid volume specification: ''"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:foo", "invalid mode: foo"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        (
            "/a:b",
            "invalid volume specification: '/a:b': invalid mount config: "
            "invalid mount path: 'b' mount path must be absolute",
        ),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid mount config: "
            "invalid specification: destination can't be '/'",
        ),
        (
            "a/b:/c",
            'create a/b: "a/b" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
        ),
    ],
)
def test_a_malformed_volume_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_volume(text, HERE)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["data:/b", "/b"])
def test_a_volume_comes_in_a_later_release(text: str) -> None:
    with pytest.raises(Unsupported, match="volumes come in a later release"):
        parse_volume(text, HERE)


def test_mount_binds_what_is_there(tmp_path: Path) -> None:
    text = f"type=bind,src={tmp_path},dst=/b,ro,bind-propagation=rslave,bind-recursive=disabled"
    assert parse_mount(text) == MountSpec(
        str(tmp_path), "/b", read_only=True, propagation="rslave", recursive=False
    )


def test_mount_makes_a_tmpfs() -> None:
    assert parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777") == ("/t", "mode=1777,size=1048576")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=bind,src=/nonexistent,dst=/b", "bind source path does not exist: /nonexistent"),
        ("type=bind,src=a,dst=/b", "invalid mount path: 'a' mount path must be absolute"),
        ("type=bind,dst=/b", "field Source must not be empty"),
        ("type=bind,src=/,dst=/b,bind-propagation=x", "invalid propagation mode: x"),
        ("type=tmpfs,src=/a,dst=/b", "field Source must not be specified"),
        ("type=tmpfs,dst=/b,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("type=foo,src=/a,dst=/b", "mount type unknown"),
    ],
)
def test_a_malformed_mount_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_mount(text)
    assert caught.value.message.endswith(message)


def test_a_volume_by_mount_comes_later_too() -> None:
    with pytest.raises(Unsupported, match="volume 'data'"):
        parse_mount("src=data,dst=/b")


def test_a_tmpfs_has_a_target_and_may_have_options() -> None:
    assert parse_tmpfs(["/a", "/b/:size=64m,mode=1777"]) == {"/a": "", "/b": "size=64m,mode=1777"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid mount path: 'a' mount path must be absolute"),
        ("/", "invalid specification: destination can't be '/'"),
        ("/a:foo", 'invalid tmpfs option ["foo"]'),
        ("/a:size=1m,huge=always", 'invalid tmpfs option ["huge" "always"]'),
    ],
)
def test_a_malformed_tmpfs_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_tmpfs([text])
    assert caught.value.message == message


def test_tmpfs_options_are_safe_unless_they_say_otherwise() -> None:
    assert tmpfs_options("") == ["noexec", "nosuid", "nodev", "rprivate"]
    assert tmpfs_options("exec,size=1m,size=2m,ro,defaults") == [
        "nosuid",
        "nodev",
        "rprivate",
        "exec",
        "size=2m",
        "ro",
    ]
