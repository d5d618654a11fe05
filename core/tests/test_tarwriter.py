"""Archives that :class:`TarWriter` writes, read by the standard library and by our own reader."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from swapbox.images.tarstream import TarStream
from swapbox.images.tarwriter import TarWriter


def archive_of(directory: Path, *names: bytes) -> bytes:
    written = io.BytesIO()
    writer = TarWriter(written.write)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    for name in names:
        writer.add(name, fd, name, os.stat(name, dir_fd=fd, follow_symlinks=False))
    os.close(fd)
    writer.finish()
    assert writer.size == len(written.getvalue())
    return written.getvalue()


def read(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()


def test_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir(mode=0o750)
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("where/ever")
    os.mkfifo(tmp_path / "pipe", 0o600)
    members = read(archive_of(tmp_path, b"dir", b"file", b"link", b"pipe"))
    kinds = [tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE]
    assert [member.type for member in members] == kinds
    assert [member.name for member in members] == ["dir", "file", "link", "pipe"]
    assert members[0].mode == 0o750
    assert members[1].size == 7
    assert members[2].linkname == "where/ever"


def test_the_second_name_of_a_file_is_a_link_to_the_first(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x")
    os.link(tmp_path / "one", tmp_path / "two")
    first, second = read(archive_of(tmp_path, b"one", b"two"))
    assert (first.type, second.type, second.linkname) == (tarfile.REGTYPE, tarfile.LNKTYPE, "one")


def test_what_ustar_has_no_room_for(tmp_path: Path) -> None:
    long = "n" * 200
    (tmp_path / long).write_bytes(b"long")
    (tmp_path / "link").symlink_to("t" * 300)
    (tmp_path / "caf\xe9").touch()
    os.utime(tmp_path / "caf\xe9", (0, -5))
    data = archive_of(tmp_path, long.encode(), b"link", "caf\xe9".encode())
    named, link, old = read(data)
    assert named.name == long
    assert link.linkname == "t" * 300
    assert (old.name, old.mtime) == ("caf\xe9", -5)
    assert [entry.name for entry in TarStream(io.BytesIO(data))] == [long.encode(), b"link", "caf\xe9".encode()]


def test_attributes_are_kept_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    value = bytes(range(256))
    try:
        os.setxattr(tmp_path / "file", "user.any", value)
    except OSError:
        pytest.skip("this file system has no user attributes")
    [entry] = TarStream(io.BytesIO(archive_of(tmp_path, b"file")))
    assert entry.xattrs == {b"user.any": value}


def test_a_file_with_holes_is_written_with_zeros(tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    data = archive_of(tmp_path, b"holes")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile("holes")
        assert member is not None
        assert member.read() == bytes(3 << 20) + b"end"


def test_a_socket_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("sock")
        assert read(archive_of(tmp_path, b"sock")) == []


def test_a_file_that_turned_into_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    info = (tmp_path / "file").lstat()
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to("/etc/passwd")
    written = io.BytesIO()
    writer = TarWriter(written.write)
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    writer.add(b"file", fd, b"file", info)
    os.close(fd)
    assert written.getvalue() == b""


def test_a_file_that_is_cut_off_between_two_looks_is_padded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"x" * 4096)
        file.truncate(1 << 20)
    look = os.lseek

    def cut_off(fd: int, at: int, how: int) -> int:
        found = look(fd, at, how)
        os.truncate(path, 0)
        return found

    monkeypatch.setattr(os, "lseek", cut_off)
    (member,) = read(archive_of(tmp_path, b"sparse"))
    assert member.size == 1 << 20
