"""Images from the host's own programs: complete enough to run, the same bytes every time, readable by others."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from swapbox.descriptors import OCI_INDEX, OCI_MANIFEST
from swapbox.errors import InvalidInput, NotFound
from swapbox.images import elf
from swapbox.images.from_host import HostImage, image_from_host, write_image, write_layout
from swapbox.images.manifests import Manifest, parse, parse_config
from swapbox.store.content import ContentStore
from swapbox.testing.forked import Forked

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chroot(2)")


def build(directory: Path, *programs: str, name: str = "layer", epoch: int | None = 0) -> HostImage:
    return image_from_host(programs, layer=directory / name, epoch=epoch)


def members(image: HostImage) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(image.layer) as tar:
        return {info.name: info for info in tar}


def run_inside(image: HostImage, directory: Path, *command: str) -> str:
    """Unpack the image and run a command of it, and of nothing else."""
    rootfs = directory / "rootfs"
    rootfs.mkdir()
    subprocess.run(["tar", "-C", rootfs, "-xpzf", image.layer], check=True)

    def inside() -> str:
        os.chroot(rootfs)
        os.chdir("/")
        return subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": "/bin"}).stdout

    return Forked(inside).result()


@pytest.mark.root
@root
def test_the_programs_run_with_nothing_of_the_host(tmp_path: Path) -> None:
    image = build(tmp_path, "sh", "ls", "cat")
    assert run_inside(image, tmp_path, "/bin/sh", "-c", "ls /etc | cat").split()[:2] == ["group", "os-release"]


def test_the_same_programs_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = build(tmp_path, "sh", "cat", name="one"), build(tmp_path, "sh", "cat", name="two")
    assert one._replace(layer=two.layer) == two
    assert one.layer.read_bytes() == two.layer.read_bytes()
    assert one.manifest == two.manifest


def test_digests_and_sizes_are_those_of_the_layer(tmp_path: Path) -> None:
    import gzip

    image = build(tmp_path, "true")
    data = image.layer.read_bytes()
    assert image.descriptor.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert image.descriptor.size == len(data)
    assert image.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"
    assert parse_config(image.config).diff_ids == (image.diff_id,)


def test_names_are_sorted_owners_are_root_and_times_are_fixed(tmp_path: Path) -> None:
    found = members(build(tmp_path, "sh", epoch=1234))
    assert list(found) == sorted(found)
    assert {(info.uid, info.gid, info.uname, info.mtime) for info in found.values()} == {(0, 0, "", 1234)}


def test_the_time_may_come_from_source_date_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    image = build(tmp_path, "true", epoch=None)
    assert json.loads(image.config)["created"] == "1970-01-02T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(InvalidInput, match="SOURCE_DATE_EPOCH 'today'"):
        build(tmp_path, "true", epoch=None)


def test_it_has_accounts_and_directories(tmp_path: Path) -> None:
    image = build(tmp_path, "true")
    found = members(image)
    assert (found["tmp"].mode, found["root"].mode, found["etc"].mode) == (0o1777, 0o700, 0o755)
    with tarfile.open(image.layer) as tar:
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        assert [line.split(b":")[0] for line in passwd.readlines()] == [b"root", b"nobody"]


def test_the_config_runs_the_first_program_unless_told_otherwise(tmp_path: Path) -> None:
    config = json.loads(build(tmp_path, "sh", "cat").config)
    assert config["config"]["Cmd"] == ["sh"]
    assert config["config"]["Env"][0].startswith("PATH=/usr/local/sbin:")
    assert config["os"] == "linux"
    assert config["history"][0]["created_by"] == "swapbox image from-host sh cat"
    other = image_from_host(["sh"], layer=tmp_path / "o", command=["sh", "-l"], environment={"A": "b"})
    assert json.loads(other.config)["config"]["Cmd"] == ["sh", "-l"]
    assert "A=b" in json.loads(other.config)["config"]["Env"]


def test_an_unknown_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="program no-such-program is not in PATH"):
        build(tmp_path, "sh", "no-such-program")
    with pytest.raises(NotFound, match="no such file: /no/such/program"):
        build(tmp_path, "/no/such/program")
    assert list(tmp_path.iterdir()) == []


def test_no_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no program"):
        build(tmp_path)


@pytest.mark.root
@root
def test_a_script_brings_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "greet"
    script.write_text("#!/usr/bin/env sh\necho hello\n")
    script.chmod(0o755)
    image = build(tmp_path, str(script), "cat")
    assert run_inside(image, tmp_path, str(script)) == "hello\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just text", "neither an ELF program nor a script"),
        (b"#!sh\n", "by an absolute path"),
        (b"#!\n", "names no"),
    ],
)
def test_a_file_that_cannot_run_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    with pytest.raises(InvalidInput, match=message):
        build(tmp_path, str(program))


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(NotFound, match="a loop of links"):
        build(tmp_path, str(tmp_path / "a"))


def test_links_to_a_program_are_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "deep/dir/true", tmp_path / "link"
    real.parent.mkdir(parents=True)
    shutil.copy("/bin/true", real)
    link.symlink_to("deep/../deep/dir/true")
    found = members(build(tmp_path, str(link)))
    assert found[str(link).lstrip("/")].linkname == "deep/../deep/dir/true"
    assert found[str(real).lstrip("/")].isreg()


def test_set_id_programs_lose_their_power(tmp_path: Path) -> None:
    program = tmp_path / "su"
    shutil.copy("/bin/true", program)
    program.chmod(0o6755)
    assert stat.S_IMODE(members(build(tmp_path, str(program)))[str(program).lstrip("/")].mode) == 0o755


@pytest.mark.debian
@pytest.mark.skipif(not Path("/bin/busybox").exists(), reason="needs the package busybox-static")
def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    assert elf.interpreter(Path("/bin/busybox")) is None
    names = members(build(tmp_path, "/bin/busybox"))
    assert [name for name in names if ".so" in name] == []


@pytest.mark.parametrize("length", [4, 5, 17, 40, 63])
def test_a_damaged_program_is_refused(length: int, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes()[:length])
    with pytest.raises(InvalidInput, match="damaged"):
        elf.interpreter(program)


def test_the_content_store_gets_a_whole_image(tmp_path: Path) -> None:
    content = ContentStore(tmp_path / "content")
    image = build(tmp_path, "true")
    descriptor = write_image(content, image)
    assert write_image(content, image) == descriptor
    manifest = parse(content.read(descriptor.digest), OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    assert content.read(manifest.config.digest) == image.config
    assert [content.size(layer.digest) for layer in manifest.layers] == [image.layer.stat().st_size]


def test_a_layout_holds_several_images_and_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    first = write_layout(layout, build(tmp_path, "true"), name="demo")
    other = write_layout(layout, build(tmp_path, "cat"), name="other")
    index = json.loads((layout / "index.json").read_bytes())
    assert index["mediaType"] == OCI_INDEX
    assert index["manifests"] == [first.to_json(), other.to_json()]
    second = write_layout(layout, build(tmp_path, "false"), name="demo")
    index = json.loads((layout / "index.json").read_bytes())
    assert index["manifests"] == [other.to_json(), second.to_json()]
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for blob in (layout / "blobs/sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs the package skopeo")
def test_skopeo_reads_the_layout(tmp_path: Path) -> None:
    image = build(tmp_path, "true")
    write_layout(tmp_path / "layout", image, name="demo")
    copy = ["skopeo", "copy", "-q", f"oci:{tmp_path}/layout:demo", f"oci:{tmp_path}/copy:demo"]
    subprocess.run(copy, check=True)
    assert (tmp_path / "copy/blobs" / image.descriptor.digest.replace(":", "/")).exists()


def test_the_layer_is_a_tar_that_our_own_reader_takes(tmp_path: Path) -> None:
    from swapbox.images.compression import decompress
    from swapbox.images.tarstream import TarStream

    image = build(tmp_path, "true")
    stream = TarStream(decompress(io.BytesIO(image.layer.read_bytes())))
    assert [entry.name.rstrip(b"/").decode() for entry in stream] == list(members(image))
