"""``commit``: the image is the container's tree and configuration, here and for everybody else."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from swapbox.testing import images, publish
from swapbox.testing.process import Engine, wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

DRIVERS = ("overlay", "vfs")

CHANGES = """
mkdir -p /new/deep/er; echo 1 > /new/deep/er/file; ln -s file /new/deep/er/link; mkfifo /new/pipe
ln /new/deep/er/file /new/hard; mknod /new/node c 1 3; rm /etc/group; chmod 700 /home/app; chmod 1711 /
rm -r /var; mkdir -p /var/fresh; rm /bin/awk; mkdir /bin/awk; rmdir /root; echo file > /root; mv /home /moved
touch -d '2001-02-03 04:05:06' /old; chown 1000:50 /old; chmod 4711 /old; echo x > '/strange
name'; dd if=/dev/zero of=/holes bs=1M count=1 seek=30 2>/dev/null; rm -r /layers /kept/1; rm -r /opaque
mkdir /opaque; echo new > /opaque/new
"""

# What tells two trees apart: every file with its kind, owner, mode, links, time and content.
LIST = """
find / -xdev ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path /.dockerenv ! -path '/etc/host*' \
    ! -path /etc/resolv.conf ! -path /etc/mtab | sort | while read -r f; do
    if [ -d "$f" -a ! -L "$f" ]; then stat -c '%n %F %a %u:%g' "$f"; continue; fi
    stat -c '%n %N %F %a %u:%g %s %h %t:%T %Y' "$f"
    [ -f "$f" -a ! -L "$f" ] && md5sum "$f"
done
exit 0
"""


@pytest.fixture
def box(swapbox: Sandbox, registry: str) -> Sandbox:
    """Swapbox with an image of several layers, ``layered``."""
    reference = publish.push(registry, "to-commit", "latest", images.layered_image(3))
    swapbox.ok("pull", "-q", reference)
    swapbox.ok("tag", reference, "layered")
    return swapbox


def configuration(engine: Engine, image: str) -> dict[str, Any]:
    document = json.loads(engine.ok("inspect", "--type", "image", image))[0]
    config = document["Config"]
    # Only images of Docker's own format have these.
    left_out = ("Hostname", "Domainname", "Image", "AttachStdout", "AttachStderr")
    return {key: value for key, value in config.items() if value and key not in left_out}


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_image_is_the_containers_tree(box: Sandbox, driver: str) -> None:
    options = ("--network", "none", "--storage-driver", driver)
    before = box.ok("run", "--name", "tree", *options, "layered", "sh", "-c", CHANGES + LIST, timeout=120)
    image = box.ok("commit", "tree", f"tree:{driver}")
    assert image.startswith("sha256:")
    assert len(image) == 71
    for other in DRIVERS:
        run = ("run", "--rm", "--network", "none", "--storage-driver", other, f"tree:{driver}", "sh", "-c", LIST)
        assert box.ok(*run, timeout=120) == before
    assert box.ok("diff", "tree") != ""
    box.ok("rmi", f"tree:{driver}")


def test_a_file_with_holes_has_them_in_the_image(box: Sandbox) -> None:
    make = "dd if=/dev/zero of=/holes bs=1M count=1 seek=1500; echo end >> /holes"
    box.ok("run", "--name", "holes", "--network", "none", "busybox", "sh", "-c", make)
    box.ok("commit", "holes", "holes")
    size, used = box.ok("run", "--rm", "--network", "none", "holes", "stat", "-c", "%s %b", "/holes").split()
    assert int(size) == 1501 * 2**20 + 4
    assert int(used) * 512 < 2**24
    box.ok("rmi", "holes")


def test_attributes_and_capabilities_are_kept(box: Sandbox) -> None:
    box.ok("run", "-d", "--name", "caps", "--network", "none", "busybox", "sleep", "1000")
    path = f"/proc/{box.state('caps')['Pid']}/root/bin/ping-of-ours"
    Path(path).touch()
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(path, "security.capability", capability)
    os.setxattr(path, "trusted.any", b"\0\xff")
    for driver in DRIVERS:
        box.ok("commit", "caps", "caps")
        box.ok(
            *("run", "-d", "--name", "again", "--network", "none", "--storage-driver", driver),
            *("caps", "sleep", "1000"),
        )
        path = f"/proc/{box.state('again')['Pid']}/root/bin/ping-of-ours"
        assert os.getxattr(path, "security.capability") == capability
        assert os.getxattr(path, "trusted.any") == b"\0\xff"
        box.ok("rm", "-f", "again")
    box.ok("rm", "-f", "caps")
    box.ok("rmi", "caps")


CONFIGURATIONS = [
    "run --user app -w /tmp -e A=1 -e B=2 -l one=1 --expose 80 busybox true",
    "run --entrypoint echo --stop-signal HUP --health-cmd 'exit 0' --health-retries 2 busybox hello",
]

INSTRUCTIONS = [
    "FROM x",
    "RUN x",
    "CMD",
    "CMD echo hi",
    'CMD ["a","b"]',
    "CMD [a",
    'CMD ["a", 1]',
    "cmd lower",
    "ENTRYPOINT x y",
    'ENTRYPOINT ["x"]',
    "ENTRYPOINT []",
    "ENV A=1 B='2 3'",
    "ENV C d  e",
    'ENV Q="a b" R=a\\ b',
    "ENV A=${A:-none} B=${A:+some} C=$A$NONE D='$A' E=\\$A",
    "ENV",
    "ENV X",
    "ENV A=1 b",
    "EXPOSE 80 90/udp 100-102",
    "EXPOSE x",
    "EXPOSE",
    "LABEL a=b c",
    "LABEL a b",
    'LABEL "x y"="z w"',
    "LABEL a=1\nLABEL b=2",
    "LABEL a=1 \\\n  b=2",
    "# only a comment",
    "ONBUILD RUN x",
    "ONBUILD FROM x",
    "ONBUILD ONBUILD RUN x",
    "USER",
    "USER a b",
    "USER app",
    "USER $A",
    "VOLUME /a /b",
    'VOLUME ["/c", "/d"]',
    "VOLUME",
    "WORKDIR rel",
    "WORKDIR /x/../y",
    "WORKDIR $A/x",
    "WORKDIR",
    "foo",
    "",
    "STOPSIGNAL 9",
    'SHELL ["x"]',
    "HEALTHCHECK NONE",
    "HEALTHCHECK --interval=1m --retries=2 CMD true",
]


@pytest.mark.debian
def test_the_configuration_is_as_docker_commits_it(swapbox: Sandbox, docker: Engine) -> None:
    for line in CONFIGURATIONS:
        verb, *rest = shlex.split(line)
        found = []
        for engine in (swapbox, docker):
            engine(verb, "--name", "config", "--network", "none", *rest)
            engine.ok("commit", "-a", "me", "-m", "words", "config", "config:new")
            document = json.loads(engine.ok("inspect", "config:new"))[0]
            found.append((configuration(engine, "config:new"), document["Author"], document["Comment"]))
            engine.ok("rm", "-v", "config")
            engine.ok("rmi", "config:new")
        assert found[0] == found[1], line


@pytest.mark.debian
def test_changes_do_what_they_do_in_docker(swapbox: Sandbox, docker: Engine) -> None:
    for engine in (swapbox, docker):
        engine.ok("run", "--name", "change", "--network", "none", "-e", "A=/value", "busybox", "true")
    for instruction in INSTRUCTIONS:
        found = []
        for engine in (swapbox, docker):
            done = engine("commit", "-c", instruction, "change", "change:new")
            error = done.err.replace("Error response from daemon: ", "").replace("Error: ", "")
            found.append((done.code, error, {} if done.code else configuration(engine, "change:new")))
        assert found[0] == found[1], instruction
    for engine in (swapbox, docker):
        engine.ok("rm", "change")
        engine.ok("rmi", "change:new")


@pytest.mark.debian
def test_mistakes_are_told_as_docker_tells_them(swapbox: Sandbox, docker: Engine) -> None:
    for engine in (swapbox, docker):
        engine.ok("run", "--name", "wrong", "--network", "none", "busybox", "true")
    digest = f"sha256:{'0' * 64}"
    for arguments in (("nosuch",), ("wrong", f"name@{digest}"), (), ("wrong", "a", "b")):
        ours, theirs = swapbox("commit", *arguments), docker("commit", *arguments)
        assert (ours.code, ours.out) == (theirs.code, theirs.out)
        first = (
            theirs.err.splitlines()[0].replace("docker", "swapbox").replace("Error response from daemon", "Error")
        )
        assert ours.err.splitlines()[0] == first
    docker.ok("rm", "wrong")


def test_others_can_read_the_image(box: Sandbox, docker: Engine, tmp_path: Path, registry: str) -> None:
    """Manifest, config and layers go to a registry as they are, and Docker runs what it pulls from there."""
    changes = CHANGES.replace("chmod 1711 /", "")  # no layer changes the root directory for Docker
    box.ok("run", "--name", "other", "--network", "none", "layered", "sh", "-c", changes)
    box.ok("commit", "-c", "ENV MADE=here", "other", "other:1")
    document = box.inspect("other:1")
    digest = box.ok("inspect", "-f", "{{.Id}}", "other:1")
    reference = _push(box, registry, digest)
    docker.ok("pull", "-q", reference)
    theirs = docker.ok(
        "run", "--rm", "--network", "none", reference, "sh", "-c", f"echo $MADE; {LIST}", timeout=120
    )
    ours = box.ok("run", "--rm", "--network", "none", "other:1", "sh", "-c", f"echo $MADE; {LIST}", timeout=120)
    assert theirs == ours
    assert document["RootFS"]["Layers"] == json.loads(docker.ok("inspect", reference))[0]["RootFS"]["Layers"]
    docker.ok("rmi", reference)
    box.ok("rmi", "other:1")


def _push(box: Sandbox, registry: str, image_id: str) -> str:
    """Push by the blobs in the content store."""
    import sqlite3

    from swapbox.descriptors import Descriptor
    from swapbox.testing.images import Blob, Image, Layer

    def blob(value: dict[str, Any]) -> Blob:
        descriptor = Descriptor.from_json(value)
        return Blob(descriptor, box.root / "content/blobs" / descriptor.digest.replace(":", "/"))

    with sqlite3.connect(f"file:{box.root}/db.sqlite?mode=ro", uri=True) as database:
        [digest] = database.execute("SELECT manifest FROM images WHERE id = ?", (image_id,)).fetchone()
    database.close()
    data = (box.root / "content/blobs" / digest.replace(":", "/")).read_bytes()
    manifest = json.loads(data)
    layers = tuple(Layer(blob(layer), "") for layer in manifest["layers"])
    image = Image(Blob.of(manifest["mediaType"], data), blob(manifest["config"]), layers)
    return publish.push(registry, "committed", "latest", image)


def test_a_container_without_changes_makes_no_layer(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "nothing", "--network", "none", "busybox", "true")
    swapbox.ok("commit", "nothing", "nothing:new")
    layers = swapbox.inspect("busybox")["RootFS"]["Layers"]
    assert swapbox.inspect("nothing:new")["RootFS"]["Layers"] == layers
    assert swapbox.ok("run", "--rm", "--network", "none", "nothing:new", "echo", "runs") == "runs"
    swapbox.ok("rmi", "nothing:new")


def test_an_image_without_a_name(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "bare", "--network", "none", "busybox", "touch", "/file")
    image = swapbox.ok("commit", "bare")
    assert "<none>" in swapbox.ok("images", "--no-trunc").replace(image, "<none>")
    assert swapbox.ok("run", "--rm", "--network", "none", image, "ls", "/file") == "/file"
    swapbox.ok("rmi", image)


COUNT = "i=0; while :; do i=$((i+1)); echo $i > /count; done"


def test_a_running_container_stands_still_meanwhile(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "busy", "--network", "none", "busybox", "sh", "-c", COUNT)
    swapbox.ok("commit", "busy", "busy")
    assert swapbox.state("busy")["Status"] == "running"
    first = swapbox.ok("exec", "busy", "cat", "/count")
    wait_until(lambda: swapbox.ok("exec", "busy", "cat", "/count") != first, "it goes on")
    swapbox.ok("pause", "busy")
    swapbox.ok("commit", "busy", "busy")
    assert swapbox.state("busy")["Status"] == "paused"
    swapbox.ok("unpause", "busy")
    swapbox.ok("commit", "--no-pause", "busy", "busy")
    swapbox.ok("commit", "--pause=false", "busy", "busy")
    swapbox.ok("rm", "-f", "busy")
    swapbox.ok("rmi", "busy")


def test_a_killed_commit_leaves_a_running_container_and_nothing_else(
    empty_swapbox: Sandbox, busybox_ref: str
) -> None:
    box = empty_swapbox
    box.ok("pull", "-q", busybox_ref)
    fill = "dd if=/dev/urandom of=/big bs=1M count=30; touch /ready; exec sleep 1000"
    box.ok("run", "-d", "--name", "killed", "--network", "none", busybox_ref, "sh", "-c", fill)
    wait_until(lambda: "A /ready" in box.ok("diff", "killed"), "it is filled")
    process = box.start("commit", "killed", "killed:new")
    wait_until(lambda: box.state("killed")["Status"] == "paused", "it is paused")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: box.state("killed")["Status"] == "running", "it goes on")
    assert "killed" not in box.ok("images")
    box.ok("commit", "killed", "killed:new")
    assert box.ok("run", "--rm", "--network", "none", "killed:new", "stat", "-c", "%s", "/big") == str(30 << 20)
    box.ok("rm", "-f", "killed")


def test_what_would_mark_a_deletion_is_left_out_with_all_below_it(swapbox: Sandbox) -> None:
    script = "mkdir -p /kept/.wh.dir/below /kept/.wh..wh..opq; touch /kept/.wh.dir/below/file /kept/file"
    swapbox.ok("run", "--name", "marks", "--network", "none", "busybox", "sh", "-c", script)
    assert "/kept/.wh.dir is left out" in swapbox("commit", "marks", "marks:new").check().err
    assert swapbox.ok("run", "--rm", "--network", "none", "marks:new", "find", "/kept").split() == [
        "/kept",
        "/kept/file",
    ]


def test_the_image_of_the_container_is_needed(empty_swapbox: Sandbox, busybox_ref: str) -> None:
    empty_swapbox.ok("pull", "-q", busybox_ref)
    empty_swapbox.ok("run", "--name", "orphan", "--network", "none", busybox_ref, "true")
    empty_swapbox.ok("rmi", "-f", busybox_ref)
    empty_swapbox("commit", "orphan").fails(1, "no such image")


def test_a_full_disk_leaves_nothing(swapbox: Sandbox) -> None:
    fill = "dd if=/dev/urandom of=/big bs=1M count=5"
    swapbox.ok("run", "--name", "full", "--network", "none", "busybox", "sh", "-c", fill)
    argv = ["prlimit", "--fsize=1000000", *swapbox.argv("commit", "full", "full")]
    done = subprocess.run(argv, capture_output=True, env=swapbox.environment)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert not [path for path in (swapbox.root / "content/ingest").iterdir() if path.name.startswith("new-")]
