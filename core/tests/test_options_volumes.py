"""Mount flags: volumes, bind mounts and tmpfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.containers.config import MountSpec
from swapbox.containers.mount_flag import parse_mount
from swapbox.containers.mounts import tmpfs_options
from swapbox.containers.volumes import parse_anonymous, parse_tmpfs, parse_volume, parse_volumes_from
from swapbox.errors import InvalidInput

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
        (":/b", "invalid spec: :/b: empty section between colons"),
        ("a:/b:", "invalid spec: a:/b:: empty section between colons"),
        ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:foo", "invalid mode: foo"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        (
            "/a:b",
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": "
            "invalid mount path: 'b' mount path must be absolute",
        ),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": "
            "invalid specification: destination can't be '/'",
        ),
        (
            "data:/b:ro,rslave",
            "invalid volume specification: 'data:/b:ro,rslave': invalid mount config for type \"volume\": "
            "field BindOptions must not be specified",
        ),
        (
            "/a:/b:nocopy",
            "invalid volume specification: '/a:/b:nocopy': invalid mount config for type \"bind\": "
            "field VolumeOptions must not be specified",
        ),
    ],
)
def test_a_malformed_volume_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_volume(text, HERE)
    assert caught.value.message == message


VOLUME = MountSpec("", "/b", type="volume", propagation="")


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("data:/b", VOLUME._replace(name="data")),
        ("data:/b:ro,nocopy", VOLUME._replace(name="data", read_only=True, copy=False, mode="ro,nocopy")),
        ("a/b:/b/", VOLUME._replace(name="a/b")),  # refused when it is made
    ],
)
def test_what_is_no_path_is_the_name_of_a_volume(text: str, mount: MountSpec) -> None:
    assert parse_volume(text, HERE) == mount


def test_a_new_volume_is_made_by_the_driver_that_was_asked_for() -> None:
    assert parse_volume("data:/b", HERE, driver="nfs").driver == "nfs"
    assert parse_volume("/data:/b", HERE, driver="nfs").driver == ""


def test_a_path_alone_is_an_anonymous_volume() -> None:
    assert parse_anonymous("/b/") == "/b/"
    for text in ("", "/", "/b/.."):
        with pytest.raises(InvalidInput):
            parse_anonymous(text)


def test_volumes_from_has_a_container_and_a_mode() -> None:
    assert parse_volumes_from("web") == ("web", False)
    assert parse_volumes_from("web:rw,z") == ("web", False)
    assert parse_volumes_from("web:ro") == ("web", True)
    for mode in ("x", "ro,rw", "nocopy", "rshared"):
        with pytest.raises(InvalidInput, match=f"invalid mode: {mode}"):
            parse_volumes_from(f"web:{mode}")
    with pytest.raises(InvalidInput, match="cannot be an empty string"):
        parse_volumes_from("")


def test_mount_binds_what_is_there(tmp_path: Path) -> None:
    text = f"type=bind,src={tmp_path},dst=/b,ro,bind-propagation=rslave,bind-recursive=disabled"
    assert parse_mount(text, HERE) == MountSpec(
        str(tmp_path), "/b", read_only=True, propagation="rslave", recursive=False, by="--mount"
    )


def test_a_source_that_starts_with_a_dot_is_relative_to_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert parse_mount("type=bind,src=.,dst=/b", tmp_path).source == str(tmp_path)
    assert parse_mount("type=bind,src=./sub,dst=/b", tmp_path).source == str(tmp_path / "sub")


def test_mount_says_what_becomes_of_mounts_below(tmp_path: Path) -> None:
    bind = f"type=bind,src={tmp_path},dst=/b"
    assert parse_mount(f"{bind},ro,bind-recursive=writable", HERE).submounts == "writable"
    forced = parse_mount(f"{bind},ro,bind-recursive=readonly,bind-propagation=rprivate", HERE)
    assert (forced.submounts, forced.recursive) == ("readonly", True)
    assert not parse_mount(f"{bind},bind-nonrecursive", HERE).recursive


def test_mount_makes_a_tmpfs() -> None:
    mount = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777", HERE)
    assert (mount.type, mount.target, mount.options) == ("tmpfs", "/t", {"size": "1048576", "mode": "1777"})


def test_mount_has_everything_a_volume_can_have() -> None:
    text = (
        "src=data,dst=/b,ro,volume-nocopy,volume-driver=nfs,volume-opt=type=nfs,volume-label=a=b,"
        'volume-subpath=x/y,"volume-opt=o=addr=1.2.3.4,rw"'
    )
    mount = parse_mount(text, HERE)
    assert (mount.type, mount.name, mount.anonymous, mount.driver) == ("volume", "data", False, "nfs")
    assert (mount.read_only, mount.copy, mount.subpath, mount.labels) == (True, False, "x/y", {"a": "b"})
    assert mount.options == {"type": "nfs", "o": "addr=1.2.3.4,rw"}


def test_a_volume_by_mount_without_a_source_is_anonymous() -> None:
    assert parse_mount("dst=/b", HERE).anonymous


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
        ("", "value is empty"),
        ("type=,dst=/b", "type is required"),
        ("src=a", "target is required"),
        ("dst=/b,", "invalid field '' must be a key=value pair"),
        ("dst=/b,x=y", "unexpected key 'x' in 'x=y'"),
        ("dst=/b,ro=maybe", "invalid value for ro: maybe"),
        ("dst=/b,bind-propagation=shared", "cannot mix 'bind-*' options with mount type 'volume'"),
        ("type=tmpfs,dst=/b,volume-nocopy", "cannot mix 'volume-*' options with mount type 'tmpfs'"),
        ("type=bind,src=/,dst=/b,bind-recursive=writable", "requires 'readonly' to be specified in conjunction"),
        (
            "type=bind,src=/,dst=/b,ro,bind-recursive=readonly",
            "requires 'bind-propagation=rprivate' to be specified in conjunction",
        ),
        ("dst=/b,volume-subpath=../x", "subpath must be a relative path within the volume"),
        ('dst=/b,"x', "parse error on line 1: unexpected end of data"),
    ],
)
def test_a_malformed_mount_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_mount(text, HERE)
    assert caught.value.message.endswith(message)


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
