"""Standard outputs that take nothing: full, or without a reader."""

from __future__ import annotations

import os
import subprocess

import pytest

from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root


@pytest.mark.parametrize(
    "command", ["ps -a", "version", "logs talks", "inspect talks", "export talks", "ps --help"]
)
def test_a_full_disk_is_one_line_and_a_failure(swapbox: Sandbox, command: str) -> None:
    swapbox.ok("run", "--name", "talks", "busybox", "echo", "hello")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            swapbox.argv(*command.split()), stdout=full, stderr=subprocess.PIPE, env=swapbox.environment
        )
    assert (done.returncode, done.stderr) == (1, b"write /dev/stdout: no space left on device\n")


@pytest.mark.parametrize("command", ["ps -a", "logs talks", "export talks"])
def test_without_a_reader_it_ends_as_by_sigpipe(swapbox: Sandbox, command: str) -> None:
    swapbox.ok("run", "--name", "talks", "busybox", "echo", "hello")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        swapbox.argv(*command.split()), stdout=write, stderr=subprocess.PIPE, env=swapbox.environment
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
