"""Input, output and terminals of ``run``."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox
from swapbox.testing.terminal import Terminal, terminal

pytestmark = pytest.mark.root


@contextmanager
def on_terminal(swapbox: Sandbox, *arguments: str) -> Iterator[Terminal]:
    with terminal(swapbox.argv(*arguments), swapbox.environment) as made:
        yield made


def test_stdin_is_piped_to_its_end(swapbox: Sandbox) -> None:
    assert swapbox("run", "--rm", "-i", "busybox", "cat", stdin=b"one\ntwo").stdout == b"one\ntwo"


def test_stdin_without_i_is_empty(swapbox: Sandbox) -> None:
    assert swapbox("run", "--rm", "busybox", "cat", stdin=b"not for you").stdout == b""


def test_the_command_may_end_before_its_input(swapbox: Sandbox) -> None:
    result = swapbox("run", "--rm", "-i", "busybox", "head", "-c", "3", stdin=b"x" * (8 << 20))
    assert (result.code, result.stdout) == (0, b"xxx")


def test_the_output_goes_on_after_the_end_of_input(swapbox: Sandbox) -> None:
    script = "cat >/dev/null; usleep 100000; echo after"
    assert swapbox("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin=b"x").stdout == b"after\n"


def test_fifty_megabytes_go_in_and_out_unchanged(swapbox: Sandbox) -> None:
    data = os.urandom(1 << 20) * 50
    result = swapbox("run", "--rm", "-i", "--log-driver", "none", "busybox", "cat", stdin=data)
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_five_megabytes_without_a_newline_are_logged_whole(swapbox: Sandbox) -> None:
    data = base64.b64encode(os.urandom(4 << 20))
    result = swapbox("run", "--name", "long", "-i", "busybox", "cat", stdin=data)
    assert result.stdout == data
    assert swapbox("logs", "long").stdout == data


def test_both_outputs_stay_apart(swapbox: Sandbox) -> None:
    result = swapbox("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; echo out again")
    assert (result.stdout, result.stderr) == (b"out\nout again\n", b"err\n")


def test_bytes_arrive_before_the_line_ends(swapbox: Sandbox) -> None:
    with swapbox.start("run", "--rm", "busybox", "sh", "-c", "printf prompt; sleep 1000") as command:
        assert command.stdout
        assert command.stdout.read(6) == b"prompt"
        command.send_signal(signal.SIGKILL)


def test_a_terminal_has_its_size_from_the_start(swapbox: Sandbox) -> None:
    with on_terminal(swapbox, "run", "--rm", "-it", "busybox", "sh", "-c", "tty; stty size") as person:
        person.expect(b"/dev/pts/0\r\n24 80\r\n")
        assert person.wait() == 0


def test_a_terminal_can_be_typed_into(swapbox: Sandbox) -> None:
    with on_terminal(swapbox, "run", "--rm", "-it", "busybox", "sh") as person:
        person.expect(b"# ")
        person.type("echo $((6*7))\n")
        person.expect(b"42\r\n")
        person.type("exit 4\n")
        assert person.wait() == 4


def test_a_resized_terminal_is_resized_inside(swapbox: Sandbox) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do usleep 10000; done"
    with on_terminal(swapbox, "run", "--rm", "-it", "busybox", "sh", "-c", script) as person:
        person.expect(b"ready")
        person.resize(50, 132)
        person.expect(b"50 132")
        assert person.wait() == 0


def test_an_interrupt_is_the_containers(swapbox: Sandbox) -> None:
    script = "trap 'echo caught; exit 6' INT; echo ready; while :; do usleep 10000; done"
    with on_terminal(swapbox, "run", "--rm", "-it", "busybox", "sh", "-c", script) as person:
        person.expect(b"ready")
        person.type(b"\x03")
        person.expect(b"caught")
        assert person.wait() == 6


def test_the_terminal_is_as_before_afterwards(swapbox: Sandbox) -> None:
    program, *arguments = swapbox.argv("run", "--rm", "-it", "busybox", "sh", "-c", "stty raw -echo; exit 1")
    script = 'stty -a >/tmp/$$.before; "$0" "$@"; stty -a | cmp - /tmp/$$.before; echo same=$?; rm /tmp/$$.before'
    with terminal(["/bin/sh", "-c", script, program, *arguments], swapbox.environment) as person:
        person.expect(b"same=0")
        person.wait()


def test_the_detach_keys_leave_it_running(swapbox: Sandbox) -> None:
    with on_terminal(swapbox, "run", "-it", "--name", "left", "busybox", "sh") as person:
        person.expect(b"# ")
        person.type(b"\x10\x11")
        assert person.wait() == 0
    assert swapbox.state("left")["Running"] is True


def test_a_terminal_that_hangs_up_leaves_it_running(swapbox: Sandbox) -> None:
    with on_terminal(swapbox, "run", "-it", "--name", "left", "busybox", "sh") as person:
        person.expect(b"# ")
    wait_until(lambda: swapbox.state("left")["Running"], "it still runs")


def test_output_of_a_terminal_is_logged(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-t", "--name", "tty", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert swapbox("logs", "tty").stdout == b"out\r\nerr\r\n"
