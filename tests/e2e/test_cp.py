"""``cp`` both ways: Docker's rules, and containers that do their best to have the host's files copied."""

from __future__ import annotations

import gzip
import io
import os
import pty
import shlex
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from swapbox.containers import copy
from swapbox.containers.inside import opened
from swapbox.containers.records import Container
from swapbox.engine import Engine as Api
from swapbox.errors import SwapboxError
from swapbox.testing.process import Engine, wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

MAKE = """
mkdir -p /t/a/b /t/into; echo f > /t/a/b/f; ln -s f /t/a/b/l; ln -s /t/a/b /t/dir; ln -s /t/nowhere /t/dangling
ln -s loop /t/loop; mkfifo /t/a/p; chmod 750 /t/a/b; chown 1000:50 /t/a/b/f; chmod 4755 /t/a/b/f
ln -s ../../../../t/a /t/up; ln /t/a/b/f /t/a/b/hard; chmod 1777 /t; touch -d '2001-02-03 04:05:06' /t/a/b/f
"""

# H is a directory of the host, C the container. Every line starts from the same files.
CASES = """
C:/t/a H/new
C:/t/a H/dst
C:/t/a/. H/dst
C:/t/a/ H/dst
C:t/a/b/f H/dst
C:/t/a/b/f H/dst/
C:/t/a/b/f H/dst/renamed
C:/t/a/b/f H/file
C:/t/a/b/f H/none/
C:/t/a/b/f H/none/x
C:/t/a/b/f H/file/
C:/t/a/b/f H/file/x
C:/t/a H/file
C:/t/a/. H/new
C:/t/a/b/l H/dst
C:/t/a/b/l H/l
-L C:/t/a/b/l H/dst
-L C:/t/a/b/l H/l
C:/t/dir H/dst
C:/t/dir/ H/dst
C:/t/dir/. H/dst
-L C:/t/dir H/dst
-L C:/t/dir H/new
C:/t/up/b H/dst
-L C:/t/up H/dst
C:/t/dangling H/dst
-L C:/t/dangling H/dst
C:/t/loop/x H/dst
C:/t/nope H/dst
C:/t/nope/x H/dst
C:/t/a/p H/dst
C:/t/a H/link
C:/t/a/b/f H/link
C:/t/a/b/f H/dang
C:/t/a H/dang
C:/t/a/b H/clash
C:/t/a/b/f H/clash2
C:/../../t/a/b/f H/dst
C: H/dst
C:/t /dev/null
-a C:/t/a H/dst
-q C:/t/a H/dst
H/src C:/t
H/src C:/t/
H/src C:/t/into
H/src C:/t/new
H/src C:/t/new/
H/src/ C:/t/new
H/src/. C:/t/new
H/src/. C:/t/into
H/src C:/t/a/b/f
H/src C:/nope/x
H/src/one C:/t
H/src/one C:/t/
H/src/one C:/t/new
H/src/one C:/t/new/
H/src/one C:/t/a/b/f
H/src/one C:/t/a/b/f/
H/src/one C:/t/a/b/f/x
H/src/one C:/t/a/b/l
H/src/one C:/t/dir
H/src/one C:/t/dir/
H/src/one C:/t/dir/x
H/src/one C:/t/up/b/x
H/src/one C:/t/dangling
H/src/one C:/t/a/p
H/src/one C:/nope/x
H/src/one C:
H/src/one C:../../t/into/../one
H/src/one/ C:/t
H/src/lnk C:/t
-L H/src/lnk C:/t
H/link C:/t
H/link/ C:/t
H/link/. C:/t
-L H/link C:/t
-L H/link C:/t/new
H/dang C:/t
-L H/dang C:/t
H/none C:/t
H/overd/. C:/t
H/overf/. C:/t
-a H/src/one C:/t
H/src C:/etc/hosts
H/src/one C:/etc/hosts
C:/t/a C:/t/b
H/src H/new
- C:/t/nope
- C:/t/a/b/f
""".strip().splitlines()  # fmt: skip


def prepare(directory: Path) -> None:
    (directory / "src/d").mkdir(parents=True)
    (directory / "src/one").write_text("one")
    os.chown(directory / "src/one", 1234, 4321)
    (directory / "src/one").chmod(0o640)
    os.utime(directory / "src/one", (981173106, 981173106))
    (directory / "src/d/two").write_text("two")
    (directory / "src/lnk").symlink_to("one")
    os.link(directory / "src/d/two", directory / "src/d/hard")
    for name in ("dst", "clash/b/f", "clash2/f", "overd/dir/x", "overf"):
        (directory / name).mkdir(parents=True)
    (directory / "overf/a").write_text("no directory")
    (directory / "overd/dangling").mkdir()
    (directory / "file").write_text("file")
    (directory / "link").symlink_to("src")
    (directory / "dang").symlink_to("new-target")


def tree(directory: Path) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for path in sorted(directory.rglob("*")):
        info = path.lstat()
        body = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
        time = info.st_mtime if info.st_mtime < 1_750_000_000 else "now"
        found.append((str(path.relative_to(directory)), oct(info.st_mode), info.st_uid, info.st_gid, body, time))
    return found


def members(data: bytes) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            time = member.mtime if member.mtime < 1_750_000_000 else "now"
            owner = (oct(member.mode & 0o7777), member.uid, member.gid)
            found.append(
                (member.name, member.type, *owner, member.linkname, time, content.read() if content else b"")
            )
    return found


@pytest.fixture(scope="module")
def staged(_stocked: Sandbox, docker: Engine) -> None:
    """An image of the same files for both."""
    for engine in (_stocked, docker):
        engine.ok("run", "--name", "staging", "--network", "none", "busybox", "sh", "-c", MAKE)
        engine.ok("commit", "staging", "staged")
        engine.ok("rm", "staging")


def outcome(engine: Engine, directory: Path, name: str, line: str) -> tuple[object, ...]:
    """Run a line on fresh files, and return what it said and what is on both sides afterwards."""
    prepare(directory)
    # Docker has mount points in a container from the first, swapbox makes them when it starts.
    verb = "run" if "/etc/" in line else "create"
    engine.ok(verb, "--name", name, "--network", "none", "staged", "true")
    words = [
        f"{name}:{word[2:]}" if word.startswith("C:") else word.replace("H", str(directory), word[:1] == "H")
        for word in shlex.split(line)
    ]
    done = engine("cp", *words)
    inside = members(engine("cp", f"{name}:/t", "-").check().stdout)
    engine.ok("rm", name)
    return done.code, done.out, plain(done.err, directory), inside, tree(directory)


def plain(text: str, directory: Path) -> str:
    """Return an error without whose it is, and without where each engine keeps a container's files."""
    text = text.replace(str(directory), "H").removeprefix("Error: ").removeprefix("Error response from daemon: ")
    lines = [line for line in text.splitlines() if not line.startswith(("time=", "hint: "))]
    text = "\n".join(lines).removeprefix("Error processing tar file(exit status 1): ")
    head, merged, tail = text.partition("/merged/")
    return f"{head.rpartition(' ')[0]} /{tail}" if merged else text


@pytest.mark.debian
@pytest.mark.usefixtures("staged")
@pytest.mark.parametrize("line", CASES)
def test_cp_does_what_dockers_does(swapbox: Sandbox, docker: Engine, tmp_path: Path, line: str) -> None:
    theirs = outcome(docker, tmp_path / "theirs", "copied", line)
    ours = outcome(swapbox, tmp_path / "ours", "copied", line)
    assert ours == theirs


def archive_of(*entries: tuple[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, data in entries:
            member = tarfile.TarInfo(name)
            member.size, member.uid, member.gid = len(data), 12, 34
            archive.addfile(member, io.BytesIO(data))
    return written.getvalue()


@pytest.fixture
def live(swapbox: Sandbox, tmp_path: Path) -> Iterator[str]:
    """A running container with a bind mount, a read-only one, and a tmpfs."""
    for name in ("data", "fixed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "of-the-host").write_text(name)
    mounts = ("-v", f"{tmp_path}/data:/data", "-v", f"{tmp_path}/fixed:/fixed:ro", "--tmpfs", "/scratch")
    script = MAKE + "echo live > /scratch/file; touch /ready; exec sleep 1000"
    swapbox.ok("run", "-d", "--name", "live", "--network", "none", *mounts, "busybox", "sh", "-c", script)
    wait_until(lambda: swapbox("cp", "live:/ready", "-").code == 0, "the container is ready")
    yield "live"
    swapbox.ok("rm", "-f", "live")


def names(data: bytes) -> list[str]:
    return [member[0] for member in members(data)]


def test_a_running_container_is_seen_with_its_mounts(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    assert names(swapbox("cp", f"{live}:/data", "-").check().stdout) == ["data", "data/of-the-host"]
    assert names(swapbox("cp", f"{live}:/scratch/.", "-").check().stdout) == [".", "./file"]
    hosts = members(swapbox("cp", f"{live}:/etc/hosts", "-").check().stdout)
    assert b"localhost" in hosts[0][-1]
    everything = names(swapbox("cp", f"{live}:/", "-").check().stdout)
    assert "/data/of-the-host" in everything
    assert not [name for name in everything if name.startswith(("/proc/", "/sys/"))]
    (tmp_path / "new").write_text("new")
    for place in ("/scratch", "/data", "/t/into"):
        swapbox.ok("cp", tmp_path / "new", f"{live}:{place}")
        assert f"{place[1:].rpartition('/')[2]}/new" in names(swapbox("cp", f"{live}:{place}", "-").check().stdout)
    assert (tmp_path / "data/new").read_text() == "new"


def test_a_stopped_container_is_seen_with_its_volumes(swapbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("volume")
    swapbox.ok("run", "--name", "off", "--network", "none", "-v", f"{tmp_path}:/data/vol", "busybox", "true")
    assert names(swapbox("cp", "off:/data/vol/file", "-").check().stdout) == ["file"]
    swapbox.ok("cp", tmp_path / "file", "off:/data/vol/copy")
    assert (tmp_path / "copy").read_text() == "volume"
    assert swapbox.ok("diff", "off").splitlines() == ["A /data", "A /data/vol"]


def test_what_is_read_only_is_not_written_to(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    swapbox("cp", tmp_path / "new", f"{live}:/fixed").fails(1, "mounted volume is marked read-only")
    options = ("--read-only", "-v", f"{tmp_path}/data:/data", "--tmpfs", "/scratch", "--network", "none")
    swapbox.ok("run", "-d", "--name", "ro", *options, "busybox", "sleep", "1000")
    swapbox("cp", tmp_path / "new", "ro:/").fails(1, "container rootfs is marked read-only")
    swapbox("cp", tmp_path / "new", "ro:/tmp/x").fails(1, "container rootfs is marked read-only")
    swapbox.ok("cp", tmp_path / "new", "ro:/data")
    swapbox.ok("cp", tmp_path / "new", "ro:/scratch")
    swapbox.ok("rm", "-f", "ro")


def test_a_mount_is_not_taken_from_a_container_that_runs(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("1.2.3.4 evil")
    swapbox("cp", tmp_path / "hosts", f"{live}:/etc/").fails(1, "unlinkat /etc/hosts: device or resource busy")
    assert b"localhost" in swapbox("cp", f"{live}:/etc/hosts", "-").check().stdout


def test_an_archive_comes_from_stdin(swapbox: Sandbox, live: str) -> None:
    for plain_or_packed in (lambda data: data, gzip.compress):
        data = archive_of(("dir/file", b"content"), ("/abs", b"1"), (".wh.file", b"no whiteout here"))
        swapbox("cp", "-", f"{live}:/t/into", stdin=plain_or_packed(data)).check()
        found = members(swapbox("cp", f"{live}:/t/into/.", "-").check().stdout)
        assert [(one[0], one[3], one[4]) for one in found if one[1] == tarfile.REGTYPE] == [
            ("./.wh.file", 12, 34),
            ("./abs", 12, 34),
            ("./dir/file", 12, 34),
        ]
    swapbox("cp", "-", f"{live}:/t/into", stdin=archive_of(("../../out", b"x"))).fails(1, "../../out")
    swapbox("cp", "-", f"{live}:/t/into", stdin=data[:700]).fails(1)


def test_links_in_the_container_lead_to_its_own_files(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    """An archive may write through a link that is there already: it stays in the container."""
    target = tmp_path / "outside"
    target.mkdir()
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, str(target)
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("link/file"))
    swapbox("cp", "-", f"{live}:/t/into", stdin=written.getvalue())
    assert list(target.iterdir()) == []
    swapbox("cp", f"{live}:/t/into/link/../../../../../../etc/shadow", "-").fails(1, "could not find")


def test_with_archive_files_belong_to_the_containers_user(swapbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    swapbox.ok("run", "--name", "user", "--network", "none", "--user", "app", "busybox", "true")
    for options, owner in (((), (0, 0)), (("-a",), (1000, 1000))):
        swapbox.ok("cp", *options, tmp_path / "file", "user:/tmp")
        [found] = members(swapbox("cp", "user:/tmp/file", "-").check().stdout)
        assert found[3:5] == owner


def test_a_link_that_leads_out_of_the_copy_is_copied_as_it_is(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    """Docker refuses such a link; nothing is ever written through it."""
    swapbox.ok("cp", f"{live}:/t/up", tmp_path / "up")
    assert os.readlink(tmp_path / "up") == "../../../../t/a"


def test_the_summary_is_for_terminals(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    def on_terminal(*arguments: str) -> str:
        master, slave = pty.openpty()
        argv = swapbox.argv("cp", *arguments)
        done = subprocess.run(argv, stdout=slave, stderr=subprocess.PIPE, env=swapbox.environment, check=True)
        os.close(slave)
        os.close(master)
        return done.stderr.decode()

    assert on_terminal(f"{live}:/t/a/b/f", str(tmp_path)) == f"Successfully copied 2.05kB to {tmp_path}\n"
    assert on_terminal(str(tmp_path / "f"), f"{live}:/t/into") == f"Successfully copied 2.05kB to {live}:/t/into\n"
    assert on_terminal("-q", str(tmp_path / "f"), f"{live}:/t/into") == ""
    assert swapbox("cp", "-q=false", f"{live}:/t/a/b/f", tmp_path).check().err.startswith("Successfully copied")
    assert swapbox("cp", f"{live}:/t/a/b/f", tmp_path).check().err == ""


def test_a_large_file_with_holes_stays_one(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    with (tmp_path / "holes").open("wb") as file:
        file.seek(200 << 20)
        file.write(b"end")
    swapbox.ok("cp", tmp_path / "holes", f"{live}:/data/copy")
    copied = (tmp_path / "data/copy").stat()
    assert copied.st_size == (200 << 20) + 3
    assert copied.st_blocks * 512 < 1 << 20


@contextmanager
def swapping(directory: Path, decoy: str, link_to: Path) -> Iterator[None]:
    """Exchange a directory of a container for a link to the host, and back, as fast as the kernel does it."""
    (directory / "link").symlink_to(link_to)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(directory)
            while True:
                os.rename(decoy, "aside")
                os.rename("link", decoy)
                os.rename(decoy, "link")
                os.rename("aside", decoy)
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_container_that_swaps_paths_for_links_gets_nothing_of_the_host(
    swapbox: Sandbox, live: str, tmp_path: Path
) -> None:
    """CVE-2018-15664: the path is checked, the container puts a link there, and root follows it on the host."""
    secret, source = tmp_path / "secret", tmp_path / "source"
    secret.mkdir()
    (secret / "f").write_text("the host's")
    (source / "b").mkdir(parents=True)
    (source / "b/f").write_text("copied")
    root = Path(f"/proc/{swapbox.state(live)['Pid']}/root")
    with Api(root=swapbox.root, run_root=swapbox.run_root) as engine, swapping(root / "t/a", "b", secret):
        container = engine.containers.find(live)
        seen = [_attempt(lambda: _read(engine, container)) for _ in range(75)]
        wrote = [_attempt(lambda: _write(engine, container, source)) for _ in range(75)]
    assert not [data for data in seen if b"the host's" in data]
    assert any(b"f\n" in data for data in seen), "it was never read at all"
    assert any(wrote), "it was never written at all"
    assert os.listdir(secret) == ["f"]
    assert (secret / "f").read_text() == "the host's"


def _attempt(action: Callable[[], bytes]) -> bytes:
    try:
        return action()
    except SwapboxError:
        return b""


def _read(engine: Api, container: Container) -> bytes:
    found: list[bytes] = []
    for path in ("/t/a/b/f", "/t/a"):
        source = copy.container_source(engine, container, path, follow_link=False, name="live")
        with source as opened_source:
            copy.write_archive(opened_source, found.append)
    return b"".join(found)


def _write(engine: Api, container: Container, source: Path) -> bytes:
    with opened(engine, container, with_mounts=True) as (root, _):
        target = copy.container_target(engine, container, root, "/t/a", owner=None, name="live")
        with copy.host_source(f"{source}/.", follow_link=False) as found, target as extractor:
            copy.copy(found, extractor)
    return b"written"


WATCHED = """
import os, sys
from pathlib import Path
from swapbox.containers.inside import opened
from swapbox.engine import Engine
from swapbox.linux import syscalls

root, run_root, report = sys.argv[1:]
enter, entered = syscalls.setns, []

def setns(fd, flags=0):
    enter(fd, flags)
    entered.append(fd)

def watch(event, arguments):
    if entered and event in ("import", "open", "ctypes.dlopen", "os.exec", "os.posix_spawn", "subprocess.Popen"):
        strange = [str(argument) for argument in arguments[:1]]
        if strange[0] not in own:
            os.write(log, f"{event} {strange}\\n".encode())

log = os.open(report, os.O_WRONLY | os.O_CREAT, 0o600)
syscalls.setns = setns
with Engine(root=Path(root), run_root=Path(run_root)) as engine:
    container = engine.containers.find("live")
    own = (str(engine.paths.run_root), ".", "/data", "/fixed", "/scratch")
    sys.addaudithook(watch)
    with opened(engine, container, with_mounts=True):
        os.write(log, b"opened\\n")
"""


def test_nothing_of_a_container_is_loaded_or_executed(swapbox: Sandbox, live: str, tmp_path: Path) -> None:
    """CVE-2019-14271: a helper entered the container and loaded its libraries, as the host's root."""
    report = tmp_path / "report"
    argv = [sys.executable, "-c", WATCHED, str(swapbox.root), str(swapbox.run_root), str(report)]
    subprocess.run(argv, check=True, env=swapbox.environment)
    assert report.read_text() == "opened\n"
