"""Refusals compared with those of the real docker client, which makes them before it looks for its daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from swapbox.containers import limits, options, security
from swapbox.containers.mount_flag import parse_mount
from swapbox.errors import InvalidInput

pytestmark = [
    pytest.mark.debian,
    pytest.mark.skipif(shutil.which("docker") is None, reason="needs docker"),
]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InvalidInput) as caught:
        call()
    return caught.value.message


def _env_file(path: str) -> Callable[[], object]:
    return lambda: options.read_env_file(Path(path), {})


CLIENT_ERRORS: list[tuple[list[str], Callable[[], object]]] = [
    *(
        (["-m", text], lambda text=text: limits.parse_memory(text))
        for text in ("abc", "-5m", "", "5q", "1.2.3", "5kibs", "5bb", "5ki")
    ),
    (["--memory-swap", "-2"], lambda: limits.parse_memory_swap("-2")),
    *((["--cpus", text], lambda text=text: limits.parse_cpus(text)) for text in ("x", "", "1.0000000001")),
    *(
        (["--ulimit", text], lambda text=text: limits.parse_ulimits([text]))
        for text in (
            "nofile",
            "foo=1",
            "nofile=5:3",
            "nofile=a",
            "nofile=1:2:3",
            "nofile=-1:5",
            "nofile=99999999999999999999",
        )
    ),
    *(
        (["--sysctl", text], lambda text=text: security.parse_sysctls([text]))
        for text in ("foo=1", "net.x", "kernel.pid_max=5")
    ),
    *((["-e", text], lambda text=text: options.parse_env([text], {})) for text in ("", "=x")),
    *((["-l", text], lambda text=text: options.parse_labels([text])) for text in ("=x", "a b=c")),
    (["--pids-limit", "x"], lambda: options.parse_integer("x")),
    (["--userns", "foo"], lambda: options.parse_userns("foo")),
    (["--env-file", "/nonexistent"], _env_file("/nonexistent")),
    (["--env-file", "/etc"], _env_file("/etc")),
    *(
        (["--mount", text], lambda text=text: parse_mount(text, Path("/tmp")))
        for text in (
            "foo",
            "type=bind,source=/x",
            "type=bind,src=/x,dst=/y,foo=1",
            "type=bind,dst=/y,ro=maybe",
            "type=tmpfs,dst=/x,tmpfs-size=q",
            "type=bind,dst=/x,tmpfs-size=1",
            "type=bind,dst=/x,volume-nocopy",
            "type=bind,dst=/x,src=/,bind-recursive=foo",
            "type=bind,dst=/x,src=/,bind-recursive=writable",
            "type=bind,dst=/x,src=/,bind-recursive=readonly,ro",
            "type=bind,dst=/x,src=/,bind-nonrecursive=x",
            "dst=/x,volume-nocopy=x",
            "dst=/x,bind-propagation=shared",
            "type=,dst=/x",
            "src=x",
            "dst=/x,",
        )
    ),
    (["--security-opt", "foo"], lambda: security.parse_security_opts(["foo"])),
    (["--security-opt", "seccomp=/nonexistent"], lambda: security.parse_security_opts(["seccomp=/nonexistent"])),
]


@pytest.mark.parametrize(
    ("flags", "call"), CLIENT_ERRORS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_refusal_has_the_words_of_the_docker_client(flags: list[str], call: Callable[[], object]) -> None:
    environment = {**os.environ, "DOCKER_HOST": "unix:///nonexistent.sock"}
    result = subprocess.run(["docker", "run", *flags, "x"], env=environment, capture_output=True, text=True)
    assert result.returncode == 125
    docker = result.stderr.splitlines()[0].removeprefix("docker: ").removesuffix(".")
    assert docker.rpartition('" flag: ')[2] == refusal(call)


@pytest.mark.parametrize("line", ["a b=1", "=1"])
def test_a_malformed_env_file_is_refused_as_docker_does(tmp_path: Path, line: str) -> None:
    file = tmp_path / "env"
    file.write_text(f"{line}\n")
    result = subprocess.run(["docker", "run", "--env-file", str(file), "x"], capture_output=True, text=True)
    assert result.stderr.splitlines()[0] == f"docker: {refusal(_env_file(str(file)))}"
