"""Real servers on loopback for tests and benchmarks: Debian's ``docker-registry`` and ``dockerd``."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from swapbox.errors import Unsupported
from swapbox.testing.process import Engine, free_port, wait_until

_REGISTRY_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"{http}}}
{more}
"""
HTPASSWD = ("ann", "s3:cret", "ann:$2y$04$abcdefghijklmnopqrstuuqZjxwjM8vs9/rKGjateZ0zqhyOGcuKe")
"""A user, the password, and their line in a file of ``htpasswd -B``."""


def plain_environment(home: Path) -> dict[str, str]:
    """Return an environment that has nothing of the user's settings, with ``home`` as home."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8"}


def require(program: str, package: str) -> str:
    """Return the path of a program.

    :raises Unsupported: it is not installed; the hint names the Debian package.
    """
    found = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise Unsupported(f"no {program} here", hint=f"install the package {package}")
    return found


@contextlib.contextmanager
def docker_registry(directory: Path, *, http: str = "", more: str = "", htpasswd: bool = False) -> Iterator[str]:
    """Run Debian's registry on a free loopback port, with its data below ``directory``; give ``host:port``.

    :param http: more of the section ``http`` of its configuration, beginning with a comma.
    :param more: more of its configuration, in YAML.
    :param htpasswd: only the user of :data:`HTPASSWD` gets in.
    :raises Unsupported: it is not installed.
    """
    program = require("docker-registry", "docker-registry")
    address = f"127.0.0.1:{free_port()}"
    config = directory / "registry.yml"
    if htpasswd:
        (directory / "htpasswd").write_text(HTPASSWD[2] + "\n")
        more += f"auth: {{htpasswd: {{realm: tests, path: {directory}/htpasswd}}}}\n"
    config.write_text(_REGISTRY_CONFIG.format(root=directory / "registry", address=address, http=http, more=more))
    with _running([program, "serve", config], directory, lambda: _answers(address)):
        yield address


@contextlib.contextmanager
def dockerd(directory: Path, *, enter: Sequence[str] = ()) -> Iterator[Engine]:
    """Run a Docker daemon of its own below ``directory``; give its command.

    It has no networks, unless it lives in a network namespace where it can do no harm.

    :param enter: the beginning of a command line that leads into one.

    :raises Unsupported: docker is not installed, or the daemon does not start here.
    """
    program, client = require("dockerd", "docker.io"), require("docker", "docker.io")
    socket = f"unix://{directory}/docker.sock"
    environment = plain_environment(directory)
    arguments: list[str | Path] = [
        *enter,
        program,
        "--data-root",
        directory / "data",
        "--exec-root",
        directory / "exec",
        "-H",
        socket,
    ]
    arguments += [
        "--pidfile",
        directory / "docker.pid",
        "--userland-proxy=false",
        *(() if enter else ("--iptables=false", "--bridge=none")),
    ]
    engine = Engine(*enter, client, "-H", socket, environment=environment)
    with _running(arguments, directory, lambda: engine("version").code == 0):
        try:
            yield engine
        finally:
            if containers := engine.ok("ps", "-aq").split():
                engine("rm", "-f", *containers)


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _running(arguments: list[str | Path], directory: Path, ready: Callable[[], bool]) -> Iterator[None]:
    log = directory / f"{Path(arguments[0]).name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=plain_environment(directory)
        )
    try:
        wait_until(lambda: process.poll() is not None or ready(), f"{log.stem} is ready", timeout=30)
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Unsupported(f"{log.stem} does not run here: {last}")
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
