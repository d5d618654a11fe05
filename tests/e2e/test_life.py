"""What happens to a container that exists: it is made, started, paused, renamed, updated, waited for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

FOREVER = ("busybox", "sleep", "1000")


def test_a_created_container_runs_when_it_is_started(swapbox: Sandbox) -> None:
    swapbox.ok("create", "--name", "made", "busybox", "echo", "hello")
    assert swapbox.state("made")["Status"] == "created"
    assert swapbox.ok("start", "-a", "made") == "hello"
    assert swapbox.ok("start", "made") == "made"
    assert swapbox.wait_exited("made") == 0
    swapbox.wait_log("made", "hello\nhello")


def test_start_gives_the_exit_code_when_attached_and_passes_stdin_on(swapbox: Sandbox) -> None:
    swapbox.ok("create", "-i", "--name", "reader", "busybox", "sh", "-c", "read line; echo $line; exit 7")
    started = swapbox("start", "-ai", "reader", stdin=b"typed\n")
    assert (started.code, started.out) == (7, "typed")


def test_several_are_started_though_one_fails(swapbox: Sandbox) -> None:
    swapbox.ok("create", "--name", "first", *FOREVER)
    swapbox.ok("create", "--name", "broken", "busybox", "nosuch")
    swapbox.ok("create", "--name", "last", *FOREVER)
    result = swapbox("start", "first", "broken", "last")
    assert (result.code, result.out) == (1, "first\nlast")
    assert "failed to start containers: broken" in result.err
    assert swapbox.state("broken")["ExitCode"] == 127


def test_a_running_container_is_not_started_again(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "runs", *FOREVER)
    pid = swapbox.state("runs")["Pid"]
    assert swapbox.ok("start", "runs") == "runs"
    assert swapbox.state("runs")["Pid"] == pid


def test_a_restart_gives_another_process_and_keeps_the_files(swapbox: Sandbox) -> None:
    script = "echo run >> /runs; exec sleep 1000"
    swapbox.ok("run", "-d", "--name", "again", "busybox", "sh", "-c", script)
    pid = swapbox.state("again")["Pid"]
    assert swapbox.ok("restart", "-t", "0", "again") == "again"
    assert swapbox.state("again")["Pid"] not in (0, pid)
    wait_until(lambda: swapbox.ok("exec", "again", "cat", "/runs") == "run\nrun", "the second run has written")


def test_a_restart_keeps_a_container_of_rm(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--rm", "--name", "kept", *FOREVER)
    swapbox.ok("restart", "-t", "0", "kept")
    assert swapbox.state("kept")["Running"] is True
    swapbox.ok("stop", "-t", "0", "kept")
    wait_until(lambda: swapbox.names("-a") == [], "the container is removed at its next end")


def test_a_paused_container_stands_still_until_it_goes_on(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "counts", "busybox", "sh", "-c", "while :; do date >> /dates; done")
    assert swapbox.ok("pause", "counts") == "counts"
    state = swapbox.state("counts")
    assert (state["Status"], state["Running"], state["Paused"]) == ("paused", True, True)
    group = Path(f"/proc/{state['Pid']}/status").read_text()
    assert "State:" in group
    assert "(Paused)" in swapbox.ok("ps")
    swapbox("exec", "counts", "true").fails(1, "is paused, unpause the container before exec")
    swapbox("pause", "counts").fails(1, "is already paused")
    assert swapbox.ok("unpause", "counts") == "counts"
    assert swapbox.ok("exec", "counts", "echo", "awake") == "awake"
    swapbox("unpause", "counts").fails(1, "is not paused")


@pytest.mark.parametrize("verb", [("stop", "-t", "0"), ("kill",), ("rm", "-f")])
def test_a_paused_container_can_be_ended(swapbox: Sandbox, verb: tuple[str, ...]) -> None:
    swapbox.ok("run", "-d", "--name", "frozen", *FOREVER)
    swapbox.ok("pause", "frozen")
    swapbox.ok(*verb, "frozen")
    if verb[0] == "rm":
        assert swapbox.names("-a") == []
    else:
        assert swapbox.wait_exited("frozen") == 137


def test_wait_prints_the_exit_codes_in_the_order_of_the_names(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "slow", "busybox", "sh", "-c", "sleep 0.3; exit 3")
    swapbox.ok("run", "-d", "--name", "quick", "busybox", "sh", "-c", "exit 4")
    assert swapbox.ok("wait", "slow", "quick") == "3\n4"


def test_wait_knows_the_exit_code_of_a_container_that_is_removed_at_its_end(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--rm", "--name", "goes", "busybox", "sh", "-c", "sleep 0.5; exit 6")
    assert swapbox.ok("wait", "goes") == "6"


def test_a_renamed_container_has_its_new_name_only(swapbox: Sandbox) -> None:
    swapbox.ok("create", "--name", "before", *FOREVER)
    swapbox.ok("create", "--name", "taken", *FOREVER)
    swapbox.ok("rename", "before", "after")
    assert sorted(swapbox.names("-a")) == ["after", "taken"]
    swapbox("rename", "after", "taken").fails(1, 'The container name "/taken" is already in use')
    swapbox("rename", "after", "after").fails(1, "same name")
    swapbox("rename", "after", "!").fails(1, "Invalid container name")


def test_limits_are_changed_while_it_runs(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "-m", "64m", "--name", "limited", *FOREVER)
    assert swapbox.ok("update", "-m", "128m", "--pids-limit", "50", "--restart", "always", "limited") == "limited"
    host = swapbox.inspect("limited")["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (128 << 20, 50)
    assert host["RestartPolicy"] == {"Name": "always", "MaximumRetryCount": 0}
    limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true"
    assert str(128 << 20) in swapbox.ok("exec", "limited", "sh", "-c", limit)
    swapbox("update", "limited").fails(1, "provide one or more flags")
    swapbox("update", "-m", "1m", "limited").fails(1, "6MB")


def test_a_container_is_attached_to(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "-i", "--name", "echoes", "busybox", "sh", "-c", "read x; echo got $x; exit 5")
    attached = swapbox("attach", "echoes", stdin=b"this\n")
    assert (attached.code, attached.out) == (5, "got this")
    swapbox("attach", "echoes").fails(1, "cannot attach to a stopped container, start it first")


def test_a_network_knows_its_running_containers(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "member", "--network", "none", *FOREVER)
    swapbox.ok("create", "--name", "made", "--network", "none", *FOREVER)
    network = swapbox.inspect("none")
    assert (network["Name"], network["Scope"]) == ("none", "local")
    assert [member["Name"] for member in network["Containers"].values()] == ["member"]
    assert swapbox.inspect(network["Id"][:12])["Name"] == "none"
    swapbox("inspect", "--type", "network", "nosuch").fails(1, "network nosuch not found")


def test_many_start_and_stop_at_once_and_no_state_is_lost(swapbox: Sandbox) -> None:
    """Eight shells, fifty containers: docker's users script it like this."""
    script = (
        'for i in 1 2 3 4 5 6 7; do "$@" run -d --name s$0-$i busybox sleep 1000 >/dev/null || exit 1; done;'
        'for i in 1 2 3 4 5 6 7; do "$@" stop -t 0 s$0-$i >/dev/null || exit 2; done;'
        'for i in 1 3 5 7; do "$@" start s$0-$i >/dev/null || exit 3; done;'
        'for i in 1 3 5 7; do "$@" rm -f s$0-$i >/dev/null || exit 4; done'
    )
    shells = [
        subprocess.Popen(
            ["sh", "-c", script, str(number), *swapbox.argv()],
            env=swapbox.environment,
            stderr=subprocess.PIPE,
        )
        for number in range(8)
    ]
    errors = [shell.communicate(timeout=240)[1] for shell in shells]
    assert [(shell.returncode, error) for shell, error in zip(shells, errors, strict=True)] == [(0, b"")] * 8
    expected = {f"s{shell}-{number}" for shell in range(8) for number in (2, 4, 6)}
    assert set(swapbox.names("-a")) == expected
    assert swapbox.names() == []
