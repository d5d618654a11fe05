"""``logs``."""

from __future__ import annotations

import re

import pytest

from swapbox.testing.process import wait_until
from swapbox.testing.sandbox import Sandbox

pytestmark = pytest.mark.root

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ")


@pytest.fixture
def spaced(swapbox: Sandbox) -> Sandbox:
    """A container ``spaced`` that has printed three lines at three times."""
    script = "echo a; usleep 50000; echo b; usleep 50000; echo c"
    swapbox.ok("run", "--name", "spaced", "busybox", "sh", "-c", script)
    return swapbox


def times(swapbox: Sandbox, name: str) -> list[str]:
    return [line.split()[0] for line in swapbox.ok("logs", "-t", name).splitlines()]


def test_outputs_come_back_on_their_own_stream(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "both", "busybox", "sh", "-c", "echo out; echo err >&2; printf end")
    result = swapbox("logs", "both").check()
    assert (result.stdout, result.stderr) == (b"out\nend", b"err\n")


def test_bytes_that_are_no_text_come_back(swapbox: Sandbox) -> None:
    data = bytes(range(1, 256)) + b"\n"
    printed = swapbox("run", "--name", "raw", "-i", "busybox", "cat", stdin=data).stdout
    assert printed == data
    assert len(swapbox("logs", "raw").stdout.splitlines()) == len(data.splitlines())


def test_valid_unicode_comes_back_unchanged(swapbox: Sandbox) -> None:
    data = 'żółw "quoted" \\ back\tslash \u2028 🐢\n'.encode()
    swapbox("run", "--name", "text", "-i", "busybox", "cat", stdin=data)
    assert swapbox("logs", "text").stdout == data


def test_t_puts_the_time_before_each_line(spaced: Sandbox) -> None:
    lines = spaced.ok("logs", "-t", "spaced").splitlines()
    assert [STAMP.sub("", line) for line in lines] == ["a", "b", "c"]
    assert all(STAMP.match(line) for line in lines)
    assert sorted(lines) == lines


@pytest.mark.parametrize(("count", "lines"), [("0", []), ("1", ["c"]), ("2", ["b", "c"]), ("9", ["a", "b", "c"])])
@pytest.mark.parametrize("flag", ["--tail", "-n"])
def test_tail_shows_the_last_lines(spaced: Sandbox, flag: str, count: str, lines: list[str]) -> None:
    assert spaced.ok("logs", flag, count, "spaced").split() == lines


def test_since_and_until_are_moments(spaced: Sandbox) -> None:
    _, second, _ = times(spaced, "spaced")
    assert spaced.ok("logs", "--since", second, "spaced").split() == ["b", "c"]
    assert spaced.ok("logs", "--until", second, "spaced").split() == ["a", "b"]
    assert spaced.ok("logs", "--since", second, "--until", second, "spaced").split() == ["b"]


@pytest.mark.parametrize(("since", "lines"), [("1h", ["a", "b", "c"]), ("0", ["a", "b", "c"]), ("9999999999", [])])
def test_since_takes_durations_and_seconds(spaced: Sandbox, since: str, lines: list[str]) -> None:
    assert spaced.ok("logs", "--since", since, "spaced").split() == lines


def test_a_wrong_time_is_an_error(spaced: Sandbox) -> None:
    spaced("logs", "--since", "yesterday-ish", "spaced").fails(1, "yesterday-ish")


def test_follow_goes_on_until_the_container_ends(swapbox: Sandbox) -> None:
    script = "echo first; read line; echo $line; exit 3"
    with swapbox.start("run", "-i", "--name", "live", "busybox", "sh", "-c", script, stdin=-1) as command:
        wait_until(lambda: "live" in swapbox.names(), "it runs")
        swapbox.wait_log("live", "first")
        with swapbox.start("logs", "-f", "live") as follower:
            assert follower.stdout
            assert follower.stdout.readline() == b"first\n"
            command.communicate(b"second\n", timeout=30)
            assert follower.stdout.read() == b"second\n"
        assert follower.returncode == 0


def test_follow_of_a_stopped_container_ends(spaced: Sandbox) -> None:
    assert spaced.ok("logs", "-f", "spaced").split() == ["a", "b", "c"]
    assert spaced.ok("logs", "-f", "--tail", "1", "spaced").split() == ["c"]


def test_a_follower_that_goes_away_harms_nobody(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "chatty", "busybox", "sh", "-c", "while :; do echo x; usleep 10000; done")
    with swapbox.start("logs", "-f", "chatty") as follower:
        assert follower.stdout
        follower.stdout.readline()
        follower.terminate()
    assert swapbox.state("chatty")["Running"] is True


def test_many_lines_arrive_whole_and_in_order(swapbox: Sandbox) -> None:
    swapbox.ok("run", "-d", "--name", "many", "busybox", "seq", "100000")
    assert swapbox.wait_exited("many") == 0
    assert swapbox("logs", "many").stdout == b"".join(b"%d\n" % n for n in range(1, 100001))


def test_without_a_log_there_is_nothing_to_read(swapbox: Sandbox) -> None:
    swapbox.ok("run", "--name", "mute", "--log-driver", "none", "busybox", "echo", "hi")
    swapbox("logs", "mute").fails(1, "does not support reading")


def test_a_log_is_rotated_to_its_size(swapbox: Sandbox) -> None:
    options = ("--log-opt", "max-size=10k", "--log-opt", "max-file=2")
    container = swapbox.ok("run", "-d", "--name", "small", *options, "busybox", "seq", "20000")
    assert swapbox.wait_exited("small") == 0
    kept = swapbox.ok("logs", "small").split()
    assert kept[-1] == "20000"
    assert kept == [str(n) for n in range(int(kept[0]), 20001)]
    files = [path for path in swapbox.root.rglob("*.log*") if container in str(path)]
    assert 1 <= len(files) <= 2
    assert all(path.stat().st_size < 12_000 for path in files)


def test_a_lean_monitor_rotates_and_compresses_too(swapbox: Sandbox) -> None:
    options = ("--log-opt", "max-size=100k", "--log-opt", "max-file=1000", "--log-opt", "compress=true")
    script = "seq 10000; read line; seq 10001 30000"
    with swapbox.start(
        "run", "-i", "--name", "late", *options, "busybox", "sh", "-c", script, stdin=-1
    ) as command:
        wait_until(lambda: "late" in swapbox.names(), "it runs")
        swapbox.wait_lean("late")
        command.communicate(b"\n", timeout=30)
    assert command.returncode == 0
    assert swapbox.ok("logs", "late").split() == [str(number) for number in range(1, 30001)]
    assert len(list(swapbox.root.rglob("*-json.log.*.gz"))) > 20
