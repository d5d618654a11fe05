"""Containers with volumes: what Docker does, and what only swapbox promises."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swapbox.testing import images, publish
from swapbox.testing.images import directory, file, hardlink, layer_of, symlink
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox, sandbox

pytestmark = [pytest.mark.root, pytest.mark.debian]

# Each is run on both, line by line: the same output, the same exit codes, the same complaints.
SCENARIOS = {
    "a named volume outlives its containers": """
        run --rm -v data:/x busybox sh -c 'echo kept > /x/file'
        run --rm -v data:/y:ro busybox cat /y/file
        run --rm -v data:/y:ro busybox touch /y/new
        volume ls -q
    """,
    "an image's files are copied into an empty volume, once": """
        run --rm -v data:/data vol sh -c 'ls /data; cat /data/file /data/link /data/hard'
        run --rm -v data:/x busybox stat -c '%u %g %a %F' /x /x/sub
        run --rm -v data:/x busybox stat -c '%u %g %a %h %F %Y' /x/file /x/hard /x/owned /x/sub/deep
        run --rm -v data:/x busybox stat -c '%u %g %a %h %F' /x/link
        run --rm -v data:/x busybox sh -c 'stat -c %h /x/file; rm -r /x/file; echo mine > /x/sub/deep'
        run --rm -v data:/data vol sh -c 'ls /data; cat /data/sub/deep'
        run --rm -v data:/etc vol ls /etc
    """,
    "an emptied volume is filled by the next container": """
        run --rm -v data:/data vol sh -c 'rm -r /data/*'
        run --rm -v data:/data busybox ls /data
        run --rm -v data:/data vol ls /data
    """,
    "a restarted container keeps its volume empty": """
        run --name one -v data:/data vol sh -c 'ls /data; rm -rf /data/*'
        start -a one
        rm one
    """,
    "nocopy leaves a volume empty": """
        run --rm -v data:/data:nocopy vol ls /data
        run --rm --mount src=data2,dst=/data,volume-nocopy vol ls /data
    """,
    "a volume where the image has nothing belongs to root": """
        run --rm -v data:/nothing/here vol stat -c '%u %g %a' /nothing/here
        run --rm -v data:/nothing/here -u 5:5 vol touch /nothing/here/x
    """,
    "the way to the target may lead through links of the image": """
        run --rm -v data:/out/sub vol ls /etc/sub
        run --rm -v data:/x vol ls /x
    """,
    "volumes below one another": """
        run --rm -v inner:/data/sub -v outer:/data vol sh -c 'ls /data /data/sub; echo 1 > /data/sub/new'
        run --rm -v inner:/x -v outer:/y vol ls /x /y /y/sub
    """,
    "a volume may not be over a file": """
        run --rm -v data:/etc/passwd vol true
        run --rm -v /etc/passwd vol true
        run --rm --mount dst=/etc/passwd vol true
        volume ls -q
    """,
    "anonymous volumes go with --rm": """
        run --rm vol ls /data /new
        run --rm -v /anonymous --mount dst=/other busybox ls /anonymous /other
        volume ls -q
    """,
    "anonymous volumes stay without --rm, and go with rm -v": """
        run --name one vol true
        run --name two -v named:/data vol true
        volume ls -q --filter name=named
        volume ls -q --filter dangling=false --filter name=^.{64}$
        rm one
        rm -v two
        volume ls -q --filter dangling=false
        volume ls -q --filter name=^.{64}$
        volume ls -q --filter name=named
    """,
    "a volume in use cannot be removed": """
        create --name one -v data:/x busybox true
        volume rm data
        volume rm -f data
        volume ls --filter dangling=true
        rm one
        volume rm data
    """,
    "an anonymous volume that another container uses stays": """
        create --name one -v /shared busybox true
        create --name two --volumes-from one busybox true
        rm -v one
        volume ls -q
        rm -v two
        volume ls -q
    """,
    "volumes from another container": """
        run --name one -v data:/data -v /anonymous vol sh -c 'echo 1 > /anonymous/file; echo 2 > /new/file'
        run --rm --volumes-from one busybox sh -c 'cat /anonymous/file /new/file; ls /data; touch /data/x'
        run --rm --volumes-from one:ro busybox touch /new/other
        run --rm --volumes-from one -v data2:/new vol ls /new
        run --rm --volumes-from one:sideways busybox true
        run --rm --volumes-from one:ro,rw busybox true
        run --rm --volumes-from nobody busybox true
        run --rm --volumes-from one --volumes-from one:ro busybox touch /new/x
        rm -v one
    """,
    "volumes from a running container": """
        run -d --name one -v /shared busybox sleep 1000
        exec one sh -c 'echo hello > /shared/file'
        run --rm --volumes-from one busybox sh -c 'cat /shared/file; echo back > /shared/file'
        exec one cat /shared/file
        rm -fv one
    """,
    "mounts as they are listed": """
        create --name one -v data:/x busybox true
        create --name two -v /usr/share:/y busybox true
        ps -a --format '{{.Names}}: {{.Mounts}} {{.LocalVolumes}}'
        ps -a --format '{{.Names}}' --filter volume=data
        ps -a --format '{{.Names}}' --filter volume=/y
        ps -a --format '{{.Names}}' --filter volume=nothing
        rm one two
    """,
    "a tmpfs by mount": """
        run --rm --mount type=tmpfs,dst=/t busybox grep ' /t ' /proc/mounts
        run --rm --mount type=tmpfs,dst=/t,tmpfs-mode=700,tmpfs-size=1m busybox stat -c %a /t
        run --rm --mount type=tmpfs,dst=/t,ro busybox touch /t/x
        run --rm --mount type=tmpfs,dst=/data vol ls /data
    """,
    "options that cannot be": """
        run --rm -v data:/x -v data2:/x busybox true
        run --rm -v data:/x --tmpfs /x busybox true
        run --rm -v data:/x --mount dst=/x busybox true
        run --rm -v data:relative busybox true
        run --rm -v data:/ busybox true
        run --rm -v data:/x:sideways busybox true
        run --rm -v data:/x:ro:rw busybox true
        run --rm -v data:/x:rshared busybox true
        run --rm -v /tmp:/x:nocopy busybox true
        run --rm -v a/b:/x busybox true
        run --rm -v .:/x busybox true
        run --rm --mount src=x,dst=/x busybox true
        run --rm --mount type=volume,src=/tmp,dst=/x busybox true
        run --rm --mount dst=/x,src=new,volume-opt=foo=bar busybox true
        run --rm --mount type=volume,dst=x busybox true
        run --rm --mount type=foo,dst=/x busybox true
        run --rm --mount type=bind,dst=/x busybox true
        run --rm --mount type=bind,src=/nonexistent,dst=/x busybox true
        run --rm --mount type=bind,src=nonexistent,dst=/x busybox true
        run --rm --mount type=tmpfs,src=data,dst=/x busybox true
    """,
    "a volume with options is mounted": """
        volume create -o type=tmpfs -o device=tmpfs -o o=size=64k,uid=7 data
        run --rm -v data:/x busybox sh -c 'stat -c %u /x; grep " /x " /proc/mounts | grep -o size=64k'
        volume create -o type=none -o device=/usr/share -o o=bind,ro data2
        run --rm -v data2:/x busybox test -d /x/doc
        run --rm -v data2:/x busybox touch /x/new
        run --rm --mount 'dst=/x,volume-opt=type=tmpfs,volume-opt=device=t,"volume-opt=o=uid=5,gid=6"' vol ls /x
    """,
}

# Where Docker 20.10 says it otherwise than 28, or names its own directories.
_SAME = (
    (r"/[^ ]*/merged/", "/"),
    (r"Error response from daemon:|swapbox: Error:", "Error:"),
    (r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "ID"),
    (r"docker: Error: ", "docker: "),
    (r"docker", "swapbox"),
    (r"tmpfs rw.*", "tmpfs"),
)


def alike(text: str) -> str:
    for pattern, replacement in _SAME:
        text = re.sub(pattern, replacement, text)
    return text


@pytest.fixture(scope="module")
def vol_image() -> images.Image:
    """An image with files in the directory of one of its two volumes, and a link to another directory."""
    entries = [
        directory("data", mode=0o1770, uid=12, gid=34),
        file("data/file", b"content\n"),
        file("data/owned", b"", mode=0o640, uid=1, gid=2),
        hardlink("data/hard", "data/file"),
        symlink("data/link", "file"),
        directory("data/sub", mode=0o711),
        file("data/sub/deep", b"deep\n", mode=0o4755),
        directory("etc/sub"),
        file("etc/sub/below", b""),
        symlink("out", "/etc"),
    ]
    return images.busybox_image(extra=[layer_of(entries)], config={"Volumes": {"/data": {}, "/new": {}}})


@pytest.fixture(scope="module")
def vol_ref(registry: str, vol_image: images.Image) -> str:
    return publish.push(registry, "vol", "latest", vol_image)


@pytest.fixture(scope="module")
def stocked(vol_ref: str, busybox_ref: str) -> Iterator[Sandbox]:
    with sandbox() as made:
        for name, reference in (("vol", vol_ref), ("busybox", busybox_ref)):
            made.ok("pull", reference)
            made.ok("tag", reference, name)
        yield made


@pytest.fixture
def box(stocked: Sandbox) -> Iterator[Sandbox]:
    """Swapbox with the images ``vol`` and ``busybox``; nothing of a test is left."""
    yield stocked
    stocked.remove_containers()
    stocked.ok("volume", "prune", "-af")
    assert stocked.ok("volume", "ls", "-q") == ""
    assert os.listdir(stocked.root / "volume/local") == []
    stocked.assert_no_leaks()


@pytest.fixture
def both(docker: Engine, box: Sandbox, vol_ref: str) -> Iterator[tuple[Engine, Sandbox]]:
    if docker("image", "inspect", "vol").code:
        docker.ok("pull", vol_ref)
        docker.ok("tag", vol_ref, "vol")
    yield docker, box
    if containers := docker.ok("ps", "-aq").split():
        docker.ok("rm", "-fv", *containers)
    if volumes := docker.ok("volume", "ls", "-q").split():
        docker.ok("volume", "rm", *volumes)


@pytest.mark.parametrize("name", SCENARIOS)
def test_volumes_are_as_dockers(both: tuple[Engine, Sandbox], name: str) -> None:
    for line in filter(None, map(str.strip, SCENARIOS[name].splitlines())):
        words = shlex.split(line)
        if words[0] in ("run", "create"):
            words[1:1] = ["--network", "none"]
        theirs, ours = (engine(*words) for engine in both)
        said = f"{line}\n{ours.err}\n{theirs.err}"
        assert (alike(ours.out), ours.code) == (alike(theirs.out), theirs.code), said
        if not line.startswith("run") or ours.code == 125:
            first = [alike(result.err).split("\nhint")[0].splitlines()[:1] for result in (ours, theirs)]
            assert first[0] == first[1], line


INSPECTED = (
    ("vol",),
    ("-v", "data:/data", "vol"),
    ("-v", "data:/x:ro", "-v", "/anonymous", "busybox"),
    ("--mount", "src=data,dst=/x,volume-nocopy,ro", "busybox"),
    ("--mount", "dst=/x,volume-label=a=b", "busybox"),
    ("--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700", "busybox"),
    ("--mount", "type=bind,src=/tmp,dst=/t,bind-propagation=rslave,readonly", "busybox"),
    ("--mount", "type=bind,src=/tmp,dst=/t,bind-nonrecursive", "busybox"),
    ("--volume-driver", "local", "-v", "data:/x:nocopy", "busybox"),
    ("-v", "data:/x:z,ro", "busybox"),
    ("-v", "/etc/passwd:/etc/passwd:ro", "busybox"),
    ("--tmpfs", "/t:size=1m", "busybox"),
    ("--tmpfs", "/data", "vol"),
    ("--volumes-from", "source:ro", "busybox"),
    ("--volumes-from", "source", "-v", "data2:/f", "-v", "/etc:/anonymous", "vol"),
)


@pytest.mark.parametrize("options", INSPECTED, ids=" ".join)
def test_inspect_tells_of_mounts_what_docker_tells(both: tuple[Engine, Sandbox], options: tuple[str, ...]) -> None:
    documents = []
    for engine in both:
        source = ("-v", "data:/f", "-v", "/anonymous", "-v", "/tmp:/host:ro", "--mount", "dst=/m,src=data4,ro")
        engine.ok("create", "--network", "none", "--name", "source", *source, "vol", "true")
        engine.ok("create", "--network", "none", "--name", "one", *options, "true")
        documents.append(json.loads(engine.ok("inspect", "one"))[0])
    theirs, ours = map(_mount_fields, documents)
    assert ours == theirs


def _mount_fields(document: dict[str, Any]) -> dict[str, Any]:
    host = document["HostConfig"]
    host["Binds"] = sorted(host.get("Binds") or ())  # Docker's client takes them from a map, in any order
    for mount in document["Mounts"]:
        mount["Source"] = re.sub(r".*/volumes?/(local/)?", "", mount["Source"])
        for name in ("Name", "Source"):
            if name in mount:
                mount[name] = alike(mount[name])
    for mount in host.get("Mounts") or ():
        mount.get("VolumeOptions", {}).pop("DriverConfig", None)  # Docker's client always sends one
    return {
        "Mounts": sorted(document["Mounts"], key=lambda mount: str(mount["Destination"])),
        "Volumes": document["Config"]["Volumes"],
        **{name: host.get(name) for name in ("Binds", "Mounts", "VolumesFrom", "Tmpfs") if host.get(name)},
        "VolumeDriver": host["VolumeDriver"],
        "HostConfig.Mounts": host.get("Mounts"),
    }


def test_events_tell_of_a_volumes_life(both: tuple[Engine, Sandbox]) -> None:
    told = []
    for engine in both:
        engine.ok("run", "--network", "none", "--rm", "--name", "told", "-v", "told:/x:ro", "busybox", "true")
        assert engine.ok("ps", "-aq") == ""
        engine.ok("volume", "rm", "told")
        words = "{{.Action}} {{.Actor.ID}} {{json .Actor.Attributes}}"
        until = str(int(time.time()) + 2)  # Docker's client does not look at fractions of a second
        times = ("--since", "1m", "--until", until)
        lines = engine.ok("events", *times, "--filter", "type=volume", "--format", words)
        told.append([alike(line) for line in lines.splitlines() if " told " in line])
    assert told[1] == told[0]
    assert len(told[1]) == 4


# -- what Docker is not asked about -------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["ns", "runc"])
@pytest.mark.parametrize("storage", ["overlay", "vfs"])
def test_volumes_work_with_every_driver(box: Sandbox, storage: str, isolation: str) -> None:
    drivers = ("--storage-driver", storage, "--isolation", isolation)
    script = "cat /data/file; echo more >> /data/file; touch /new/x"
    assert box.ok("run", "--rm", *drivers, "-v", "data:/data", "vol", "sh", "-c", script) == "content"
    assert box.ok("run", "--rm", *drivers, "-v", "data:/data", "busybox", "cat", "/data/file") == "content\nmore"
    tmpfs = "dst=/x,volume-opt=type=tmpfs,volume-opt=device=tmpfs"
    assert box.ok("run", "--rm", *drivers, "--mount", tmpfs, "busybox", "stat", "-fc", "%T", "/x") == "tmpfs"


@pytest.mark.parametrize("isolation", ["ns", "runc"])
def test_a_part_of_a_volume_is_mounted(box: Sandbox, isolation: str) -> None:
    run = ("run", "--rm", "--isolation", isolation)
    script = "mkdir -p /x/a/b; echo 1 > /x/a/b/c; ln -s /etc /x/out; ln -s ../../etc /x/up; ln -s a/b /x/in"
    box.ok(*run, "-v", "data:/x", "busybox", "sh", "-c", script)
    assert box.ok(*run, "--mount", "src=data,dst=/y,volume-subpath=a/b", "busybox", "ls", "/y") == "c"
    assert box.ok(*run, "--mount", "src=data,dst=/y,volume-subpath=a/b/c", "busybox", "cat", "/y") == "1"
    assert box.ok(*run, "--mount", "src=data,dst=/y,volume-subpath=in/c", "busybox", "cat", "/y") == "1"
    for subpath in ("nothing", "out", "out/passwd", "up"):
        mount = f"src=data,dst=/y,volume-subpath={subpath}"
        box(*run, "--mount", mount, "busybox", "ls", "/y").fails(125, "subpath", f": {subpath}")


def test_nothing_of_a_mounted_volume_is_seen_on_the_host(box: Sandbox) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    options = "dst=/x,src=data,volume-opt=type=tmpfs,volume-opt=device=tmpfs"
    box.ok("run", "-d", "--name", "one", "--mount", options, "-v", "data2:/y", "busybox", "sleep", "1000")
    assert box.directory.name not in Path("/proc/self/mountinfo").read_text().replace(before, "")
    box.ok("restart", "-t", "0", "one")
    assert box.ok("exec", "one", "stat", "-fc", "%T", "/x") == "tmpfs"


def test_files_are_copied_into_and_out_of_volumes_running_or_not(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    part = "dst=/part,src=data,volume-subpath=sub"
    box.ok("run", "--rm", "-v", "data:/x", "busybox", "mkdir", "/x/sub")
    box.ok("create", "--name", "one", "-v", "data:/x", "--mount", part, "busybox", "sleep", "1000")
    for number, start in enumerate(("inspect", "start", "stop")):
        box.ok(start, *(["-t", "0"] if start == "stop" else []), "one")
        box.ok("cp", str(tmp_path / "file"), f"one:/x/new{number}")
        box.ok("cp", str(tmp_path / "file"), f"one:/part/new{number}")
        box.ok("cp", f"one:/x/sub/new{number}", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "hello"
    seen = box.ok("run", "--rm", "-v", "data:/y", "busybox", "find", "/y", "-type", "f")
    assert len(seen.splitlines()) == 6


def test_a_link_in_a_volume_leads_cp_nowhere_outside(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    secret = tmp_path / "secret"
    secret.mkdir()
    box.ok("run", "--rm", "-v", "data:/x", "busybox", "ln", "-s", str(secret), "/x/out")
    box.ok("create", "--name", "one", "-v", "data:/x", "busybox", "true")
    box("cp", str(tmp_path / "file"), "one:/x/out/file")
    assert list(secret.iterdir()) == []


def test_a_killed_copy_into_a_volume_is_finished_by_the_next_container(box: Sandbox) -> None:
    box.ok("run", "--rm", "-v", "data:/data", "vol", "true")
    # As a kill in the middle leaves it: half of the files, one of them under its temporary name.
    data = box.root / "volume/local/data/_data"
    (data / "file").rename(data / ".swapbox-partial-0011223344556677")
    (data / "hard").unlink()
    (data / "sub/deep").unlink()
    import sqlite3

    with sqlite3.connect(box.root / "db.sqlite") as database:
        database.execute("UPDATE volumes SET state = 'filling'")
    database.close()
    script = "ls -A /data; cat /data/file /data/sub/deep; stat -c %h /data/hard"
    found = box.ok("run", "--rm", "-v", "data:/data", "vol", "sh", "-c", script)
    assert found.split() == ["file", "hard", "link", "owned", "sub", "content", "deep", "2"]


def test_two_containers_that_start_at_once_fill_a_volume_once(box: Sandbox) -> None:
    script = "find /data | wc -l; cat /data/sub/deep"
    running = [box.start("run", "--rm", "-v", "data:/data", "vol", "sh", "-c", script) for _ in range(4)]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert out.split() == [b"7", b"deep"], err


def test_a_volume_that_cannot_be_mounted_is_named(box: Sandbox) -> None:
    box.ok("volume", "create", "-o", "type=none", "-o", "device=/nonexistent", "-o", "o=bind", "lost")
    box.ok("volume", "create", "-o", "type=nosuchfs", "-o", "device=/nonexistent", "odd")
    for name in ("lost", "odd"):
        box("run", "--rm", "-v", f"{name}:/x", "busybox", "true").fails(125, "mount volume", name)
        box("run", "--rm", "-v", f"{name}:/x:nocopy", "busybox", "true").fails(125, name)


def test_a_container_that_cannot_be_made_leaves_no_volume(box: Sandbox) -> None:
    box.ok("create", "--name", "taken", "busybox", "true")
    box("run", "--name", "taken", "-v", "/anonymous", "vol", "true").fails(125, "Conflict")
    box("run", "-v", "/anonymous", "-v", "x:/x", "busybox", "true").fails(125, "too short")
    assert box.ok("volume", "ls", "-q") == ""


def test_an_unprivileged_container_writes_to_its_volume(box: Sandbox) -> None:
    box.ok("run", "--rm", "--user", "12:34", "-v", "data:/data", "vol", "touch", "/data/mine")
    stat = box.ok("run", "--rm", "-v", "data:/data", "busybox", "stat", "-c", "%u %g", "/data/mine")
    assert stat == "12 34"


def test_a_read_only_volume_is_read_only_with_all_that_is_mounted_below(box: Sandbox, tmp_path: Path) -> None:
    mounts = box.ok("run", "--rm", "-v", "/dev:/hostdev:ro", "busybox", "grep", " /hostdev", "/proc/mounts")
    assert {line.split()[3].split(",")[0] for line in mounts.splitlines()} == {"ro"}
    writable = "type=bind,src=/dev,dst=/hostdev,ro,bind-recursive=writable"
    mounts = box.ok("run", "--rm", "--mount", writable, "busybox", "grep", " /hostdev", "/proc/mounts")
    flags = [line.split()[3].split(",")[0] for line in mounts.splitlines()]
    assert flags[0] == "ro"
    assert "rw" in flags


def test_a_dry_run_makes_no_volume(box: Sandbox) -> None:
    spec = json.loads(box.ok("run", "--dry-run", "-v", "data:/x", "vol", "true"))
    targets = [mount["destination"] for mount in spec["mounts"]]
    assert {"/x", "/data", "/new"} <= set(targets)
    assert box.ok("volume", "ls", "-q") == ""


def test_containers_and_prunes_at_once_never_lose_a_volume(box: Sandbox) -> None:
    script = "cat /data/file && touch /new/x /shared/$HOSTNAME"
    prunes = [box.start("volume", "prune", "-f") for _ in range(4)]
    runs = [box.start("run", "--rm", "-v", "shared:/shared", "vol", "sh", "-c", script) for _ in range(12)]
    prunes += [box.start("volume", "prune", "-f") for _ in range(4)]
    for process in (*runs, *prunes):
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, b"")
        assert process in prunes or out == b"content\n"
    assert box.ok("volume", "ls", "-q") == "shared"
    assert len(box.ok("run", "--rm", "-v", "shared:/x", "busybox", "ls", "/x").split()) == len(runs)


def test_a_read_only_root_leaves_volumes_writable(box: Sandbox) -> None:
    script = "touch /data/new /new/new /x/new && ! touch /etc/new"
    box("run", "--rm", "--read-only", "-v", "data:/x", "vol", "sh", "-c", script).check()


@pytest.mark.parametrize("isolation", ["ns", "runc"])
def test_a_device_node_in_a_volume_is_none_where_there_are_no_rules_for_devices(
    box: Sandbox, isolation: str
) -> None:
    box.ok("volume", "create", "data")
    os.mknod(box.root / "volume/local/data/_data/zero", 0o020666, os.makedev(1, 5))
    read = ("-v", "data:/x", "busybox", "head", "-c", "1", "/x/zero")
    box("run", "--rm", "--isolation", isolation, "--cgroup", "none", *read).fails(1, "Permission denied")
