"""More processes in a running container, and terminals."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from swapbox.drivers.isolation import ExecRequest
from swapbox.errors import CommandNotExecutable, Conflict, InvalidInput, NotFound
from swapbox.testing.box import Box, Failure, failure_of, wait
from swapbox.testing.isolation.base import Base


class Execs(Base):
    """Exec sessions and terminals."""

    @pytest.mark.parametrize(("command", "code"), [("nosuch", 127), ("/nope", 127), ("/etc/passwd", 126)])
    def test_a_command_that_cannot_be_executed_is_an_error_of_create(
        self, box: Box, command: str, code: int
    ) -> None:
        failure = box.fails(CommandNotExecutable, command)
        assert failure.exit_code == code
        assert f'exec: "{command}"' in failure.message
        with pytest.raises(NotFound):
            box.driver.state(box.id)

    def test_exec_runs_beside_the_init(self, box: Box) -> None:
        script = "readlink /proc/self/ns/net; readlink /proc/1/ns/net; pwd; exit 4"
        output = box.while_running(lambda _: box.exec_here("/bin/sh", "-c", script, cwd="/tmp"))
        one, other, directory = output.out.split()
        assert (one, directory, output.code) == (other, "/tmp", 4)

    def test_exec_of_a_missing_command_is_an_error(self, box: Box) -> None:
        failure = box.while_running(lambda _: failure_of(lambda: box.exec_here("nosuch")))
        assert (failure.kind, failure.exit_code) == (CommandNotExecutable, 127)

    def test_exec_needs_a_running_container(self, box: Box) -> None:
        def act() -> Failure:
            wait(self.started(box, "/bin/true"))
            late = failure_of(lambda: box.exec_here("/bin/true"))
            box.driver.delete(box.id)
            return late

        assert box.monitored(act).kind is Conflict

    def test_a_process_joins_all_namespaces(self, box: Box) -> None:
        def act(pid: int) -> tuple[str, list[str]]:
            names = ("pid", "mnt", "uts", "ipc", "net", "cgroup")
            script = "; ".join(f"readlink /proc/self/ns/{name}" for name in names)
            return box.exec_here("/bin/sh", "-c", script).out, [os.readlink(f"/proc/{pid}/ns/{n}") for n in names]

        seen, expected = box.while_running(act)
        assert seen.split() == expected

    def test_a_process_has_its_own_user_directory_and_exit_code(self, box: Box) -> None:
        def act(_pid: int) -> Any:
            user = {"uid": 12, "gid": 34}
            return box.exec_here("/bin/sh", "-c", "id -u; id -g; pwd; exit 9", user=user, cwd="/tmp")

        assert box.while_running(act) == (9, "12\n34\n/tmp\n", "")

    def test_only_stdio_is_open_in_an_exec_session(self, box: Box) -> None:
        assert box.while_running(lambda _: box.exec_here("/bin/ls", "/proc/self/fd").out.split()) == list("0123")

    def test_a_terminal(self, box: Box) -> None:
        def act(_pid: int) -> bytes:
            ours, theirs = socket.socketpair()
            process = {**box.spec["process"], "args": ["/bin/tty"], "terminal": True}
            pid = box.driver.exec(ExecRequest(box.id, process, None, theirs.fileno()))
            _, (master,), _, _ = socket.recv_fds(ours, 100, 1)
            os.waitpid(pid, 0)
            out = os.read(master, 100)
            os.close(master)
            ours.close()
            theirs.close()
            return out

        assert box.while_running(act) == b"/dev/pts/0\r\n"

    @pytest.mark.parametrize("by_exec", [False, True])
    def test_a_terminal_comes_over_the_console_socket(self, box: Box, by_exec: bool) -> None:
        def act() -> bytes:
            ours, theirs = socket.socketpair()
            process = {**box.spec["process"], "args": ["/bin/tty"], "terminal": True}
            if by_exec:
                init = self.started(box, "/bin/sleep", "1000")
                pid = box.driver.exec(ExecRequest(box.id, process, None, theirs.fileno()))
            else:
                box.spec["process"] = process
                init = pid = self.started(box, console=theirs.fileno())
            _, (master,), _, _ = socket.recv_fds(ours, 100, 1)
            out = os.read(master, 100)
            for fd in (master, ours.detach(), theirs.detach()):
                os.close(fd)
            wait(pid)
            box.driver.delete(box.id, force=True)
            if by_exec:
                wait(init)
            return out

        assert box.monitored(act) == b"/dev/pts/0\r\n"

    def test_the_command_has_a_controlling_terminal(self, box: Box) -> None:
        box.spec["process"] |= {"terminal": True, "consoleSize": {"height": 33, "width": 99}}
        script = "tty; stat -c %t:%T /dev/console; stty size; echo > /dev/tty && echo controlling"

        def act() -> str:
            ours, theirs = socket.socketpair()
            pid = box.create("/bin/sh", "-c", script, console=theirs.fileno())
            _, (master,), _, _ = socket.recv_fds(ours, 100, 1)
            box.driver.start(box.id)
            out = b""
            try:
                while data := os.read(master, 1000):
                    out += data
            except OSError:  # EIO: the other end is closed
                pass
            os.waitpid(pid, 0)
            box.driver.delete(box.id)
            os.close(master)
            ours.close()
            theirs.close()
            return out.decode()

        lines = box.monitored(act).split()
        assert lines[0] == "/dev/pts/0"
        assert lines[1].startswith("88:")
        assert lines[2:] == ["33", "99", "controlling"]

    def test_a_terminal_needs_a_console_socket(self, box: Box) -> None:
        box.spec["process"]["terminal"] = True
        assert "console" in box.fails(InvalidInput).message
