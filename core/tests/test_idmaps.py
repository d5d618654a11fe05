"""Who is who in a user namespace, and who may be given to one."""

from __future__ import annotations

from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.linux import idmaps, syscalls
from swapbox.linux.idmaps import IdRange, subordinate
from swapbox.testing.forked import Forked


def test_ranges_are_found_by_name_and_by_number_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("eve:100000:65536\nmallory:1:1\n1000:300000:10\neve:200000:5\n")
    assert subordinate(file, ("eve", "1000")) == (
        IdRange(100_000, 65_536),
        IdRange(300_000, 10),
        IdRange(200_000, 5),
    )


@pytest.mark.parametrize(
    "line", ["", "eve", "eve:1", "eve:x:1", "eve:1:", "eve:1:0", "eve:-1:5", "eve:1:²", ":1:1"]
)
def test_a_line_that_gives_nothing_is_left_out(tmp_path: Path, line: str) -> None:
    file = tmp_path / "subuid"
    file.write_text(f"{line}\neve:7:8\n")
    assert subordinate(file, ("eve",)) == (IdRange(7, 8),)


def test_without_a_file_there_are_no_ranges(tmp_path: Path) -> None:
    assert subordinate(tmp_path / "subuid", ("eve",)) == ()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=str(tmp_path)):
        subordinate(tmp_path, ("eve",))


@pytest.mark.root
def test_the_hosts_namespace_has_every_id() -> None:
    assert (idmaps.has_one_id(), idmaps.maps_gid(5), idmaps.may_set_groups()) == (False, True, True)


@pytest.mark.root
def test_a_namespace_of_one_id_has_only_that() -> None:
    def inside() -> tuple[bool, bool, bool, bool]:
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
            Path("/proc/self", name).write_text(text)
        return idmaps.has_one_id(), idmaps.maps_gid(0), idmaps.maps_gid(5), idmaps.may_set_groups()

    assert Forked(inside).result() == (True, True, False, False)
