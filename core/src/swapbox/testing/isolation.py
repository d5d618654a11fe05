"""What every isolation driver has to do. Subclass :class:`IsolationDriverContract` and say how to make the driver.

The suite runs real containers made from busybox, each from a monitor of its own (:mod:`swapbox.testing.box`).
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from swapbox.drivers.common import DriverContext
from swapbox.drivers.isolation import ExecRequest, IsolationDriver
from swapbox.errors import AlreadyExists, CommandNotExecutable, Conflict, NotFound
from swapbox.testing.box import Box, Failure, Output, failure_of, missing, wait


@pytest.mark.root
class IsolationDriverContract:
    """The promises of :class:`swapbox.drivers.isolation.IsolationDriver`."""

    def make_driver(self, context: DriverContext) -> IsolationDriver:
        """Return the driver under test."""
        raise NotImplementedError

    def prepare_monitor(self) -> None:
        """Make ready what the driver needs, in the mount namespace of a test's monitor."""

    @pytest.fixture
    def box(self, tmp_path: Path) -> Box:
        """A container to be; skip where none can be made."""
        if thing := missing():
            pytest.skip(f"needs {thing}")
        return Box(tmp_path, self.make_driver, prepare_monitor=self.prepare_monitor)

    def test_a_command_runs_with_its_stdio_and_exit_code(self, box: Box) -> None:
        assert box.run("/bin/sh", "-c", "echo out; echo err >&2; exit 3") == Output(3, "out\n", "err\n")

    def test_environment_directory_and_user_are_the_specs(self, box: Box) -> None:
        box.spec["process"] |= {"cwd": "/tmp", "user": {"uid": 7, "gid": 8}}
        box.spec["process"]["env"].append("NAME=value")
        assert box.sh("echo $NAME; pwd; id -u; id -g").split() == ["value", "/tmp", "7", "8"]

    def test_the_init_is_the_callers_child_and_pid_1_inside(self, box: Box) -> None:
        def act(pid: int) -> tuple[bool, str]:
            # That the caller can wait for it is proved when the box does so.
            return Path(f"/proc/{pid}/root/bin/busybox").exists(), box.exec_here(
                "/bin/readlink", "/proc/1/exe"
            ).out

        assert box.while_running(act) == (True, "/bin/busybox\n")

    def test_the_command_waits_for_start(self, box: Box) -> None:
        marker = box.rootfs / "marker"

        def act() -> list[Any]:
            pid = box.create("/bin/sh", "-c", "echo > /marker")
            seen: list[Any] = [box.driver.state(box.id), pid, marker.exists()]
            box.driver.start(box.id)
            seen += [wait(pid), marker.exists()]
            box.driver.delete(box.id)
            return seen

        state, pid, before, code, after = box.monitored(act)
        assert state == (box.id, "created", pid, box.bundle)
        assert (before, code, after) == (False, 0, True)

    def test_a_container_is_started_once(self, box: Box) -> None:
        again = box.while_running(lambda _: failure_of(lambda: box.driver.start(box.id)))
        assert again.kind is Conflict

    def test_states_follow_the_process(self, box: Box) -> None:
        def act() -> list[str]:
            pid = box.create("/bin/sleep", "1000")
            box.driver.start(box.id)
            seen: list[str] = [box.driver.state(box.id).status]
            box.driver.kill(box.id, signal.SIGKILL)
            assert wait(pid) == -signal.SIGKILL
            state = box.driver.state(box.id)
            box.driver.delete(box.id)
            return [*seen, state.status, str(state.pid)]

        assert box.monitored(act) == ["running", "stopped", "0"]

    def test_another_driver_object_knows_the_container(self, box: Box) -> None:
        def act(pid: int) -> bool:
            return self.make_driver(box.context).state(box.id).pid == pid

        assert box.while_running(act)

    def test_an_id_is_taken_once(self, box: Box) -> None:
        assert box.while_running(lambda _: failure_of(box.create)).kind is AlreadyExists

    def test_a_running_container_is_deleted_by_force_only(self, box: Box) -> None:
        early = box.while_running(lambda _: failure_of(lambda: box.driver.delete(box.id)))
        assert early.kind is Conflict

    def test_a_stopped_container_takes_no_signal(self, box: Box) -> None:
        def act() -> Failure:
            wait(self._started(box, "/bin/true"))
            late = failure_of(lambda: box.driver.kill(box.id, signal.SIGTERM))
            box.driver.delete(box.id)
            return late

        assert box.monitored(act).kind is Conflict

    @pytest.mark.parametrize("verb", ["start", "state", "delete"])
    def test_an_unknown_container_is_not_found(self, box: Box, verb: str) -> None:
        with pytest.raises(NotFound):
            getattr(box.driver, verb)("unknown")

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
            wait(self._started(box, "/bin/true"))
            late = failure_of(lambda: box.exec_here("/bin/true"))
            box.driver.delete(box.id)
            return late

        assert box.monitored(act).kind is Conflict

    @pytest.mark.parametrize("by_exec", [False, True])
    def test_a_terminal_comes_over_the_console_socket(self, box: Box, by_exec: bool) -> None:
        def act() -> bytes:
            ours, theirs = socket.socketpair()
            process = {**box.spec["process"], "args": ["/bin/tty"], "terminal": True}
            if by_exec:
                init = self._started(box, "/bin/sleep", "1000")
                pid = box.driver.exec(ExecRequest(box.id, process, None, theirs.fileno()))
            else:
                box.spec["process"] = process
                init = pid = self._started(box, console=theirs.fileno())
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

    def test_features_names_the_namespaces(self, box: Box) -> None:
        assert {"mount", "pid", "network"} <= set(box.driver.features()["linux"]["namespaces"])

    def test_closing_twice_is_fine(self, box: Box) -> None:
        box.driver.close()
        box.driver.close()

    def _started(self, box: Box, *args: str, **fields: Any) -> int:
        pid = box.create(*args, **fields)
        box.driver.start(box.id)
        return pid
