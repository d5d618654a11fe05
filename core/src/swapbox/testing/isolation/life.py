"""From create to delete: what each operation does in each state."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from swapbox.errors import AlreadyExists, CommandNotExecutable, Conflict, NotFound
from swapbox.testing.box import Box, Failure, Output, failure_of, wait
from swapbox.testing.isolation.base import Base


class Life(Base):
    """The operations."""

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
            wait(self.started(box, "/bin/true"))
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

    def test_features_names_the_namespaces(self, box: Box) -> None:
        assert {"mount", "pid", "network"} <= set(box.driver.features()["linux"]["namespaces"])

    def test_closing_twice_is_fine(self, box: Box) -> None:
        box.driver.close()
        box.driver.close()

    def test_signals_reach_the_init(self, box: Box) -> None:
        script = "trap 'exit 7' TERM; echo ready > /ready; while true; do sleep 0.02; done"

        def act() -> int:
            pid = box.create("/bin/sh", "-c", script)
            box.driver.start(box.id)
            while not (box.rootfs / "ready").exists():
                os.sched_yield()
            box.driver.kill(box.id, signal.SIGTERM)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with pytest.raises(Conflict):
                box.driver.kill(box.id, signal.SIGTERM)
            box.driver.delete(box.id)
            return code

        assert box.monitored(act) == 7

    def test_a_container_outlives_a_creator_that_dies_at_the_gate_and_is_deleted(self, box: Box) -> None:
        def act() -> str:
            creator = os.fork()
            if creator == 0:
                box.create()
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(creator, 0)
            state = box.driver.state(box.id)
            box.driver.delete(box.id, force=True)
            os.waitpid(state.pid, 0)
            return str(state.status)

        assert box.monitored(act) == "created"

    def test_a_creation_that_was_cut_off_is_deleted_by_force(self, box: Box) -> None:
        (box.context.run_root / box.id).mkdir(parents=True)
        assert box.driver.state(box.id).status == "creating"
        with pytest.raises(Conflict):
            box.driver.delete(box.id)
        box.driver.delete(box.id, force=True)
