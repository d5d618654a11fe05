"""``save`` and ``load``, with Docker, Podman and skopeo as readers and writers."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.errors import Unsupported
from swapbox.testing import images, publish, servers
from swapbox.testing.process import Engine
from swapbox.testing.sandbox import Sandbox, sandbox, scratch
from swapbox.testing.terminal import terminal

pytestmark = [pytest.mark.root, pytest.mark.debian]


@pytest.fixture(scope="module")
def box(registry: str, busybox_image: images.Image) -> Iterator[Sandbox]:
    """Swapbox with ``example.com/app:1`` and the same as ``example.com/app:2``."""
    reference = publish.push(registry, "archives", "1", busybox_image)
    with sandbox() as made:
        made.ok("pull", reference)
        made.ok("tag", reference, "example.com/app:1")
        made.ok("tag", reference, "example.com/app:2")
        yield made
        made.assert_no_leaks()


@pytest.fixture(scope="module")
def saved(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "app.tar"
    assert box.ok("save", "-o", path, "example.com/app") == ""
    return path


@pytest.fixture(scope="module")
def skopeo(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return _program("skopeo", tmp_path_factory.mktemp("skopeo"), "--insecure-policy")


@pytest.fixture(scope="module")
def podman() -> Iterator[Engine]:
    with scratch("podman-") as directory:
        roots = ("--root", directory / "root", "--runroot", directory / "run", "--storage-driver", "vfs")
        yield _program("podman", directory, *map(str, roots))


def _program(name: str, home: Path, *options: str) -> Engine:
    try:
        return Engine(servers.require(name, name), *options, environment=servers.plain_environment(home))
    except Unsupported as error:
        pytest.skip(f"{error}: {error.hint}")


@contextlib.contextmanager
def loaded(path: Path) -> Iterator[tuple[str, str]]:
    """Load an archive into a new swapbox; give what that said, and the one image's id."""
    with sandbox() as made:
        said = made.ok("load", "-i", path)
        ids = set(made.ok("images", "-q", "--no-trunc").split())
        (id,) = ids
        assert made.ok("run", "--rm", "--network", "none", id, "echo", "hi") == "hi"
        yield said, id


def test_docker_loads_what_is_saved_and_is_loaded_from(
    docker: Engine, saved: Path, busybox_image: images.Image, tmp_path: Path
) -> None:
    assert docker.ok("load", "-i", saved) == "Loaded image: example.com/app:1\nLoaded image: example.com/app:2"
    assert docker.ok("run", "--rm", "--network", "none", "example.com/app:1", "echo", "hi") == "hi"
    docker.ok("save", "-o", tmp_path / "docker.tar", "example.com/app:1", "example.com/app:2")
    with loaded(tmp_path / "docker.tar") as (said, id):
        assert id == busybox_image.config.descriptor.digest
        assert "Loaded image: example.com/app:1\nLoaded image: example.com/app:2" in said


def test_podman_loads_what_is_saved_and_is_loaded_from(
    podman: Engine, saved: Path, busybox_image: images.Image, tmp_path: Path
) -> None:
    said = podman.ok("load", "-q", "-i", saved)
    assert "Loaded image: example.com/app:1" in said
    name = "example.com/app:1"
    assert podman.ok("image", "inspect", "-f", "{{.Id}}", name) in busybox_image.config.descriptor.digest
    for form in ("docker-archive", "oci-archive"):
        path = tmp_path / f"{form}.tar"
        podman.ok("save", "-q", "--format", form, "-o", path, name)
        with loaded(path) as (said, _id):
            assert said == f"Loaded image: {name}"


def test_skopeo_reads_both_forms_of_what_is_saved_and_is_loaded_from(
    skopeo: Engine, saved: Path, tmp_path: Path
) -> None:
    skopeo.ok("copy", "-q", f"oci-archive:{saved}:1", f"docker-archive:{tmp_path}/docker.tar:example.com/app:3")
    with loaded(tmp_path / "docker.tar") as (said, _):
        assert said == "Loaded image: example.com/app:3"
    skopeo.ok("copy", "-q", f"docker-archive:{saved}:example.com/app:2", f"oci-archive:{tmp_path}/oci.tar")
    with loaded(tmp_path / "oci.tar") as (said, id):
        assert said == f"Loaded image ID: {id}"


def test_an_archive_passes_through_a_pipe(box: Sandbox, busybox_image: images.Image) -> None:
    with sandbox() as made:
        with subprocess.Popen(
            box.argv("save", "example.com/app:1"), stdout=subprocess.PIPE, env=box.environment
        ) as writer:
            done = subprocess.run(
                made.argv("load"), stdin=writer.stdout, capture_output=True, env=made.environment
            )
        assert (writer.returncode, done.stdout) == (0, b"Loaded image: example.com/app:1\n")
        assert made.ok("images", "-q", "--no-trunc") == busybox_image.config.descriptor.digest


def test_nothing_is_written_to_a_terminal_and_none_is_read(box: Sandbox) -> None:
    with terminal(box.argv("save", "example.com/app:1"), box.environment) as screen:
        screen.expect(b"cowardly refusing to save to a terminal. Use the -o flag or redirect")
        assert screen.wait() == 1
    with terminal(box.argv("load"), box.environment) as screen:
        screen.expect(b"requested load from stdin, but stdin is empty")
        assert screen.wait() == 1


def test_files_are_images_wherever_an_image_is_named(
    saved: Path, busybox_image: images.Image, tmp_path: Path
) -> None:
    publish.write_layout(tmp_path / "layout", {"1.0": busybox_image, "2.0": busybox_image})
    id = busybox_image.config.descriptor.digest
    with sandbox() as made:
        run = ("run", "--rm", "--network", "none")
        assert made.ok(*run, f"oci:{tmp_path}/layout:1.0", "echo", "hi") == "hi"
        assert made.ok("images", "--format", "{{.Repository}} {{.Tag}}") == f"oci:{tmp_path}/layout 1.0"
        assert made.ok("pull", "-q", f"docker-archive:{saved}:example.com/app:2")
        assert made.inspect(f"docker-archive:{saved}:example.com/app:2")["Id"] == id
        assert made.ok(*run, f"docker-archive:{saved}:example.com/app:2", "echo", "hi") == "hi"
        assert made.ok(*run, f"oci-archive:{saved}:1", "echo", "hi") == "hi"
        assert "Untagged: oci-archive:" in made.ok("rmi", f"oci-archive:{saved}:1")
        made(*run, "nosuch:/x", "true").fails(125, "unknown registry driver 'nosuch'", "docker-archive")
        made(*run, f"oci:{tmp_path}/none", "true").fails(125, "not found", f"{tmp_path}/none")
        made("tag", id, "oci:/x:1").fails(1, "not a valid repository/tag")
        assert made.ok("save", id, "-o", tmp_path / "out.tar") == ""
        made.assert_no_leaks()
