"""The monitor's loop, with ordinary child processes in the place of containers."""

from __future__ import annotations

import _socket
import os
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from swapbox.containers import session as session_module
from swapbox.containers.client import Client
from swapbox.containers.lines import LineSplitter
from swapbox.containers.session import Session, restore
from swapbox.drivers.logging import Stream


class MemoryLog:
    """A log writer that keeps what it gets."""

    def __init__(self) -> None:
        self.chunks: list[tuple[Stream, bytes]] = []
        self.closed = False

    def write(self, stream: Stream, chunk: bytes, time: int) -> None:
        assert time > 0
        self.chunks.append((stream, chunk))

    def close(self) -> None:
        self.closed = True

    def text(self, stream: Stream) -> bytes:
        return b"".join(chunk for name, chunk in self.chunks if name == stream)


class Started:
    """A session over a shell command, and the client's end of its socket."""

    def __init__(self, script: str) -> None:
        out, err, into = os.pipe(), os.pipe(), os.pipe()
        process = subprocess.Popen(["/bin/sh", "-c", script], stdin=into[0], stdout=out[1], stderr=err[1])
        process.returncode = 0  # the session reaps it
        for fd in (into[0], out[1], err[1]):
            os.close(fd)
        self.log = MemoryLog()
        self.client, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.session = Session(
            init=process.pid,
            outputs={"stdout": out[0], "stderr": err[0]},
            stdin=into[1],
            terminal=-1,
            listener=None,
            clients=[Client(theirs)],
            writer=self.log,
            splitters={"stdout": LineSplitter(), "stderr": LineSplitter()},
        )

    def received(self) -> list[bytes]:
        """Return the packets the client got, up to the monitor's last."""
        packets = []
        while packet := self.client.recv(1 << 17):
            packets.append(packet)
        return packets

    def close(self) -> None:
        """Close what is still open."""
        self.client.close()
        self.session.notify(b"")
        for fd in (*self.session.outputs.values(), self.session.stdin):
            if fd >= 0:
                os.close(fd)
        os.close(self.session.pidfd)


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[Started]:
    started = Started(request.param)
    yield started
    started.close()


def _stdout(packets: list[bytes]) -> bytes:
    return b"".join(packet[1:] for packet in packets if packet[:1] == b"O")


@pytest.mark.parametrize("started", ["echo out; echo err >&2; exit 3"], indirect=True)
def test_output_reaches_the_log_and_the_client_and_the_status_is_returned(started: Started) -> None:
    status = started.session.run()
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == 3
    started.session.notify(b"X3")
    packets = started.received()
    assert sorted(packets[:-1]) == [b"Oout\n", b"Rerr\n"]
    assert packets[-1] == b"X3"
    assert started.log.text("stdout") == b"out\n"
    assert started.log.text("stderr") == b"err\n"
    assert started.log.closed


@pytest.mark.parametrize("started", ["cat; echo done"], indirect=True)
def test_input_reaches_the_command_and_its_end_too(started: Started) -> None:
    started.client.send(b"Ihello\n")
    started.client.send(b"C")
    assert started.session.run() == 0
    assert started.log.text("stdout") == b"hello\ndone\n"


@pytest.mark.parametrize("started", ["cat"], indirect=True)
@pytest.mark.parametrize("packet", [b"W", b"W1", b"W24 80 1", b"Wx y", b"W" + b"9" * 5000 + b" 1", b"?"])
def test_what_a_client_gets_wrong_harms_nobody(started: Started, packet: bytes) -> None:
    started.client.send(packet)
    started.client.send(b"Ihello")
    started.client.send(b"C")
    assert started.session.run() == 0
    assert started.log.text("stdout") == b"hello"


@pytest.mark.parametrize("started", ["exec seq 1 300000"], indirect=True)
def test_a_slow_client_holds_the_command_back_and_loses_nothing(started: Started) -> None:

    def run() -> None:
        started.session.run()
        started.session.notify(b"X0")

    runner = threading.Thread(target=run)
    runner.start()
    expected = b"".join(b"%d\n" % number for number in range(1, 300001))
    assert _stdout(started.received()) == expected
    runner.join()
    assert started.log.text("stdout") == expected


@pytest.mark.parametrize("started", ["exec seq 1 300000"], indirect=True)
def test_a_client_that_is_gone_holds_nothing(started: Started) -> None:
    started.client.close()
    assert started.session.run() == 0
    assert started.log.text("stdout").endswith(b"300000\n")


@pytest.mark.parametrize("started", ["printf start; read line; echo $line; exit 7"], indirect=True)
def test_a_session_goes_on_after_a_hand_over_with_its_unfinished_line(started: Started) -> None:
    assert started.client.send(b"N") == 1  # this client wants no output, so nothing is in flight
    while started.session.run(0.01) is None and started.session.splitters["stdout"].pending != b"start":
        pass
    exported = started.session.export()
    assert started.log.closed
    os.close(started.session.pidfd)
    started.session = restore(exported, writer=started.log)
    session = started.session
    assert not any(
        map(os.get_inheritable, (*session.outputs.values(), session.stdin, session.clients[0].sock.fileno()))
    )
    started.client.send(b"I-end\n")
    status = started.session.run()
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == 7
    assert started.log.text("stdout") == b"start-end\n"


class BrokenLog(MemoryLog):
    """A log driver with a bug."""

    def write(self, stream: Stream, chunk: bytes, time: int) -> None:
        raise KeyError(stream)

    def close(self) -> None:
        raise KeyError("close")


@pytest.mark.parametrize("started", ["echo out; exit 3"], indirect=True)
def test_a_faulty_log_driver_stops_neither_the_command_nor_its_output(started: Started) -> None:
    started.session.writer = BrokenLog()
    status = started.session.run()
    assert status is not None
    assert os.waitstatus_to_exitcode(status) == 3
    started.session.notify(b"X3")
    assert started.received() == [b"Oout\n", b"X3"]


@pytest.mark.parametrize("started", ["exec yes"], indirect=True)
def test_a_busy_command_does_not_put_off_the_end_of_the_time_given(started: Started) -> None:
    started.client.close()
    assert started.session.run(0.1) is None
    os.kill(started.session.init, 9)
    assert started.session.run() == 9


@pytest.mark.parametrize("started", ["cat; echo done"], indirect=True)
def test_input_ends_with_the_client_that_owns_it(started: Started) -> None:
    started.session.clients[0].ends_input = True
    started.client.send(b"Ihello\n")
    started.client.close()
    assert started.session.run() == 0
    assert started.log.text("stdout") == b"hello\ndone\n"


def test_a_terminal_with_unread_input_is_held_back_by_a_slow_client_too() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)  # otherwise it throws away what is more than a line
    process = subprocess.Popen(["yes"], stdin=slave, stdout=slave, stderr=slave)
    process.returncode = 0  # the session reaps it
    os.close(slave)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    client = Client(theirs)
    session = Session(
        init=process.pid,
        outputs={"stdout": master},
        stdin=-1,
        terminal=master,
        listener=None,
        clients=[client],
        writer=None,
        splitters={"stdout": LineSplitter()},
    )
    for _ in range(2):
        ours.send(b"I" + b"x" * 65000)  # more than a terminal takes
    while session.run(0.01) is None and not (client.queue and session.input):
        pass
    assert session.run(0.1) is None
    assert len(client.queue) == 1
    os.kill(process.pid, 9)
    ours.close()
    assert session.run() == 9
    os.close(session.pidfd)
    os.close(master)


def test_the_loop_imports_only_what_an_interpreter_has_anyway() -> None:
    directory = Path(session_module.__file__).parent
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "for name, path in (('swapbox', sys.argv[1]), ('swapbox.containers', sys.argv[2])):\n"
        "    package = type(sys)(name); package.__path__ = [path]; sys.modules[name] = package\n"
        "import swapbox.containers.session, swapbox.containers.lines\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(directory.parent), str(directory)],
        capture_output=True,
        text=True,
        check=True,
    )
    allowed = {"os", "_stat", "stat", "_collections_abc", "genericpath", "posixpath", "os.path", "__future__"}
    allowed |= {"select", "_socket", "time", "fcntl", "errno", "abc", "_abc"}
    new = {name for name in run.stdout.split() if name.partition(".")[0] != "swapbox"}
    assert new <= allowed


@pytest.mark.parametrize("started", ["exec seq 1 300000"], indirect=True)
def test_a_client_that_does_not_read_is_not_waited_for_without_end(started: Started) -> None:
    while not started.session.clients[0].queue:
        started.session._read_output("stdout", started.session.outputs["stdout"])
    started.session.notify(b"X0", patience=0.01)
    assert started.session.clients == []
    os.kill(started.session.init, 9)
    os.waitpid(started.session.init, 0)


@pytest.mark.parametrize("started", ["exit 4"], indirect=True)
def test_everybody_who_has_come_to_the_door_is_told_the_end(started: Started, tmp_path: Path) -> None:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)
    listener.bind(os.fspath(tmp_path / "door"))
    listener.listen(16)
    started.session.listener = listener

    def come() -> _socket.socket:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        sock.connect(os.fspath(tmp_path / "door"))
        return sock

    waiting = [come() for _ in range(3)]
    status = started.session.run()
    assert status is not None
    late = come()
    started.session.end(status)
    for sock in (*waiting, late):
        assert sock.recv(100) == b"X4"
        sock.close()
