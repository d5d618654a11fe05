"""Registries and images that are wrong: one clear error, nothing outside, nothing half there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swapbox.testing import hostile, images, publish
from swapbox.testing.archives import write_archive
from swapbox.testing.process import Result, free_port
from swapbox.testing.registry_server import RegistryServer
from swapbox.testing.sandbox import Sandbox, sandbox

pytestmark = pytest.mark.root


@pytest.fixture
def reference(fake_registry: RegistryServer, busybox_image: images.Image) -> str:
    return publish.push(fake_registry.host, "app", "latest", busybox_image)


@pytest.fixture(scope="module", autouse=True)
def endless_pull(busybox_image: images.Image) -> Iterator[Callable[[], tuple[Sandbox, Result]]]:
    """A pull of a blob that always breaks off. The engine tries for most of a minute, while other tests run."""
    with RegistryServer() as server, sandbox() as swapbox:
        reference = publish.push(server.host, "app", "latest", busybox_image)
        server.faults.truncate = 1000
        with swapbox.start("pull", reference) as command:

            def end() -> tuple[Sandbox, Result]:
                out, err = command.communicate(timeout=120)
                return swapbox, Result(("pull", reference), command.returncode, out, err)

            yield end


def assert_one_clear_error(result: Result, *words: str) -> None:
    result.fails(1, *words)
    said = [line for line in result.err.splitlines() if not line.startswith(("hint:", "WARNING:"))]
    assert len([line for line in said if line.lower().startswith("error")]) == 1, result.err


def assert_nothing_there(swapbox: Sandbox, *, resumable: bool = False) -> None:
    """Expect no image and no snapshot; a blob only if a later pull can go on with it."""
    assert swapbox.ok("images", "-a", "-q") == ""
    assert resumable or list((swapbox.root / "content" / "blobs").rglob("[0-9a-f]" * 64)) == []
    left = [path for path in (swapbox.root / "storage").rglob("*") if path.is_symlink() or path.name == "busybox"]
    assert left == []


@pytest.mark.parametrize("name", ["app:nosuchtag", "nosuch", "no/such/name:1"])
def test_an_unknown_image_or_tag(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str, name: str
) -> None:
    assert_one_clear_error(empty_swapbox("pull", f"{fake_registry.host}/{name}"), f"{fake_registry.host}/{name}")
    assert_nothing_there(empty_swapbox)


@pytest.mark.parametrize("name", ["UPPER", "a:b:c", "a@sha256:123", "a//b", "", "-"])
def test_a_reference_that_is_none(empty_swapbox: Sandbox, name: str) -> None:
    empty_swapbox("pull", "--", name).fails(1, "invalid reference format")


def test_a_registry_that_is_down(empty_swapbox: Sandbox) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert_one_clear_error(empty_swapbox("pull", f"{address}/app"), address, "refused")
    assert_nothing_there(empty_swapbox)


def test_a_slow_registry_is_waited_for(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str
) -> None:
    fake_registry.faults.delay = 0.5
    empty_swapbox.ok("pull", reference)
    assert empty_swapbox.ok("run", "--rm", reference, "echo", "hi") == "hi"


def test_a_registry_that_asks_who_we_are(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str
) -> None:
    fake_registry.faults.auth = "basic"
    fake_registry.faults.users = {"someone": "secret"}
    assert_one_clear_error(empty_swapbox("pull", reference), fake_registry.host)
    assert_nothing_there(empty_swapbox)


def test_a_token_is_fetched_where_anybody_gets_one(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str
) -> None:
    fake_registry.faults.auth = "bearer"
    empty_swapbox.ok("pull", reference)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_a_registry_that_always_refuses(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str, status: int
) -> None:
    fake_registry.faults.refuse = [status] * 100
    assert_one_clear_error(empty_swapbox("pull", reference))
    assert_nothing_there(empty_swapbox)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_registry_that_refuses_once(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str, status: int
) -> None:
    fake_registry.faults.refuse, fake_registry.faults.retry_after = [status], 1
    empty_swapbox.ok("pull", reference)


def test_a_blob_that_breaks_off_is_resumed(
    empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str
) -> None:
    fake_registry.faults.truncate, fake_registry.faults.truncate_times = 100_000, 2  # config and layer
    empty_swapbox.ok("pull", reference)
    assert any("range" in request.headers for request in fake_registry.requests)
    assert empty_swapbox.ok("run", "--rm", reference, "echo", "hi") == "hi"


def test_a_blob_with_another_digest(empty_swapbox: Sandbox, fake_registry: RegistryServer, reference: str) -> None:
    fake_registry.faults.corrupt = True
    assert_one_clear_error(empty_swapbox("pull", reference), "digest", "sha256:")
    fake_registry.faults.corrupt = False
    assert_nothing_there(empty_swapbox)
    empty_swapbox.ok("pull", reference)


def test_a_layer_with_another_diff_id(empty_swapbox: Sandbox, registry: str) -> None:
    layer = images.busybox_layer()._replace(diff_id=f"sha256:{'1' * 64}")
    reference = publish.push(registry, "wrong-diff-id", "latest", images.image_of([layer]))
    assert_one_clear_error(empty_swapbox("pull", reference), "1" * 64)
    assert_nothing_there(empty_swapbox)


def test_a_layer_that_is_not_gzip(empty_swapbox: Sandbox, registry: str) -> None:
    good = images.busybox_layer()
    bad = good._replace(
        blob=images.Blob.of(good.blob.descriptor.media_type, b"\x1f\x8b\x08 this is no gzip" * 100)
    )
    reference = publish.push(registry, "no-gzip", "latest", images.image_of([bad]))
    assert_one_clear_error(empty_swapbox("pull", reference), "layer")
    assert_nothing_there(empty_swapbox)


def test_a_layer_that_ends_too_early(empty_swapbox: Sandbox, registry: str) -> None:
    good = images.busybox_layer()
    assert isinstance(good.blob.source, bytes)
    half = images.Blob.of(good.blob.descriptor.media_type, good.blob.source[: len(good.blob.source) // 2])
    reference = publish.push(registry, "half", "latest", images.image_of([good._replace(blob=half)]))
    assert_one_clear_error(empty_swapbox("pull", reference))
    assert_nothing_there(empty_swapbox)


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
@pytest.mark.parametrize("attack", hostile.ESCAPES)
def test_a_layer_cannot_write_outside(
    empty_swapbox: Sandbox, registry: str, tmp_path: Path, attack: str, driver: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("untouched\n")
    layer = hostile.ESCAPES[attack](victim)
    image = images.busybox_image(extra=[layer])
    reference = publish.push(registry, f"hostile/{attack}", f"{driver}-{os.getpid()}", image)
    result = empty_swapbox("--storage-driver", driver, "pull", reference)
    assert [path.name for path in victim.iterdir()] == ["precious"]
    assert (victim / "precious").read_text() == "untouched\n"
    assert (victim / "precious").stat().st_nlink == 1
    if result.code == 0:  # what was meant for the host may end up inside instead, as in Docker
        assert empty_swapbox.ok("--storage-driver", driver, "run", "--rm", reference, "echo", "hi") == "hi"
    else:
        assert_one_clear_error(result)
        assert_nothing_there(empty_swapbox)


@pytest.mark.parametrize("attack", ["dot-dot", "hardlink", "absolute-symlink"])
def test_a_layer_that_tries_is_refused(empty_swapbox: Sandbox, registry: str, tmp_path: Path, attack: str) -> None:
    image = images.busybox_image(extra=[hostile.ESCAPES[attack](tmp_path)])
    reference = publish.push(registry, f"refused/{attack}", "latest", image)
    assert_one_clear_error(empty_swapbox("pull", reference), "layer")


def test_a_device_of_an_image_gives_no_access(empty_swapbox: Sandbox, registry: str) -> None:
    image = images.busybox_image(extra=[hostile.devices()])
    reference = publish.push(registry, "devices", "latest", image)
    result = empty_swapbox("run", "--rm", reference, "head", "-c", "1", "/node/loop0")
    assert result.code != 0
    assert result.out == ""


def test_ten_gigabytes_of_zeros_end_at_the_limit_of_compression(empty_swapbox: Sandbox, registry: str) -> None:
    """Zeros become holes, so they never fill the disk."""
    reference = publish.push(registry, "zeros", "latest", images.image_of([hostile.zeros(10 << 30)]))
    small = SmallDisk(empty_swapbox, "64m")
    result = small.run(f"$swapbox pull {reference} >/dev/null; echo $?; $swapbox images -q; {small.find('zeros')}")
    result.fails(0, "max-ratio")
    assert result.out == "1"


def test_a_thousand_layers_are_more_than_overlay_takes(
    empty_swapbox: Sandbox, fake_registry: RegistryServer
) -> None:
    base, same = images.busybox_layer(), images.layer_of([images.file("a", b"1")])
    reference = publish.push(fake_registry.host, "deep", "1", images.image_of([base, *[same] * 999]))
    result = empty_swapbox("--storage-driver", "overlay", "pull", reference)
    assert_one_clear_error(result, "max depth exceeded", "--storage-driver vfs")
    assert_nothing_there(empty_swapbox)
    empty_swapbox.ok("system", "prune", "-f")
    assert list((empty_swapbox.root / "storage/overlay/snapshots").iterdir()) == []


class SmallDisk:
    """The roots of a sandbox on a tmpfs of its own, in a mount namespace that only the script below sees."""

    def __init__(self, swapbox: Sandbox, size: str) -> None:
        self.swapbox, self.size = swapbox, size

    def find(self, name: str) -> str:
        """Return a command that lists the files of snapshots with this name."""
        return f"find {self.swapbox.root}/storage -name {name}"

    def run(self, script: str) -> Result:
        import subprocess

        root = self.swapbox.directory
        mount = f"mount -t tmpfs -o size={self.size} none {root} && mkdir -p {root}/root {root}/run"
        prefix = f'swapbox="{" ".join(self.swapbox.prefix)}"'
        argv = ("unshare", "-m", "sh", "-c", f"{mount} && {prefix} && {script}")
        done = subprocess.run(argv, env=self.swapbox.environment, capture_output=True, timeout=120)
        return Result(argv, done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("driver", ["overlay", "vfs"])
@pytest.mark.parametrize(
    ("size", "content"),
    [
        pytest.param("5m", os.urandom(20 << 20), id="while receiving"),
        pytest.param("12m", bytes(range(256)) * (40 << 12), id="while unpacking"),
    ],
)
def test_a_full_disk(empty_swapbox: Sandbox, registry: str, size: str, content: bytes, driver: str) -> None:
    image = images.image_of([images.layer_of([images.file("big", content)], level=1)])
    reference = publish.push(registry, "big", f"{len(content)}", image)
    small = SmallDisk(empty_swapbox, size)
    pull = f"$swapbox --storage-driver {driver} pull {reference}"
    state = f"$swapbox images -q; {small.find('big')}"
    room = f"mount -o remount,size=200m {empty_swapbox.directory}"
    result = small.run(f"{pull} >/dev/null; echo $?; {state}; {room}; {pull} >/dev/null; echo $?")
    result.fails(0, "no space left on device")
    assert result.out.split() == ["1", "0"]
    assert result.err.lower().count("error") == 1, result.err


def test_a_full_disk_while_layers_are_unpacked_in_parallel(empty_swapbox: Sandbox, registry: str) -> None:
    """What fills the disk goes, whichever process has noticed."""
    content = [os.urandom(2 << 20) + bytes(range(256)) * (10 << 12) for _ in range(2)]
    layers = [images.layer_of([images.file(f"big{number}", data)]) for number, data in enumerate(content)]
    reference = publish.push(registry, "big", "two", images.image_of(layers))
    small = SmallDisk(empty_swapbox, "12m")
    files = f"{small.find('big*')}; find {empty_swapbox.root}/content -type f"
    result = small.run(f"$swapbox --storage-driver overlay pull {reference} >/dev/null; echo $?; {files}")
    result.fails(0, "no space left on device")
    assert result.out == "1"


@pytest.mark.parametrize("size", ["5m", "12m"], ids=["while receiving", "while unpacking"])
def test_a_full_disk_under_a_load(empty_swapbox: Sandbox, tmp_path: Path, size: str) -> None:
    image = images.image_of([images.layer_of([images.file("big", os.urandom(8 << 20))], level=1)])
    write_archive(tmp_path / "big.tar", "example.com/big:1", image, layout=False)
    load = f"$swapbox load -i {tmp_path}/big.tar"
    small = SmallDisk(empty_swapbox, size)
    blobs = f"find {empty_swapbox.root}/content -type f | wc -l"
    room = f"mount -o remount,size=200m {empty_swapbox.directory}"
    result = small.run(f"{load}; echo $?; $swapbox images -q; {small.find('big')}; {blobs}; {room}; {load}")
    result.fails(0, "no space left on device")
    assert result.out.split("\n") == ["1", "0", "Loaded image: example.com/big:1"]
    assert result.err.lower().count("error") == 1, result.err


def test_a_blob_that_always_breaks_off(endless_pull: Callable[[], tuple[Sandbox, Result]]) -> None:
    swapbox, result = endless_pull()
    assert_one_clear_error(result)
    assert_nothing_there(swapbox, resumable=True)
