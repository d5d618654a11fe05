"""``diff`` and ``export``, beside a real Docker's."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from swapbox.testing.process import Engine, mounts_naming, wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

DRIVERS = ("overlay", "vfs")

CHANGES = """
mkdir -p /new/deep/er; echo 1 > /new/deep/er/file; ln -s file /new/deep/er/link; mkfifo /new/pipe
echo more >> /etc/passwd; rm /etc/group; chmod 700 /home/app; ln /etc/passwd /etc/linked
rm -r /var/tmp; mkdir /var/tmp; touch /var/tmp/fresh; rm /bin/awk; mkdir /bin/awk; rmdir /root; echo file > /root
touch -d '2001-02-03 04:05:06' /old; chown 1000:50 /old; chmod 4711 /old; echo x > '/strange
name'; dd if=/dev/zero of=/zeros bs=1024 count=300 2>/dev/null; touch /dev/not-kept /scratch/not-kept
"""


def make(engine: Engine, name: str, volume: Path, *options: str, script: str = CHANGES) -> None:
    arguments = (
        "--name",
        name,
        "--network",
        "none",
        "-v",
        f"{volume}:/data/volume",
        "--tmpfs",
        "/scratch",
        *options,
    )
    engine.ok("run", *arguments, "busybox", "sh", "-c", script)


def members(data: bytes) -> dict[str, tuple[object, ...]]:
    """Return what an archive holds by name, without the times of what each engine makes itself."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            time = member.mtime if member.mtime < 1_750_000_000 else "now"
            body = content.read() if content else b""
            facts = (
                member.type,
                oct(member.mode & 0o7777),
                member.uid,
                member.gid,
                member.size,
                member.linkname,
                time,
                body,
            )
            assert member.name not in found
            found[member.name] = facts
    return found


@pytest.mark.debian
@pytest.mark.parametrize("driver", DRIVERS)
def test_diff_tells_what_docker_tells(swapbox: Sandbox, docker: Engine, tmp_path: Path, driver: str) -> None:
    make(docker, f"diff-{driver}", tmp_path)
    make(swapbox, "changed", tmp_path, "--storage-driver", driver)
    theirs = docker.ok("diff", f"diff-{driver}").splitlines()
    ours = swapbox.ok("diff", "changed").splitlines()
    assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_container_that_changed_nothing_has_no_diff(swapbox: Sandbox, driver: str) -> None:
    options = ("--name", "same", "--network", "none", "--storage-driver", driver)
    swapbox.ok("run", *options, "busybox", "true")
    assert swapbox.ok("diff", "same") == ""


def test_a_directory_that_swapbox_wrote_to_is_told_of_when_its_mode_changed(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "mode", "--network", "none", "busybox", "chmod", "700", "/etc")
    assert swapbox.ok("diff", "mode") == "C /etc"


@pytest.mark.debian
@pytest.mark.parametrize("driver", DRIVERS)
def test_an_export_has_what_dockers_has(swapbox: Sandbox, docker: Engine, tmp_path: Path, driver: str) -> None:
    make(docker, f"export-{driver}", tmp_path)
    make(swapbox, "exported", tmp_path, "--storage-driver", driver)
    theirs = members(docker("export", f"export-{driver}").check().stdout)
    ours = members(swapbox("export", "exported").check().stdout)
    assert list(ours) == list(theirs)
    assert ours == theirs


def test_a_running_container_is_seen_without_its_mounts(swapbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "of-the-host").touch()
    swapbox.ok(
        *("run", "-d", "--name", "live", "--network", "none", "-v", f"{tmp_path}:/data", "busybox"),
        *("sh", "-c", "touch /made; exec sleep 1000"),
    )
    wait_until(lambda: "A /made" in swapbox.ok("diff", "live"), "the container has made a file")
    assert swapbox.ok("diff", "live").splitlines() == ["A /data", "A /made"]
    names = members(swapbox("export", "live").check().stdout)
    assert {"made", "proc", "data"} <= names.keys()
    assert not [name for name in names if name.startswith(("proc/", "data/", "sys/"))]
    assert names["etc/hosts"][4] == 0
    swapbox.ok("rm", "-f", "live")


def test_a_container_whose_monitor_was_killed_can_be_exported(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "orphan", "--network", "none", "busybox", "sleep", "1000")
    os.kill(swapbox.wait_lean("orphan"), 9)
    assert "bin/busybox" in members(swapbox("export", "orphan").check().stdout)
    assert swapbox.ok("diff", "orphan") == ""


def test_an_export_to_a_file_is_whole_or_not_there(swapbox: Sandbox, tmp_path: Path) -> None:
    swapbox.ok("run", "--name", "out", "--network", "none", "busybox", "true")
    target = tmp_path / "out.tar"
    swapbox.ok("export", "-o", target, "out")
    assert "bin/busybox" in members(target.read_bytes())
    assert os.listdir(tmp_path) == ["out.tar"]
    assert target.stat().st_mode & 0o077 == 0, "the container's secrets are in it"
    (tmp_path / "other").mkdir()
    limited = swapbox.argv("export", "-o", tmp_path / "other/out.tar", "out")
    done = subprocess.run(["prlimit", "--fsize=4096", *limited], capture_output=True, env=swapbox.environment)
    assert done.returncode == 1
    assert os.listdir(tmp_path / "other") == []


@pytest.mark.parametrize("verb", [("diff",), ("commit",), ("export",), ("top",)])
def test_a_caller_that_ignores_sigchld_makes_no_difference(swapbox: Sandbox, verb: tuple[str, ...]) -> None:
    swapbox.ok("run", "-d", "--name", "heard", "--network", "none", "busybox", "sleep", "1000")
    ignore = "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    argv = [sys.executable, "-c", f"import os, signal, sys; {ignore}", *swapbox.argv(*verb, "heard")]
    done = subprocess.run(argv, capture_output=True, env=swapbox.environment)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.debian
@pytest.mark.parametrize("place", ["/nodir/x", "/dev/null", "/tmp"])
def test_an_export_to_no_file_is_refused_in_dockers_words(swapbox: Sandbox, docker: Engine, place: str) -> None:
    assert docker("export", "-o", place, "any").err in swapbox("export", "-o", place, "any").fails(1).err


def test_an_export_to_a_terminal_is_refused(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "screen", "--network", "none", "busybox", "true")
    master, slave = pty.openpty()
    argv = swapbox.argv("export", "screen")
    done = subprocess.run(argv, stdout=slave, stderr=subprocess.PIPE, env=swapbox.environment)
    os.close(slave)
    os.close(master)
    assert done.returncode == 1
    assert b"cowardly refusing to save to a terminal. Use the -o flag or redirect" in done.stderr


def test_a_hostile_tree_is_read_whole(swapbox: Sandbox) -> None:
    """Deeper than Python's stack, longer than PATH_MAX, with links out of it and a pipe that nobody writes to."""
    # No shell changes to a directory whose path is longer than PATH_MAX, but mv(1) may make one.
    script = (
        "ln -s /proc/self/root/etc /out; ln -s ../../../../../etc /up; mkfifo /pipe; "
        "for d in c d; do mkdir /$d; cd /$d; i=0; while [ $i -lt 700 ]; do mkdir aaaa; cd aaaa; i=$((i+1)); done; "
        "done; mv /c ."
    )
    for driver in DRIVERS:
        options = ("--name", f"hostile-{driver}", "--network", "none", "--storage-driver", driver)
        swapbox.ok("run", *options, "busybox", "sh", "-c", script)
        lines = swapbox.ok("diff", f"hostile-{driver}").splitlines()
        assert len(lines) == 1405
        names = members(swapbox("export", f"hostile-{driver}").check().stdout)
        assert "d" + "/aaaa" * 700 + "/c" + "/aaaa" * 700 in names
        swapbox.ok("rm", f"hostile-{driver}")


def test_nothing_appears_on_the_host_meanwhile(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "quiet", "--network", "none", "busybox", "true")
    process = swapbox.start("export", "quiet")
    assert process.stdout is not None
    process.stdout.read(4096)  # in the midst of it: the pipe is full
    mounts = mounts_naming(swapbox.directory.name)
    process.kill()
    process.communicate()
    assert mounts == []
    assert swapbox.ok("export", "quiet") != ""
