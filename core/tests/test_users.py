"""Users are looked up in the image's files, and in nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swapbox.containers.config import IdMapping
from swapbox.containers.users import User, private_mappings, resolve_user
from swapbox.errors import DataError, InvalidInput, NotFound

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/usr/sbin:/bin/false

broken line
huge:x:99999999999:1::/:/bin/sh
app:x:1000:1001:App,,,:/home/app:/bin/sh
1000:x:7:7::/seven:/bin/sh
homeless:x:8:8:::/bin/sh
"""
GROUP = """\
root:x:0:root
wheel:x:10:root,app
app:x:1001:
disk:x:6:app,daemon
broken
"""


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    return root


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (0, 10), "/root")),
        ("root", User(0, 0, (0, 10), "/root")),
        ("app", User(1000, 1001, (1001, 10, 6), "/home/app")),
        ("app:", User(1000, 1001, (1001, 10, 6), "/home/app")),
        ("app:wheel", User(1000, 10, (10,), "/home/app")),
        ("app:6", User(1000, 6, (6,), "/home/app")),
        ("app:4242", User(1000, 4242, (4242,), "/home/app")),
        ("1:disk", User(1, 6, (6,), "/usr/sbin")),
        ("1", User(1, 1, (1, 6), "/usr/sbin")),
        ("4242", User(4242, 0, (0,), "/")),
        ("4242:4243", User(4242, 4243, (4243,), "/")),
        ("homeless", User(8, 8, (8,), "/")),
        (":wheel", User(0, 10, (10,), "/root")),
    ],
)
def test_a_user_is_a_name_or_a_number_with_or_without_a_group(rootfs: Path, text: str, user: User) -> None:
    assert resolve_user(rootfs, text) == user


def test_the_first_entry_wins_whether_the_name_or_the_number_matches(rootfs: Path) -> None:
    assert resolve_user(rootfs, "1000").home == "/home/app"


def test_added_groups_follow_the_users_own(rootfs: Path) -> None:
    assert resolve_user(rootfs, "app", group_add=("disk", "777", "root")).additional_gids == (1001, 10, 6, 777, 0)


@pytest.mark.parametrize(
    ("text", "groups", "message"),
    [
        ("nobody", (), "unable to find user nobody: no matching entries in passwd file"),
        ("huge", (), "unable to find user huge: no matching entries in passwd file"),
        ("app:nogroup", (), "unable to find group nogroup: no matching entries in group file"),
        ("app", ("nogroup",), "Unable to find group nogroup: no matching entries in group file"),
    ],
)
def test_an_unknown_name_is_refused_with_dockers_words(
    rootfs: Path, text: str, groups: tuple[str, ...], message: str
) -> None:
    with pytest.raises(NotFound) as caught:
        resolve_user(rootfs, text, group_add=groups)
    assert caught.value.message == message


@pytest.mark.parametrize("text", ["2147483648", "0:2147483648"])
def test_an_id_is_below_two_to_the_31(rootfs: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="uids and gids must be in range 0-2147483647"):
        resolve_user(rootfs, text)


def test_an_image_without_the_files_has_root_and_numbers_only(tmp_path: Path) -> None:
    assert resolve_user(tmp_path, "") == User(0, 0, (0,), "/")
    assert resolve_user(tmp_path, "5:6") == User(5, 6, (6,), "/")
    with pytest.raises(NotFound, match="unable to find user root"):
        resolve_user(tmp_path, "root")


def test_a_link_in_the_image_cannot_lead_to_the_hosts_users(rootfs: Path, tmp_path: Path) -> None:
    """The host's file has a user that the image's has not; both kinds of link must end inside the image."""
    (tmp_path / "outside").write_text("secret:x:42:42::/:/bin/sh\n")
    passwd = rootfs / "etc/passwd"
    for target in (str(tmp_path / "outside"), "../../outside"):
        passwd.unlink()
        passwd.symlink_to(target)
        with pytest.raises(NotFound, match="unable to find user secret"):
            resolve_user(rootfs, "secret")


def test_a_link_within_the_image_is_followed(rootfs: Path) -> None:
    (rootfs / "usr").mkdir()
    (rootfs / "etc/passwd").rename(rootfs / "usr/passwd")
    (rootfs / "etc/passwd").symlink_to("/usr/passwd")
    assert resolve_user(rootfs, "app").uid == 1000


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_regular_file_is_not_read(rootfs: Path, kind: str) -> None:
    passwd = rootfs / "etc/passwd"
    passwd.unlink()
    os.mkfifo(passwd) if kind == "fifo" else passwd.mkdir()
    assert resolve_user(rootfs, "") == User(0, 0, (0,), "/")


def test_a_huge_file_is_refused(rootfs: Path) -> None:
    with (rootfs / "etc/passwd").open("r+") as passwd:
        passwd.truncate(2**40)
    with pytest.raises(DataError, match="/etc/passwd of the image has 1099511627776 bytes"):
        resolve_user(rootfs, "")


def test_private_ids_come_from_the_ranges_of_swapbox(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text("someone:100000:65536\nswapbox:200000:1000\nswapbox:300000:64536\n")
    (tmp_path / "subgid").write_text("someone:100000:65536\n")
    uids, gids = private_mappings(tmp_path)
    assert uids == (IdMapping(0, 200_000, 1000), IdMapping(1000, 300_000, 64_536))
    assert gids == (IdMapping(0, 524_288, 65_536),)


def test_without_files_private_ids_are_a_fixed_range(tmp_path: Path) -> None:
    assert private_mappings(tmp_path) == ((IdMapping(0, 524_288, 65_536),),) * 2
